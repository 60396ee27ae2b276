/**
 * The identity of a block. Its KV states depend on its tokens and on what it saw, and on nothing else (positions are
 * relative), so its key is the SHA-256 of exactly that, and of everything that would change a bit of the numbers.
 *
 * The encoding is binary and unambiguous: every field of variable length stands behind its length.
 */
import { createHash, type Hash } from 'node:crypto';

/** Part of every key: raise it when the encoding or the meaning of a field changes. */
const FORMAT_VERSION = 1;
const KEY_BYTES = 32;

/** The hexadecimal SHA-256 that names a block. */
export type BlockKey = string;

/** What all blocks of one loaded engine share. */
export interface KeyScope {
  /** One per load: two loads never share a block. */
  modelId: string;
  /** Type and layout of the KV states, e.g. "bf16 pages of 32". */
  kvLayout: string;
  /** Whatever else changes a bit: compute type, family of the kernels. */
  numerics: string;
  /** Inverse frequencies, radians per position. */
  invFreq: readonly number[];
  ropeAttentionFactor: number;
}

/** A block that another one saw while it was encoded. */
export interface ContextEntry {
  key: BlockKey;
  /** Positions from this block's first token to the first token of the block that saw it, > 0. */
  distance: number;
}

export interface KeyedBlock {
  /** Tenant salt: blocks of different namespaces never meet. */
  namespace: string;
  /** In the order of the prompt. */
  context: readonly ContextEntry[];
  tokens: Int32Array;
}

export class KeyScheme {
  readonly #scope: Hash;

  constructor(scope: KeyScope) {
    this.#scope = createHash('sha256');
    this.#scope.update('block-attention block key');
    updateInteger(this.#scope, FORMAT_VERSION);
    updateText(this.#scope, scope.modelId);
    updateText(this.#scope, scope.kvLayout);
    updateText(this.#scope, scope.numerics);
    updateInteger(this.#scope, scope.invFreq.length);
    for (const frequency of scope.invFreq) updateFloat(this.#scope, frequency);
    updateFloat(this.#scope, scope.ropeAttentionFactor);
  }

  key(block: KeyedBlock): BlockKey {
    const hash = this.#scope.copy();
    updateText(hash, block.namespace);
    updateInteger(hash, block.context.length);
    for (const entry of block.context) {
      hash.update(keyBytes(entry.key));
      updateInteger(hash, entry.distance);
    }
    updateInteger(hash, block.tokens.length);
    // The host's byte order: a key never leaves the process.
    hash.update(new Uint8Array(block.tokens.buffer, block.tokens.byteOffset, block.tokens.byteLength));
    return hash.digest('hex');
  }
}

function keyBytes(key: BlockKey): Buffer {
  const bytes = Buffer.from(key, 'hex');
  if (bytes.length !== KEY_BYTES)
    throw new RangeError(`a block key has ${KEY_BYTES} bytes, this one ${bytes.length}`);
  return bytes;
}

function updateInteger(hash: Hash, value: number): void {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  hash.update(bytes);
}

function updateFloat(hash: Hash, value: number): void {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  hash.update(bytes);
}

/** UTF-16, since UTF-8 would turn every lone surrogate into the same character: two tenants could meet. */
function updateText(hash: Hash, text: string): void {
  updateInteger(hash, text.length);
  hash.update(text, 'utf16le');
}
