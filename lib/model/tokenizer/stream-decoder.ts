/**
 * Tokens in, text out, piece by piece. What the pieces add up to is exactly what the reference (`tokenizers`' decode with
 * skip_special_tokens) makes of all tokens at once, and no piece ends inside a character.
 */
import type { StreamDecoder } from '../types.js';
import type { DecoderPlan, PiecesPlan } from './decoder-plan.js';
import { TokenKind, type VocabularyData } from './vocabulary.js';

export function createStreamDecoder(vocabulary: VocabularyData, plan: DecoderPlan): StreamDecoder {
  return plan.kind === 'bytes' ? new ByteStreamDecoder(vocabulary) : new PieceStreamDecoder(vocabulary, plan);
}

/** Bytes of a token; undefined for ids that have no place in text: special tokens and ids without a token. */
function bytesOf(vocabulary: VocabularyData, token: number | undefined): Uint8Array | undefined {
  if (token === undefined) return undefined;
  const kind = vocabulary.kinds[token] ?? TokenKind.absent;
  if (kind === TokenKind.absent || kind === TokenKind.special) return undefined;
  return vocabulary.bytes.subarray(vocabulary.offsets[token], vocabulary.offsets[token + 1]);
}

/** Byte-level BPE: a token is bytes, and characters may be cut anywhere. */
class ByteStreamDecoder implements StreamDecoder {
  readonly #vocabulary: VocabularyData;
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(vocabulary: VocabularyData) {
    this.#vocabulary = vocabulary;
  }

  push(tokens: ArrayLike<number>): string {
    let text = '';
    for (let i = 0; i < tokens.length; i++) {
      const bytes = bytesOf(this.#vocabulary, tokens[i]);
      if (bytes !== undefined) text += this.#utf8.decode(bytes, { stream: true });
    }
    return text;
  }

  end(): string {
    return this.#utf8.decode();
  }
}

/**
 * Sentencepiece's way: a token is text, except for byte tokens. A run of byte tokens is text if all of it is UTF-8;
 * otherwise each of its bytes becomes U+FFFD. So a run is kept back until it has ended.
 */
class PieceStreamDecoder implements StreamDecoder {
  readonly #vocabulary: VocabularyData;
  readonly #plan: PiecesPlan;
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
  readonly #strictUtf8 = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });
  #run: number[] = [];
  #first = true;
  /** Characters that may still be cut off the beginning. */
  #toStrip: number;

  constructor(vocabulary: VocabularyData, plan: PiecesPlan) {
    this.#vocabulary = vocabulary;
    this.#plan = plan;
    this.#toStrip = plan.strip?.count ?? 0;
  }

  push(tokens: ArrayLike<number>): string {
    let text = '';
    for (let i = 0; i < tokens.length; i++) {
      const token = tokens[i];
      const bytes = bytesOf(this.#vocabulary, token);
      if (token === undefined || bytes === undefined) continue;
      if (this.#vocabulary.kinds[token] === TokenKind.byte) {
        this.#run.push(...bytes);
      } else {
        text += this.#endRun() + this.#replace(this.#utf8.decode(bytes));
      }
      this.#first = false;
    }
    return this.#strip(text);
  }

  end(): string {
    const text = this.#strip(this.#endRun());
    this.#first = true;
    this.#toStrip = this.#plan.strip?.count ?? 0;
    return text;
  }

  #endRun(): string {
    if (this.#run.length === 0) return '';
    const bytes = Uint8Array.from(this.#run);
    this.#run = [];
    try {
      return this.#strictUtf8.decode(bytes);
    } catch {
      return '\ufffd'.repeat(bytes.length);
    }
  }

  #replace(piece: string): string {
    const { dropInFirst, replacements } = this.#plan;
    let text = dropInFirst !== undefined && this.#first ? piece.replaceAll(dropInFirst, '') : piece;
    for (const [pattern, content] of replacements) text = text.replaceAll(pattern, () => content);
    return text;
  }

  #strip(text: string): string {
    let begin = 0;
    while (this.#toStrip > 0 && begin < text.length) {
      if (text.charAt(begin) === this.#plan.strip?.content) {
        begin += 1;
        this.#toStrip -= 1;
      } else {
        this.#toStrip = 0;
      }
    }
    return text.slice(begin);
  }
}
