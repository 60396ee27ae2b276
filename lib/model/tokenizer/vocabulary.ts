/**
 * What every token id stands for, as one block of bytes that is cheap to hand from the worker to the main thread (which
 * would otherwise have to parse a JSON of many megabytes to turn tokens into text).
 */
import type { DecoderPlan } from './decoder-plan.js';
import type { TokenizerJson } from './tokenizer-json.js';

/** How a token takes part in decoding. */
export const TokenKind = {
  /** No token has this id. */
  absent: 0,
  /** Its bytes are text. */
  text: 1,
  /** Left out of text. */
  special: 2,
  /** One byte of a character that is not in the vocabulary, spelled like <0xE2>. */
  byte: 3,
} as const;

export interface VocabularyData {
  /** A TokenKind for each id. */
  kinds: Uint8Array;
  /** Token i has the bytes from offsets[i] to offsets[i + 1]; size + 1 values. */
  offsets: Uint32Array;
  bytes: Uint8Array;
}

const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

/** Largest id of the tokenizer, plus one. */
export function vocabularySize(tokenizer: TokenizerJson): number {
  let size = 0;
  for (const id of Object.values(tokenizer.model.vocab)) size = Math.max(size, id + 1);
  for (const { id } of tokenizer.addedTokens) size = Math.max(size, id + 1);
  return size;
}

export function buildVocabulary(tokenizer: TokenizerJson, plan: DecoderPlan): VocabularyData {
  const size = vocabularySize(tokenizer);
  const kinds = new Uint8Array(size);
  const spellings = new Array<string>(size).fill('');
  for (const [token, id] of Object.entries(tokenizer.model.vocab)) {
    spellings[id] = token;
    kinds[id] = TokenKind.text;
  }
  for (const { id, content, special } of tokenizer.addedTokens) {
    spellings[id] = content;
    kinds[id] = special ? TokenKind.special : TokenKind.text;
  }

  const encoder = new TextEncoder();
  // UTF-8 takes at most three bytes for a UTF-16 unit.
  const bytes = new Uint8Array(3 * spellings.reduce((sum, spelling) => sum + spelling.length, 0));
  const offsets = new Uint32Array(size + 1);
  let end = 0;
  for (const [id, spelling] of spellings.entries()) {
    const byte = plan.kind === 'pieces' && plan.byteFallback ? BYTE_TOKEN.exec(spelling)?.[1] : undefined;
    if (byte !== undefined && kinds[id] === TokenKind.text) {
      kinds[id] = TokenKind.byte;
      bytes[end] = Number.parseInt(byte, 16);
      end += 1;
    } else if (plan.kind === 'bytes' && writeAlphabet(spelling, bytes, end)) {
      end += spelling.length;
    } else {
      end += encoder.encodeInto(spelling, bytes.subarray(end)).written;
    }
    offsets[id + 1] = end;
  }
  return { kinds, offsets, bytes: bytes.slice(0, end) };
}

/** GPT-2's alphabet: the printable bytes of Latin-1 stand for themselves, the others for U+0100 and up, in order. */
const BYTE_OF_UNIT = buildAlphabet();

function buildAlphabet(): Int16Array {
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  const alphabet = new Int16Array(0x200).fill(-1);
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) alphabet[isPrintable(byte) ? byte : next++] = byte;
  return alphabet;
}

/** Writes a byte for each character. False if one is not in the alphabet: such a token stands for its own spelling. */
function writeAlphabet(spelling: string, bytes: Uint8Array, start: number): boolean {
  for (let i = 0; i < spelling.length; i++) {
    const byte = BYTE_OF_UNIT[spelling.charCodeAt(i)] ?? -1;
    if (byte < 0) return false;
    bytes[start + i] = byte;
  }
  return true;
}
