// Q8_0 of llama.cpp: blocks of 32 values, each a float16 scale and 32 signed bytes.

export const BLOCK_VALUES = 32;
export const BLOCK_BYTES = 34;

/**
 * As llama.cpp's quantize_row_q8_0_ref: the scale is the largest magnitude / 127, values are divided by the scale before
 * it is rounded to float16, and halves are rounded away from zero. All of it in float32.
 *
 * @param {Float32Array} values a whole number of blocks
 * @returns {Uint8Array}
 */
export function quantizeQ8(values) {
  const blocks = values.length / BLOCK_VALUES;
  const bytes = new Uint8Array(blocks * BLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < blocks; block++) {
    const begin = block * BLOCK_VALUES;
    let largest = 0;
    for (let i = begin; i < begin + BLOCK_VALUES; i++) {
      largest = Math.max(largest, Math.abs(/** @type {number} */ (values[i])));
    }
    const scale = Math.fround(largest / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const at = block * BLOCK_BYTES;
    view.setUint16(at, float16Bits(scale), true);
    for (let i = 0; i < BLOCK_VALUES; i++) {
      const scaled = Math.fround(/** @type {number} */ (values[begin + i]) * inverse);
      // A byte of two's complement, whatever the sign.
      bytes[at + 2 + i] = Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5);
    }
  }
  return bytes;
}

const floats = new Float32Array(1);
const bits = new Uint32Array(floats.buffer);

/**
 * The nearest float16, halves to even.
 *
 * @param {number} value finite
 */
export function float16Bits(value) {
  floats[0] = value;
  const word = /** @type {number} */ (bits[0]);
  const sign = (word >>> 16) & 0x8000;
  const exponent = ((word >>> 23) & 0xff) - 127;
  const mantissa = (word & 0x7fffff) | 0x800000;
  if (exponent > 15) return sign | 0x7c00;
  // Below 2^-14 there are fewer bits: subnormal, and at last zero.
  const shift = exponent < -14 ? Math.min(13 + (-14 - exponent), 25) : 13;
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  const rounded = kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0);
  // The hidden bit of a normal number adds one to the exponent, and so does a carry out of the mantissa.
  return sign | (exponent < -14 ? rounded : ((exponent + 14) << 10) + rounded);
}
