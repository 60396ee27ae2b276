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

const TRIES = 4;

/**
 * The steady rate of streams that begin together. On a busy machine a short answer may end before the last one has begun:
 * they are then decoded once more.
 *
 * @param {(tried: number) => Promise<readonly (readonly number[])[]>} decode gives times as steadyRate() takes them;
 *   `tried`: how often it was called before
 */
export async function steadyRateOf(decode) {
  for (let tried = 0; ; tried++) {
    const streams = await decode(tried);
    try {
      return steadyRate(streams);
    } catch (error) {
      if (!(error instanceof RangeError) || tried + 1 === TRIES) throw error;
    }
  }
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
