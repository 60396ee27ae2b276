// Writes GGUF files, version 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): a header of
// typed metadata and of where each tensor lies, then the tensors' data. The data is streamed; only the header is held.
import { open } from 'node:fs/promises';

/**
 * Metadata: strings, and numbers of a named type.
 *
 * @typedef {{ type: 'string', value: string } | { type: 'u32' | 'f32' | 'i32', value: number } | { type: 'bool', value: boolean }
 *   | { type: 'strings', value: readonly string[] } | { type: 'f32s' | 'i32s', value: readonly number[] }} Value
 */

/**
 * @typedef {'F32' | 'BF16' | 'Q8_0'} TensorType
 */

/**
 * @typedef {object} GgufTensor
 * @property {string} name
 * @property {readonly number[]} shape rows first, as in safetensors; a file has them the other way round
 * @property {TensorType} type
 */

export const MAGIC = 0x46554747;
const VERSION = 3;
export const ALIGNMENT = 32;

/** Numbers of the types in a file, and how many bytes a block of so many values takes. */
export const TENSOR_TYPES = {
  F32: { id: 0, values: 1, bytes: 4 },
  BF16: { id: 30, values: 1, bytes: 2 },
  Q8_0: { id: 8, values: 32, bytes: 34 },
};

export const VALUE_IDS = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 };
const ELEMENT_TYPES = /** @type {const} */ ({ strings: 'string', f32s: 'f32', i32s: 'i32' });

/** @param {Pick<GgufTensor, 'name' | 'shape' | 'type'>} tensor @returns {number} of its data */
export function tensorBytes({ name, shape, type }) {
  const { values, bytes } = TENSOR_TYPES[type];
  const columns = shape.at(-1) ?? 1;
  if (columns % values !== 0) {
    throw new RangeError(`${name}: rows of ${columns} values are no whole number of ${type} blocks`);
  }
  return (shape.reduce((product, size) => product * size, 1) / values) * bytes;
}

/** @param {number} offset */
export const align = (offset) => Math.ceil(offset / ALIGNMENT) * ALIGNMENT;

/**
 * @param {string} path
 * @param {ReadonlyMap<string, Value>} metadata
 * @param {readonly GgufTensor[]} tensors
 * @param {(tensor: GgufTensor) => AsyncIterable<Uint8Array>} dataOf a tensor's bytes, in pieces
 * @returns {Promise<number>} bytes of the file
 */
export async function writeGguf(path, metadata, tensors, dataOf) {
  const file = await open(path, 'w');
  let at = 0;
  /** @param {Uint8Array} bytes */
  const write = async (bytes) => {
    for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done)).bytesWritten;
    at += bytes.length;
  };
  try {
    await write(headerOf(metadata, tensors));
    for (const tensor of tensors) {
      await write(new Uint8Array(align(at) - at));
      const end = at + tensorBytes(tensor);
      for await (const piece of dataOf(tensor)) await write(piece);
      if (at !== end) throw new RangeError(`${tensor.name}: ${at - end} bytes too many`);
    }
    await write(new Uint8Array(align(at) - at));
    return at;
  } finally {
    await file.close();
  }
}

/**
 * @param {ReadonlyMap<string, Value>} metadata
 * @param {readonly GgufTensor[]} tensors
 */
function headerOf(metadata, tensors) {
  /** @type {Buffer[]} */
  const parts = [u32(MAGIC), u32(VERSION), u64(tensors.length), u64(metadata.size)];
  for (const [key, value] of metadata) parts.push(string(key), typed(value));
  let offset = 0;
  for (const tensor of tensors) {
    const dimensions = tensor.shape.toReversed();
    parts.push(string(tensor.name), u32(dimensions.length), ...dimensions.map(u64));
    parts.push(u32(TENSOR_TYPES[tensor.type].id), u64(offset));
    offset = align(offset + tensorBytes(tensor));
  }
  const header = Buffer.concat(parts);
  return Buffer.concat([header, Buffer.alloc(align(header.length) - header.length)]);
}

/** A value with its type in front. @param {Value} value @returns {Buffer} */
function typed(value) {
  switch (value.type) {
    case 'strings':
    case 'f32s':
    case 'i32s': {
      const element = ELEMENT_TYPES[value.type];
      const items = value.value.map((item) => scalar(element, item));
      return Buffer.concat([u32(VALUE_IDS.array), u32(VALUE_IDS[element]), u64(items.length), ...items]);
    }
    default:
      return Buffer.concat([u32(VALUE_IDS[value.type]), scalar(value.type, value.value)]);
  }
}

/**
 * @param {'u32' | 'i32' | 'f32' | 'bool' | 'string'} type
 * @param {string | number | boolean} value
 */
function scalar(type, value) {
  if (type === 'string') return string(String(value));
  if (type === 'bool') return Buffer.of(value === true ? 1 : 0);
  const bytes = Buffer.alloc(4);
  if (type === 'u32') bytes.writeUInt32LE(Number(value));
  else if (type === 'i32') bytes.writeInt32LE(Number(value));
  else bytes.writeFloatLE(Number(value));
  return bytes;
}

/** @param {number} value */
function u32(value) {
  return scalar('u32', value);
}

/** @param {number} value */
function u64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

/** @param {string} text */
function string(text) {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(bytes.length), bytes]);
}
