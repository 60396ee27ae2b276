/** Blocks and queries as callers give them: text, text in parts, or token ids. */
import type { BlockInput, TextInput, TextPart } from '../model/types.js';
import { checkArray, checkBoolean, checkFields, checkString, invalid, optional } from './checks.js';

const WANTED = 'a string, an array or Int32Array of token ids, or {parts: [{text, special?}]}';

export function isTokenIds(input: BlockInput): input is Int32Array | readonly number[] {
  return input instanceof Int32Array || Array.isArray(input);
}

/** Checks the form; the ids themselves are checked when they are taken over (tokens.ts). */
export function checkInput(value: unknown, field: string): BlockInput {
  if (value instanceof Int32Array || Array.isArray(value)) return value as Int32Array | readonly number[];
  return checkText(value, field);
}

export function checkInputs(value: unknown, field: string): readonly BlockInput[] {
  return checkArray(value, field).map((input, index) => checkInput(input, `${field}[${index}]`));
}

function checkText(value: unknown, field: string): TextInput {
  if (typeof value === 'string') return value;
  if (typeof value !== 'object' || value === null) throw invalid(field, WANTED, value);
  const { parts } = checkFields(value, field, ['parts']);
  if (parts === undefined) throw invalid(field, WANTED, value);
  return {
    parts: checkArray(parts, `${field}.parts`).map((part, index) =>
      checkPart(part, `${field}.parts[${index}]`),
    ),
  };
}

function checkPart(value: unknown, field: string): TextPart {
  const part = checkFields(value, field, ['text', 'special']);
  return {
    text: checkString(part.text, `${field}.text`),
    special: optional(part.special, false, (special) => checkBoolean(special, `${field}.special`)),
  };
}
