// The yardstick: the same model with every matrix rounded to Q8_0 (blocks of 32 values) and written as float32, so that
// nothing but the weights is rounded.
import { copyFile, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { findTensors } from '#lib/model/safetensors.js';
import { writeSafetensors } from '../common/safetensors.mjs';
import { BLOCK_BYTES, BLOCK_VALUES, quantizeQ8 } from '../peers/q8_0.mjs';
import { fromBfloat16, fromFloat16 } from './float-bits.mjs';

/** @import { StoredTensor } from '#lib/model/safetensors.js' */

/**
 * @param {string} source a model folder
 * @param {string} target an empty one
 */
export async function writeQ8Model(source, target) {
  for (const name of await readdir(source)) {
    if (!/\.safetensors(\.index\.json)?$/.test(name)) await copyFile(join(source, name), join(target, name));
  }
  const { files, tensors } = await findTensors(source);
  /** @type {Map<string, Buffer>} */
  const data = new Map();
  for (const tensor of tensors) {
    const values = await readTensor(files[tensor.file] ?? '', tensor);
    const rounded = tensor.shape.length === 2 ? roundToQ8(values, tensor.shape[1] ?? 0) : values;
    data.set(tensor.name, Buffer.from(rounded.buffer));
  }
  await writeSafetensors(
    join(target, 'model.safetensors'),
    tensors.map(({ name, shape }) => ({ name, shape, dtype: /** @type {const} */ ('F32') })),
    ({ name }) => data.get(name) ?? Buffer.alloc(0),
  );
}

/**
 * @param {Float32Array} values
 * @param {number} columns of a row; no block holds values of two rows
 * @returns {Float32Array} what Q8_0 makes of them
 */
export function roundToQ8(values, columns) {
  if (columns % BLOCK_VALUES !== 0) {
    throw new RangeError(`rows of ${columns} values are no whole number of Q8_0 blocks`);
  }
  const bytes = quantizeQ8(values);
  const view = new DataView(bytes.buffer);
  const rounded = new Float32Array(values.length);
  for (let block = 0; block < values.length / BLOCK_VALUES; block++) {
    const scale = fromFloat16(view.getUint16(block * BLOCK_BYTES, true));
    for (let i = 0; i < BLOCK_VALUES; i++) {
      rounded[block * BLOCK_VALUES + i] = scale * view.getInt8(block * BLOCK_BYTES + 2 + i);
    }
  }
  return rounded;
}

/**
 * @param {string} path
 * @param {StoredTensor} tensor
 * @returns {Promise<Float32Array>}
 */
async function readTensor(path, { name, dtype, shape, offset, bytes }) {
  const buffer = Buffer.alloc(bytes);
  const file = await open(path);
  try {
    const { bytesRead } = await file.read(buffer, 0, bytes, offset);
    if (bytesRead !== bytes) throw new RangeError(`${path} ends within ${name}`);
  } finally {
    await file.close();
  }
  const count = shape.reduce((product, size) => product * size, 1);
  const read = READERS[dtype];
  if (read === undefined) throw new RangeError(`${path}: ${name} is ${dtype}`);
  const values = new Float32Array(count);
  for (let index = 0; index < count; index++) values[index] = read(buffer, index);
  return values;
}

/** @type {Record<string, (buffer: Buffer, index: number) => number>} */
const READERS = {
  BF16: (buffer, index) => fromBfloat16(buffer.readUInt16LE(2 * index)),
  F16: (buffer, index) => fromFloat16(buffer.readUInt16LE(2 * index)),
  F32: (buffer, index) => buffer.readFloatLE(4 * index),
};
