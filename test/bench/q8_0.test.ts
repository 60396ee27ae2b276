import { expect, it } from 'vitest';
import { randomOf } from '../../bench/common/random.mjs';
import { BLOCK_BYTES, BLOCK_VALUES, float16Bits, quantizeQ8 } from '../../bench/peers/q8_0.mjs';

/** The value of a float16, by the definition of the format. */
function float16(bits: number) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 0x3ff) / 1024;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15));
}

it('rounds to float16 and back without a change', () => {
  for (let bits = 0; bits < 0x10000; bits++) {
    const value = float16(bits);
    if (Number.isFinite(value)) expect(float16Bits(value)).toBe(bits);
  }
});

it('rounds to the nearest float16, halves to even', () => {
  // Between any two neighbours: the middle goes to the even one, a little beside it to the nearer one.
  for (let bits = 0; bits < 0x7bff; bits++) {
    const [low, high] = [float16(bits), float16(bits + 1)];
    const middle = (low + high) / 2;
    const little = (high - low) / 8;
    expect(float16Bits(middle)).toBe(bits + (bits & 1));
    expect(float16Bits(middle - little)).toBe(bits);
    expect(float16Bits(-middle - little)).toBe(0x8000 + bits + 1);
  }
  expect(float16Bits(65_520)).toBe(0x7c00);
  expect(float16Bits(2 ** -30)).toBe(0);
});

it('quantizes blocks as a plain reference does', () => {
  const random = randomOf(3);
  const blocks = 500;
  const values = Float32Array.from({ length: blocks * BLOCK_VALUES }, (_, index) => {
    const scale = 2 ** ((Math.floor(index / BLOCK_VALUES) % 20) - 12);
    return (2 * random() - 1) * scale;
  });
  const bytes = quantizeQ8(values);
  expect(bytes).toHaveLength(blocks * BLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < blocks; block++) {
    const part = [...values.subarray(block * BLOCK_VALUES, (block + 1) * BLOCK_VALUES)];
    const scale = Math.fround(Math.max(...part.map(Math.abs)) / 127);
    expect(view.getUint16(block * BLOCK_BYTES, true)).toBe(float16Bits(scale));
    const inverse = Math.fround(1 / scale);
    for (const [index, value] of part.entries()) {
      const scaled = Math.fround(value * inverse);
      // C's roundf: halves away from zero.
      const expected = scaled < 0 ? -Math.round(-scaled) : Math.round(scaled);
      expect(view.getInt8(block * BLOCK_BYTES + 2 + index)).toBe(expected + 0);
    }
  }
});

it('rounds halves away from zero', () => {
  // The scale is 1 exactly.
  const values = new Float32Array(BLOCK_VALUES);
  values.set([127, 0.5, -0.5, 1.5, -1.5, 2.49, -126.5]);
  const view = new DataView(quantizeQ8(values).buffer);
  expect(view.getUint16(0, true)).toBe(0x3c00);
  expect([0, 1, 2, 3, 4, 5, 6].map((index) => view.getInt8(2 + index))).toEqual([127, 1, -1, 2, -2, 2, -127]);
});

it('makes zeros of a block of zeros', () => {
  expect([...quantizeQ8(new Float32Array(BLOCK_VALUES))]).toEqual(Array(BLOCK_BYTES).fill(0));
});
