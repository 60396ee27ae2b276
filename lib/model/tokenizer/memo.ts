/**
 * Remembers the token ids of texts by their SHA-256, so that a document is tokenised once and a warm request tokenises
 * its question alone. Bounded in bytes; what was not used for longest goes first.
 */
import { createHash } from 'node:crypto';
import type { TextInput } from '../types.js';

/** What an entry takes besides its ids: the digest, the array's object, the map's slot. */
const ENTRY_BYTES = 256;

export class TokenMemo {
  readonly #capacity: number;
  /** Insertion order is order of use. */
  readonly #entries = new Map<string, Int32Array>();
  #bytes = 0;

  /** @param capacity In bytes; 0 remembers nothing. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Bytes in use. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The ids of the text of that digest, to be read only. */
  get(digest: string): Int32Array | undefined {
    const tokens = this.#entries.get(digest);
    if (tokens === undefined) return undefined;
    this.#entries.delete(digest);
    this.#entries.set(digest, tokens);
    return tokens;
  }

  set(digest: string, tokens: Int32Array): void {
    this.#drop(digest);
    const bytes = cost(tokens);
    if (bytes > this.#capacity) return;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes + bytes <= this.#capacity) break;
      this.#drop(oldest);
    }
    this.#entries.set(digest, tokens);
    this.#bytes += bytes;
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  #drop(digest: string): void {
    const tokens = this.#entries.get(digest);
    if (tokens === undefined) return;
    this.#entries.delete(digest);
    this.#bytes -= cost(tokens);
  }
}

function cost(tokens: Int32Array): number {
  return tokens.byteLength + ENTRY_BYTES;
}

/** Names a text and which of its stretches are trusted. */
export function textDigest(input: TextInput): string {
  const hash = createHash('sha256');
  if (typeof input === 'string') {
    hash.update('text\0').update(input);
  } else {
    for (const part of input.parts) {
      hash
        .update(`${part.special ? 'special' : 'plain'} ${Buffer.byteLength(part.text)}\0`)
        .update(part.text);
    }
  }
  return hash.digest('base64');
}
