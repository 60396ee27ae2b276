/**
 * Typed access to the fields of a JSON file that somebody else wrote. Every complaint is a MODEL_FORMAT error that names
 * the file, the field, its value and what was expected. A field that is null counts as absent, as in transformers.
 */
import { BlockAttentionError } from '../errors.js';

export interface Range {
  min: number;
  max: number;
}

/** Longest piece of a wrong value that an error repeats. */
const MAX_QUOTED = 80;

export class Fields {
  /** Path of the file, for messages. */
  readonly file: string;
  /** In front of a field's name in messages: "rope_scaling.". */
  readonly #prefix: string;
  readonly #values: ReadonlyMap<string, unknown>;

  constructor(file: string, value: unknown, prefix = '') {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      const what = prefix === '' ? 'the file' : prefix.slice(0, -1);
      throw new BlockAttentionError(
        'MODEL_FORMAT',
        `${file}: ${what} is ${quote(value)}, expected an object.`,
      );
    }
    this.file = file;
    this.#prefix = prefix;
    this.#values = new Map(Object.entries(value));
  }

  /** Present, even if null. */
  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** Undefined if absent or null. */
  raw(name: string): unknown {
    return this.#values.get(name) ?? undefined;
  }

  names(): IterableIterator<string> {
    return this.#values.keys();
  }

  /** An integer in the range; `fallback` if absent. */
  integer(name: string, range: Range, fallback?: number): number {
    const value = this.raw(name) ?? fallback;
    if (value === undefined) throw this.missing(name);
    if (typeof value !== 'number' || !Number.isInteger(value) || value < range.min || value > range.max) {
      throw this.wrong(name, `an integer from ${range.min} to ${range.max}`);
    }
    return value;
  }

  /** A finite number in the range; `fallback` if absent. */
  number(name: string, range: Range, fallback?: number): number {
    const value = this.raw(name) ?? fallback;
    if (value === undefined) throw this.missing(name);
    if (typeof value !== 'number' || !Number.isFinite(value) || value < range.min || value > range.max) {
      throw this.wrong(name, `a number from ${range.min} to ${range.max}`);
    }
    return value;
  }

  /** Like `number`, but undefined if absent. */
  optionalNumber(name: string, range: Range): number | undefined {
    return this.raw(name) === undefined ? undefined : this.number(name, range);
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.raw(name) ?? fallback;
    if (typeof value !== 'boolean') throw this.wrong(name, 'true or false');
    return value;
  }

  string(name: string): string | undefined {
    const value = this.raw(name);
    if (value !== undefined && typeof value !== 'string') throw this.wrong(name, 'a string');
    return value;
  }

  strings(name: string): string[] | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (!Array.isArray(value)) throw this.wrong(name, 'a list of strings');
    return value.map((entry: unknown) => {
      if (typeof entry !== 'string') throw this.wrong(name, 'a list of strings');
      return entry;
    });
  }

  /** An integer or a list of integers, as a list; empty if absent. */
  integers(name: string, range: Range): number[] {
    const value = this.raw(name) ?? [];
    const entries: unknown[] = Array.isArray(value) ? value : [value];
    return entries.map((entry) => {
      if (typeof entry !== 'number' || !Number.isInteger(entry) || entry < range.min || entry > range.max) {
        throw this.wrong(name, `an integer from ${range.min} to ${range.max}, or a list of them`);
      }
      return entry;
    });
  }

  object(name: string): Fields | undefined {
    const value = this.raw(name);
    return value === undefined ? undefined : new Fields(this.file, value, `${this.#prefix}${name}.`);
  }

  missing(name: string): BlockAttentionError {
    return new BlockAttentionError('MODEL_FORMAT', `${this.file}: ${this.#prefix}${name} is missing.`);
  }

  /** The field has a value that no model can have. */
  wrong(name: string, expected: string): BlockAttentionError {
    const value = quote(this.raw(name));
    return new BlockAttentionError(
      'MODEL_FORMAT',
      `${this.file}: ${this.#prefix}${name} is ${value}, expected ${expected}.`,
    );
  }

  /** The field has a value that this package does not support. */
  unsupported(name: string, hint: string): BlockAttentionError {
    const value = quote(this.raw(name));
    return new BlockAttentionError(
      'UNSUPPORTED',
      `${this.file}: ${this.#prefix}${name} ${value} is not supported: ${hint}`,
    );
  }
}

/** A value as JSON, cut to a readable length. */
export function quote(value: unknown): string {
  const text = asJson(value);
  return text.length <= MAX_QUOTED ? text : `${text.slice(0, MAX_QUOTED)}…`;
}

function asJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? 'missing';
  } catch {
    // Unlike parsing, writing takes stack for every level.
    return `${Array.isArray(value) ? 'a list' : 'an object'} of too many levels`;
  }
}
