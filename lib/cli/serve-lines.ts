/**
 * Requests as lines of JSON in, results as lines of JSON out, in the order of the input. What is wrong with one line is
 * that line's answer, and the rest go on.
 */
import { setMaxListeners } from 'node:events';
import { BlockAttentionError, type Engine, type GenerateRequest } from '../index.js';
import type { Output } from './output.js';

export interface ServeOptions {
  /** Requests under way at once; the next line is taken up when one has ended. */
  concurrency: number;
  signal: AbortSignal;
  /** For remarks to the person who runs this. */
  warn: (text: string) => void;
}

const FIELDS = [
  'blocks',
  'documents',
  'format',
  'tag',
  'query',
  'attention',
  'sharedPrefix',
  'namespace',
  'maxTokens',
  'stop',
  'stopTokens',
  'ignoreEos',
  'temperature',
  'topK',
  'topP',
  'minP',
  'seed',
  'repetitionPenalty',
  'presencePenalty',
  'frequencyPenalty',
  'logitBias',
  'logprobs',
] as const satisfies readonly (keyof GenerateRequest)[];

/** Results that wait for an earlier one, for each request under way. */
const MOST_WAITING = 64;

/** Returns when the input ended and all is written, when the reader of the output went away, or when `signal` fired. */
export async function serveLines(
  engine: Engine,
  lines: AsyncIterable<string>,
  output: Output,
  options: ServeOptions,
): Promise<void> {
  const signal = AbortSignal.any([options.signal, output.gone]);
  // Every request under way listens to it; Node would take more than ten for a leak.
  setMaxListeners(0, signal);
  const underWay = new Set<Promise<string>>();
  const inOrder: Promise<void>[] = [];
  let written = Promise.resolve();
  let number = 0;
  const unknown = new UnknownFields(options.warn);

  for await (const line of untilAborted(lines, signal)) {
    number += 1;
    if (line.trim() === '') continue;
    const answer = answerLine(engine, line, number, unknown, signal);
    underWay.add(answer);
    answer.then(() => underWay.delete(answer));
    written = written.then(async () => {
      const text = await answer;
      if (!signal.aborted) await output.write(text);
    });
    // A failure is seen when `written` is awaited.
    written.catch(() => undefined);
    inOrder.push(written);
    if (underWay.size >= options.concurrency) await Promise.race(underWay);
    if (inOrder.length > MOST_WAITING * options.concurrency) await inOrder.shift();
  }
  await written;
}

async function answerLine(
  engine: Engine,
  line: string,
  number: number,
  unknown: UnknownFields,
  signal: AbortSignal,
): Promise<string> {
  try {
    const request = parseRequest(line, number, unknown);
    const result = await engine.generate({ ...request, signal }).result();
    return `${JSON.stringify(result)}\n`;
  } catch (error) {
    const { code, message } =
      error instanceof BlockAttentionError ? error : { code: 'INTERNAL', message: String(error) };
    return `${JSON.stringify({ error: { code, message } })}\n`;
  }
}

function parseRequest(line: string, number: number, unknown: UnknownFields): GenerateRequest {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    throw new BlockAttentionError('INVALID_ARGUMENT', `line ${number} is not JSON: ${cause}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new BlockAttentionError('INVALID_ARGUMENT', `line ${number} is not an object of request fields`);
  }
  const known = Object.entries(value).filter(([field]) => FIELDS.some((name) => name === field));
  for (const field of Object.keys(value)) {
    if (!FIELDS.some((name) => name === field)) unknown.note(field, number);
  }
  // The engine checks every field's type.
  return Object.fromEntries(known) as unknown as GenerateRequest;
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

/** Ends when the signal fires, even while waiting for a line that never comes. */
async function* untilAborted(lines: AsyncIterable<string>, signal: AbortSignal): AsyncGenerator<string> {
  const iterator = lines[Symbol.asyncIterator]();
  const aborted = new Promise<undefined>((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
  for (;;) {
    const next = await Promise.race([iterator.next(), aborted]);
    if (next === undefined || next.done || signal.aborted) return;
    yield next.value;
  }
}
