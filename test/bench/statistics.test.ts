import { expect, it } from 'vitest';
import { countedRounds, median, quantile, summary } from '../../bench/common/statistics.mjs';

it('takes quantiles between values', () => {
  expect(quantile([4, 1, 3, 2], 0)).toBe(1);
  expect(quantile([4, 1, 3, 2], 1)).toBe(4);
  expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
  expect(quantile([10, 20], 0.95)).toBeCloseTo(19.5);
  expect(median([5])).toBe(5);
});

it('has no quantile of nothing', () => {
  expect(() => median([])).toThrow(RangeError);
});

it('sums up with median, least and greatest', () => {
  expect(summary([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3, count: 3 });
});

it('drops the first round unless it is all there is', () => {
  expect(countedRounds([1, 2, 3])).toEqual([2, 3]);
  expect(countedRounds([1])).toEqual([1]);
});
