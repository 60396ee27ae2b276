import { expect, it } from 'vitest';
import { documentLengths, randomTokens } from '../../bench/common/prompts.mjs';
import { randomOf, shuffled, zipf } from '../../bench/common/random.mjs';

it('gives the same numbers for the same seed', () => {
  const take = (seed: number) => {
    const random = randomOf(seed);
    return [random(), random(), random()];
  };
  expect(take(7)).toEqual(take(7));
  expect(take(7)).not.toEqual(take(8));
});

it('shuffles without losing anything', () => {
  const values = Array.from({ length: 50 }, (_, index) => index);
  const other = shuffled(values, randomOf(1));
  expect(other).not.toEqual(values);
  expect(other.toSorted((a, b) => a - b)).toEqual(values);
});

it('draws ranks as often as Zipf says', () => {
  const draw = zipf(4, 1, randomOf(2));
  const counts = [0, 0, 0, 0];
  for (let count = 0; count < 25_000; count++) {
    const rank = draw();
    counts[rank] = (counts[rank] ?? 0) + 1;
  }
  // 1, 1/2, 1/3 and 1/4 of 12/25.
  for (const [rank, expected] of [12_000, 6000, 4000, 3000].entries())
    expect(Math.abs((counts[rank] ?? 0) - expected)).toBeLessThan(400);
});

it('fills a prompt exactly with documents of about 200 tokens', () => {
  for (const tokens of [51, 250, 512, 1024, 8192, 32_768]) {
    const lengths = documentLengths(tokens);
    expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(tokens - 50);
    expect(Math.min(...lengths)).toBeGreaterThan(0);
    if (tokens >= 1024) {
      expect(Math.min(...lengths)).toBeGreaterThan(180);
      expect(Math.max(...lengths)).toBeLessThan(220);
    }
  }
  expect(documentLengths(50)).toEqual([]);
  expect(() => documentLengths(49)).toThrow(RangeError);
});

it('draws tokens of the vocabulary', () => {
  const tokens = randomTokens(1000, 17, randomOf(3));
  expect(tokens).toHaveLength(1000);
  expect(Math.min(...tokens)).toBe(0);
  expect(Math.max(...tokens)).toBe(16);
});
