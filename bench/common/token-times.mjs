// When the tokens of several streams came, and how many came in a span of time.

/** @import { GenerationResult } from 'block-attention' */

/**
 * @param {number} startedAt when `generate` was called, ms
 * @param {GenerationResult} result
 * @returns {number[]} when each token was drawn, ms on the clock of `startedAt`
 */
export function tokenTimes(startedAt, { timings }) {
  if (timings.firstToken === undefined) return [];
  let at = startedAt + timings.firstToken;
  return [
    at,
    ...timings.perToken.map((gap) => {
      at += gap;
      return at;
    }),
  ];
}

/**
 * Tokens per second of all streams together, while all of them were decoding: from when the last one had its first
 * token until the first one had its last.
 *
 * @param {readonly (readonly number[])[]} streams times of the tokens, ms, ascending
 * @returns {number}
 */
export function steadyRate(streams) {
  const begin = Math.max(...streams.map((times) => times[0] ?? Number.NaN));
  const end = Math.min(...streams.map((times) => times.at(-1) ?? Number.NaN));
  if (!(end > begin)) throw new RangeError('the streams were never decoding all at once');
  return rateWithin(streams, begin, end);
}

/**
 * Tokens per second of all streams in (begin, end].
 *
 * @param {readonly (readonly number[])[]} streams
 * @param {number} begin ms
 * @param {number} end ms
 */
export function rateWithin(streams, begin, end) {
  const inside = streams.reduce(
    (sum, times) => sum + times.filter((time) => time > begin && time <= end).length,
    0,
  );
  return (1000 * inside) / (end - begin);
}
