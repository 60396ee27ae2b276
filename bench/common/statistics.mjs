// Summaries of repeated measurements.

/** @typedef {{ median: number, min: number, max: number, count: number }} Summary */

/**
 * The value below which the share `q` of all values lies, linear between two of them.
 *
 * @param {readonly number[]} values at least one
 * @param {number} q 0 to 1
 * @returns {number}
 */
export function quantile(values, q) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  if (low === undefined || high === undefined) throw new RangeError('no values');
  return low + (high - low) * (at - Math.floor(at));
}

/** @param {readonly number[]} values at least one */
export const median = (values) => quantile(values, 0.5);

/**
 * @param {readonly number[]} values at least one
 * @returns {Summary}
 */
export function summary(values) {
  return {
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    count: values.length,
  };
}

/**
 * The first round also pays for memory touched for the first time: it counts only if it is all there is.
 *
 * @template T
 * @param {readonly T[]} rounds
 * @returns {readonly T[]}
 */
export function countedRounds(rounds) {
  return rounds.length > 1 ? rounds.slice(1) : rounds;
}
