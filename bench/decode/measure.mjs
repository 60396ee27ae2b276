// Tokens per second while decoding, by number of streams, in turns.
import { randomTokens } from '../common/prompts.mjs';
import { countedRounds, summary } from '../common/statistics.mjs';
import { steadyRate, tokenTimes } from '../common/token-times.mjs';

/** @import { Engine } from 'block-attention' */
/** @import { Progress } from '../common/progress.mjs' */
/** @import { Summary } from '../common/statistics.mjs' */

const PROMPT_TOKENS = 64;

/**
 * @typedef {object} Row
 * @property {number} streams
 * @property {Summary} rate tokens per second, all streams together
 */

/**
 * Decodes `streams` answers at once.
 *
 * @param {Engine} engine
 * @param {number} streams
 * @param {number} tokens of each answer
 * @param {() => number} random
 * @returns {Promise<number>} tokens per second of all streams together
 */
export async function decodeRate(engine, streams, tokens, random) {
  const runs = Array.from({ length: streams }, async () => {
    const startedAt = performance.now();
    const query = randomTokens(PROMPT_TOKENS, engine.model.vocabSize, random);
    const result = await engine.generate({ query, maxTokens: tokens, ignoreEos: true }).result();
    return tokenTimes(startedAt, result);
  });
  return steadyRate(await Promise.all(runs));
}

/**
 * @param {Engine} engine
 * @param {object} plan
 * @param {readonly number[]} plan.streams
 * @param {number} plan.tokens of each answer
 * @param {number} plan.rounds counted rounds
 * @param {number} plan.seconds most seconds in all; one round always ends
 * @param {() => number} plan.random
 * @param {Progress} progress
 * @returns {Promise<Row[]>}
 */
export async function measureDecode(engine, { streams, tokens, rounds, seconds, random }, progress) {
  progress.begin(rounds + 1);
  const begun = performance.now();
  /** @type {number[][]} */
  const rates = [];
  do {
    /** @type {number[]} */
    const round = [];
    for (const count of streams) {
      progress.show(`decode: round ${rates.length} of ${rounds}, ${count} streams`);
      round.push(await decodeRate(engine, count, tokens, random));
    }
    rates.push(round);
    progress.add(1);
  } while (rates.length <= rounds && performance.now() - begun < 1000 * seconds);
  const counted = countedRounds(rates);
  return streams.map((count, index) => ({
    streams: count,
    rate: summary(counted.map((round) => round[index] ?? Number.NaN)),
  }));
}
