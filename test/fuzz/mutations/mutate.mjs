// One mutated model folder for each seed.
import { PLAIN_BASES, TEXT_BASES, withHeader } from './bases.mjs';
import { mutateJson, strangeValue, toText } from './json.mjs';
import { Choices } from './random.mjs';

/**
 * @typedef {object} Mutation
 * @property {string} base
 * @property {boolean} hasText the base has a tokenizer
 * @property {Map<string, Buffer | null>} changed files that differ from the base; null: there is none of that name
 * @property {string[]} steps what was done
 * @property {ReadonlyMap<string, Buffer>} files of the base
 */

/** One input in so many has a tokenizer. */
const TEXT_SHARE = 0.15;

const BYTES = [
  0x00, 0x01, 0x20, 0x22, 0x2c, 0x30, 0x5b, 0x5d, 0x7b, 0x7d, 0x7f, 0x80, 0xbf, 0xc0, 0xfe, 0xff,
];
const LENGTHS = [
  0n,
  1n,
  2n,
  7n,
  8n,
  9n,
  100_000_000n,
  100_000_001n,
  2n ** 31n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];

/** @param {number} seed @returns {Mutation} */
export function mutation(seed) {
  const choices = new Choices(seed);
  const hasText = choices.chance(TEXT_SHARE);
  const base = choices.of(hasText ? TEXT_BASES : PLAIN_BASES);
  /** @type {Map<string, Buffer | null>} */
  const changed = new Map();
  const steps = [];
  for (let left = choices.of([1, 1, 1, 2, 3]); left > 0; left--) {
    const name = choices.of([...base.files.keys()]);
    const content = changed.has(name) ? changed.get(name) : base.files.get(name);
    if (content === null || content === undefined) continue;
    const [result, step] = mutateFile(name, content, base.files, choices);
    changed.set(name, result);
    steps.push(`${name}: ${step}`);
  }
  return { base: base.name, hasText, changed, steps, files: base.files };
}

/**
 * @param {string} name
 * @param {Buffer} content
 * @param {ReadonlyMap<string, Buffer>} files
 * @param {Choices} choices
 * @returns {[Buffer | null, string]}
 */
function mutateFile(name, content, files, choices) {
  if (choices.chance(0.02)) return choices.chance(0.3) ? [null, 'remove'] : [Buffer.alloc(0), 'empty'];
  if (choices.chance(0.02)) {
    const other = choices.of([...files.keys()]);
    return [Buffer.from(files.get(other) ?? ''), `the content of ${other}`];
  }
  const isWeights = name.endsWith('.safetensors');
  if (isWeights && choices.chance(0.05)) {
    const length = choices.of([...LENGTHS, BigInt(content.length - 8), BigInt(content.length)]);
    const copy = Buffer.from(content);
    copy.subarray(0, 8).fill(0);
    if (copy.length >= 8) copy.writeBigUInt64LE(length);
    return [copy, `a header of ${length} bytes`];
  }
  if (!name.endsWith('.jinja') && choices.chance(0.65)) {
    const changed = isWeights ? mutateHeader(content, choices) : mutateDocument(content, choices);
    if (changed !== undefined) return changed;
  }
  return mutateBytes(content, files, choices);
}

/** @param {Buffer} content @param {Choices} choices @returns {[Buffer, string] | undefined} */
function mutateDocument(content, choices) {
  if (choices.chance(0.03)) return [Buffer.from(toText(strangeValue(choices)) ?? ''), 'another document'];
  const document = parsed(content.toString());
  if (document === undefined) return undefined;
  const steps = Array.from({ length: choices.of([1, 1, 2, 4]) }, () => mutateJson(document, choices));
  const text = toText(document);
  return text === undefined ? undefined : [Buffer.from(text), steps.join(', ')];
}

/** @param {Buffer} content of a safetensors file @param {Choices} choices @returns {[Buffer, string] | undefined} */
function mutateHeader(content, choices) {
  const end = content.length < 8 ? 0 : 8 + Number(content.readBigUInt64LE());
  const document = parsed(content.subarray(8, end).toString());
  if (document === undefined) return undefined;
  const steps = Array.from({ length: choices.of([1, 1, 2, 4]) }, () => mutateJson(document, choices));
  const text = toText(document);
  return text === undefined ? undefined : [withHeader(text, content.subarray(end)), steps.join(', ')];
}

/** @param {string} text @returns {Record<string, unknown> | undefined} */
function parsed(text) {
  try {
    const document = JSON.parse(text);
    return typeof document === 'object' && document !== null ? document : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {Buffer} content
 * @param {ReadonlyMap<string, Buffer>} files
 * @param {Choices} choices
 * @returns {[Buffer, string]}
 */
function mutateBytes(content, files, choices) {
  const at = choices.below(content.length + 1);
  const [head, tail] = [content.subarray(0, at), content.subarray(at)];
  const length = choices.below(choices.of([2, 9, 65, 2000]));
  switch (choices.below(8)) {
    case 0:
      return [Buffer.from(head), `cut at ${at}`];
    case 1:
      return [Buffer.concat([head, tail.subarray(length)]), `drop ${length} bytes at ${at}`];
    case 2:
      return [Buffer.concat([head, tail.subarray(0, length), tail]), `repeat ${length} bytes at ${at}`];
    case 3: {
      const bytes = Buffer.from(Array.from({ length }, () => choices.below(256)));
      return [Buffer.concat([head, bytes, tail]), `insert ${length} bytes at ${at}`];
    }
    case 4: {
      const other = files.get(choices.of([...files.keys()])) ?? content;
      const from = choices.below(other.length);
      return [
        Buffer.concat([head, other.subarray(from, from + length), tail.subarray(length)]),
        `splice at ${at}`,
      ];
    }
    case 5: {
      const copy = Buffer.from(content);
      for (let i = 0; i < length && at + i < copy.length; i++) copy[at + i] = choices.below(256);
      return [copy, `overwrite ${length} bytes at ${at}`];
    }
    default: {
      const copy = Buffer.from(content);
      const places = Array.from({ length: choices.of([1, 1, 2, 8]) }, () =>
        choices.below(Math.max(1, copy.length)),
      );
      for (const place of places) {
        if (place >= copy.length) continue;
        copy[place] = choices.chance(0.5) ? choices.of(BYTES) : (copy[place] ?? 0) ^ (1 << choices.below(8));
      }
      return [copy, `change bytes ${places.join(', ')}`];
    }
  }
}
