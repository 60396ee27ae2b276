import type { GenerationResult } from 'block-attention';
import { expect, it } from 'vitest';
import { rateWithin, steadyRate, steadyRateOf, tokenTimes } from '../../bench/common/token-times.mjs';
import { compare } from '../../bench/event-loop/blocked-host.mjs';

const withTimings = (firstToken: number | undefined, perToken: number[]) =>
  ({ timings: { firstToken, perToken } }) as GenerationResult;

it('places tokens on the clock of their start', () => {
  expect(tokenTimes(1000, withTimings(50, [10, 20]))).toEqual([1050, 1060, 1080]);
  expect(tokenTimes(1000, withTimings(undefined, []))).toEqual([]);
});

it('counts tokens of the span in which all streams decode', () => {
  const late = Array.from({ length: 11 }, (_, index) => 100 + 10 * index);
  const early = Array.from({ length: 21 }, (_, index) => 10 * index);
  // From 100 to 200: ten tokens each.
  expect(steadyRate([late, early])).toBeCloseTo(200);
});

it('has no steady rate of streams that never ran at once', () => {
  expect(() =>
    steadyRate([
      [0, 10],
      [20, 30],
    ]),
  ).toThrow(RangeError);
  expect(() => steadyRate([[], [0, 10]])).toThrow(RangeError);
});

it('decodes streams once more that did not run at once, and gives up in the end', async () => {
  const apart = [
    [0, 10],
    [20, 30],
  ];
  const together = [
    [0, 10, 20],
    [0, 10, 20],
  ];
  const tries: number[] = [];
  const rate = await steadyRateOf((tried) => {
    tries.push(tried);
    return Promise.resolve(tried < 2 ? apart : together);
  });
  expect(rate).toBeCloseTo(200);
  expect(tries).toEqual([0, 1, 2]);
  await expect(steadyRateOf(() => Promise.resolve(apart))).rejects.toThrow(RangeError);
  await expect(steadyRateOf(() => Promise.reject(new Error('lost')))).rejects.toThrow('lost');
});

it('counts a token at the end of a span, not one at its beginning', () => {
  expect(rateWithin([[0, 500, 1000]], 0, 1000)).toBe(2);
});

it('compares a blocked phase with the free ones on both sides', () => {
  expect(compare([100, 80, 60], [90, 35]).ratios).toEqual([1, 0.5]);
});
