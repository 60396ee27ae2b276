/** Requests as lines of JSON in, results as lines of JSON out; see answer-lines.ts. */
import { BlockAttentionError, type Engine, type GenerateRequest, REQUEST_FIELDS } from '../index.js';
import { answerLines, type LinesOptions } from './answer-lines.js';
import type { Output } from './output.js';

export interface ServeOptions extends LinesOptions {
  /** For remarks to the person who runs this. */
  warn: (text: string) => void;
}

type LineRequest = GenerateRequest & { n?: number };

/** What a line may carry; nothing that JSON cannot say. `n` asks for several answers (`Engine.generateMany`). */
const FIELDS = ['n', ...REQUEST_FIELDS.filter((field) => field !== 'signal')];

/** Returns when the input ended and all is written, when the reader of the output went away, or when `signal` fired. */
export function serveLines(
  engine: Engine,
  lines: AsyncIterable<string>,
  output: Output,
  options: ServeOptions,
): Promise<void> {
  const unknown = new UnknownFields(options.warn);
  return answerLines(
    async (value, line, signal) => {
      const { n, ...request } = requestOf(value, line, unknown);
      if (n === undefined) return engine.generate({ ...request, signal }).result();
      const many = engine.generateMany({ ...request, signal }, n);
      return { answers: await Promise.all(many.map((one) => one.result())) };
    },
    lines,
    output,
    options,
  );
}

function requestOf(value: unknown, number: number, unknown: UnknownFields): LineRequest {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new BlockAttentionError('INVALID_ARGUMENT', `line ${number} is not an object of request fields`);
  }
  const known = Object.entries(value).filter(([field]) => FIELDS.some((name) => name === field));
  for (const field of Object.keys(value)) {
    if (!FIELDS.some((name) => name === field)) unknown.note(field, number);
  }
  // The engine checks every field's type.
  return Object.fromEntries(known) as unknown as LineRequest;
}

/** Lines may carry fields of their owner's (an id, the expected answer); a misspelt option must not go unnoticed. */
class UnknownFields {
  readonly #seen = new Set<string>();
  readonly #warn: (text: string) => void;

  constructor(warn: (text: string) => void) {
    this.#warn = warn;
  }

  note(field: string, line: number): void {
    if (this.#seen.has(field)) return;
    this.#seen.add(field);
    this.#warn(`the field "${field}" (line ${line}) is not an option and is ignored`);
  }
}
