// Reads the header of a GGUF file back, as far as gguf.mjs writes it.
import { open } from 'node:fs/promises';
import { align, MAGIC, TENSOR_TYPES, tensorBytes, VALUE_IDS } from './gguf.mjs';

/** @import { GgufTensor, TensorType } from './gguf.mjs' */

/** A vocabulary of 150K tokens takes 4 MB. */
const MAX_HEADER_BYTES = 1 << 24;

/** @typedef {string | number | boolean} Scalar */

/**
 * @typedef {object} GgufHeader
 * @property {number} version
 * @property {Map<string, Scalar | Scalar[]>} metadata
 * @property {(GgufTensor & { offset: number, bytes: number })[]} tensors offset: from the start of the file
 */

/**
 * @param {string} path
 * @returns {Promise<GgufHeader>}
 */
export async function readGgufHeader(path) {
  const file = await open(path);
  try {
    const bytes = Buffer.alloc(MAX_HEADER_BYTES);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    return parseHeader(new Cursor(bytes.subarray(0, bytesRead)));
  } finally {
    await file.close();
  }
}

class Cursor {
  at = 0;
  #bytes;

  /** @param {Buffer} bytes */
  constructor(bytes) {
    this.#bytes = bytes;
  }

  /** @param {number} size @returns {Buffer} */
  take(size) {
    const begin = this.at;
    this.at += size;
    if (this.at > this.#bytes.length) throw new RangeError('the header ends too early');
    return this.#bytes.subarray(begin, this.at);
  }

  u32() {
    return this.take(4).readUInt32LE();
  }

  u64() {
    return Number(this.take(8).readBigUInt64LE());
  }

  string() {
    return this.take(this.u64()).toString();
  }

  /** @param {number} type @returns {Scalar} */
  scalar(type) {
    if (type === VALUE_IDS.string) return this.string();
    if (type === VALUE_IDS.bool) return this.take(1).readUInt8() === 1;
    if (type === VALUE_IDS.u32) return this.u32();
    if (type === VALUE_IDS.i32) return this.take(4).readInt32LE();
    if (type === VALUE_IDS.f32) return this.take(4).readFloatLE();
    throw new RangeError(`a value of an unknown type, ${type}`);
  }

  /** @returns {Scalar | Scalar[]} */
  value() {
    const type = this.u32();
    if (type !== VALUE_IDS.array) return this.scalar(type);
    const element = this.u32();
    return Array.from({ length: this.u64() }, () => this.scalar(element));
  }
}

/** @param {Cursor} cursor @returns {GgufHeader} */
function parseHeader(cursor) {
  if (cursor.u32() !== MAGIC) throw new RangeError('not a GGUF file');
  const version = cursor.u32();
  const tensorCount = cursor.u64();
  const metadataCount = cursor.u64();
  /** @type {GgufHeader['metadata']} */
  const metadata = new Map();
  for (let i = 0; i < metadataCount; i++) metadata.set(cursor.string(), cursor.value());
  const tensors = Array.from({ length: tensorCount }, () => {
    const name = cursor.string();
    const shape = Array.from({ length: cursor.u32() }, () => cursor.u64()).reverse();
    const tensor = { name, shape, type: tensorType(cursor.u32()) };
    return { ...tensor, offset: cursor.u64(), bytes: tensorBytes(tensor) };
  });
  const data = align(cursor.at);
  return { version, metadata, tensors: tensors.map((one) => ({ ...one, offset: data + one.offset })) };
}

/** @param {number} id @returns {TensorType} */
function tensorType(id) {
  const [name] = Object.entries(TENSOR_TYPES).find(([, type]) => type.id === id) ?? [];
  if (name === undefined) throw new RangeError(`a tensor of an unknown type, ${id}`);
  return /** @type {TensorType} */ (name);
}
