/**
 * Checks of what a caller passes in: each names the field, says what it must be and what it is. TypeScript's types do not
 * protect a JavaScript caller or a line of JSON.
 */
import { BlockAttentionError } from '../errors.js';

export type Fields = Readonly<Record<string, unknown>>;

export interface Range {
  min: number;
  max: number;
}

export function invalid(field: string, wanted: string, value: unknown): BlockAttentionError {
  return new BlockAttentionError('INVALID_ARGUMENT', `${field} must be ${wanted}, not ${described(value)}`);
}

/** An object that has no other fields than `known`: a misspelt option would otherwise be ignored in silence. */
export function checkFields(value: unknown, name: string, known: readonly string[]): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(name, 'an object', value);
  for (const [field, content] of Object.entries(value)) {
    if (content !== undefined && !known.includes(field)) {
      throw new BlockAttentionError(
        'INVALID_ARGUMENT',
        `${name} has no field "${field}"; known are ${known.join(', ')}`,
      );
    }
  }
  return value as Fields;
}

export function checkInteger(value: unknown, field: string, range: Range): number {
  if (!Number.isSafeInteger(value) || !within(value as number, range)) {
    throw invalid(field, `an integer from ${range.min} to ${range.max}`, value);
  }
  return value as number;
}

export function checkNumber(value: unknown, field: string, range: Range): number {
  if (typeof value !== 'number' || !within(value, range)) {
    throw invalid(field, `a number from ${range.min} to ${range.max}`, value);
  }
  return value;
}

export function checkBoolean(value: unknown, field: string): boolean {
  if (typeof value !== 'boolean') throw invalid(field, 'true or false', value);
  return value;
}

export function checkString(value: unknown, field: string): string {
  if (typeof value !== 'string') throw invalid(field, 'a string', value);
  return value;
}

export function checkArray(value: unknown, field: string): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(field, 'an array', value);
  return value;
}

export function checkChoice<Choice extends string>(
  value: unknown,
  field: string,
  choices: readonly Choice[],
): Choice {
  const choice = choices.find((candidate) => candidate === value);
  if (choice === undefined) throw invalid(field, choices.map((name) => `"${name}"`).join(' or '), value);
  return choice;
}

export function checkSignal(value: unknown, field: string): AbortSignal {
  if (!(value instanceof AbortSignal)) throw invalid(field, 'an AbortSignal', value);
  return value;
}

export function checkFunction(value: unknown, field: string): void {
  if (typeof value !== 'function') throw invalid(field, 'a function', value);
}

/** `check(value)` if there is a value, else `otherwise`. */
export function optional<Result, Otherwise>(
  value: unknown,
  otherwise: Otherwise,
  check: (value: unknown) => Result,
): Result | Otherwise {
  return value === undefined ? otherwise : check(value);
}

function within(value: number, range: Range): boolean {
  return value >= range.min && value <= range.max;
}

function described(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint')
    return String(value);
  if (value === null || value === undefined) return String(value);
  return Array.isArray(value) ? 'an array' : `a value of type ${typeof value}`;
}
