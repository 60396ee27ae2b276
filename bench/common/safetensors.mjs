// Writes a safetensors file (https://github.com/huggingface/safetensors): a little-endian u64 length, so
// many bytes of JSON, then the data of all tensors in order. Nothing larger than a chunk is held in memory.
import { open } from 'node:fs/promises';

/**
 * @typedef {object} TensorSpec
 * @property {string} name
 * @property {readonly number[]} shape
 * @property {keyof typeof ELEMENT_BYTES} [dtype] BF16 unless said
 */

const ELEMENT_BYTES = { BF16: 2, F32: 4 };

/**
 * @param {string} path
 * @param {readonly TensorSpec[]} tensors
 * @param {(tensor: TensorSpec) => Buffer} pattern what a tensor's bytes repeat; a whole number of elements
 * @returns {Promise<number>} bytes of the file
 */
export async function writeSafetensors(path, tensors, pattern) {
  const header = headerOf(tensors);
  const file = await open(path, 'w');
  try {
    let written = await write(file, header);
    for (const tensor of tensors) {
      const bytes = bytesOf(tensor);
      const chunk = pattern(tensor);
      for (let at = 0; at < bytes; at += chunk.length) {
        written += await write(file, chunk.subarray(0, Math.min(chunk.length, bytes - at)));
      }
    }
    return written;
  } finally {
    await file.close();
  }
}

/** @param {TensorSpec} tensor */
const bytesOf = ({ shape, dtype = 'BF16' }) =>
  shape.reduce((product, size) => product * size, ELEMENT_BYTES[dtype]);

/** @param {readonly TensorSpec[]} tensors */
function headerOf(tensors) {
  let at = 0;
  const entries = tensors.map((tensor) => {
    const begin = at;
    at += bytesOf(tensor);
    const { name, shape, dtype = 'BF16' } = tensor;
    return [name, { dtype, shape, data_offsets: [begin, at] }];
  });
  const json = JSON.stringify(Object.fromEntries(entries));
  // Spaces at the end put the data on a multiple of 8, as the reference implementation does.
  const padded = Buffer.from(json.padEnd(Math.ceil(Buffer.byteLength(json) / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded]);
}

/**
 * @param {import('node:fs/promises').FileHandle} file
 * @param {Buffer} bytes
 */
async function write(file, bytes) {
  let done = 0;
  while (done < bytes.length) done += (await file.write(bytes, done)).bytesWritten;
  return done;
}
