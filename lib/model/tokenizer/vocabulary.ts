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
  for (const id of tokenizer.vocab.values()) size = Math.max(size, id + 1);
  for (const { id } of tokenizer.addedTokens) size = Math.max(size, id + 1);
  return size;
}

export function buildVocabulary(tokenizer: TokenizerJson, plan: DecoderPlan): VocabularyData {
  const size = vocabularySize(tokenizer);
  const kinds = new Uint8Array(size);
  const pieces = new Array<Uint8Array>(size);
  const encoder = new TextEncoder();
  const set = (id: number, token: string, special: boolean) => {
    const byte = plan.kind === 'pieces' && plan.byteFallback ? BYTE_TOKEN.exec(token)?.[1] : undefined;
    if (special) kinds[id] = TokenKind.special;
    else kinds[id] = byte === undefined ? TokenKind.text : TokenKind.byte;
    if (byte !== undefined) pieces[id] = Uint8Array.of(Number.parseInt(byte, 16));
    else pieces[id] = (plan.kind === 'bytes' ? bytesOfAlphabet(token) : undefined) ?? encoder.encode(token);
  };
  for (const [token, id] of tokenizer.vocab) set(id, token, false);
  for (const { id, content, special } of tokenizer.addedTokens) set(id, content, special);

  const offsets = new Uint32Array(size + 1);
  for (let id = 0; id < size; id++) offsets[id + 1] = (offsets[id] ?? 0) + (pieces[id]?.length ?? 0);
  const bytes = new Uint8Array(offsets[size] ?? 0);
  for (let id = 0; id < size; id++) {
    const piece = pieces[id];
    if (piece !== undefined) bytes.set(piece, offsets[id]);
  }
  return { kinds, offsets, bytes };
}

/** GPT-2's alphabet: the printable bytes of Latin-1 stand for themselves, the others for U+0100 and up, in order. */
const ALPHABET: ReadonlyMap<string, number> = buildAlphabet();

function buildAlphabet(): Map<string, number> {
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  const alphabet = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    alphabet.set(String.fromCharCode(isPrintable(byte) ? byte : next++), byte);
  }
  return alphabet;
}

/** Undefined if a character is not in the alphabet: such an added token stands for its own spelling. */
function bytesOfAlphabet(token: string): Uint8Array | undefined {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = ALPHABET.get(token.charAt(i));
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}
