// Floats out of their 16 bits, and into them.

const floats = new Float32Array(1);
const bits = new Uint32Array(floats.buffer);

/** @param {number} half a bfloat16 */
export function fromBfloat16(half) {
  bits[0] = half << 16;
  return /** @type {number} */ (floats[0]);
}

/**
 * The nearest bfloat16, halves to even.
 *
 * @param {number} value finite
 */
export function bfloat16Bits(value) {
  floats[0] = value;
  const word = /** @type {number} */ (bits[0]);
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

/** @param {number} half a float16 */
export function fromFloat16(half) {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = (half & 0x3ff) / 1024;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15));
}
