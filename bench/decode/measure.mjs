// Tokens per second while decoding, by number of streams, in turns with the streaming rate of memory.
import { randomTokens } from '../common/prompts.mjs';
import { countedRounds, summary } from '../common/statistics.mjs';
import { steadyRateOf, tokenTimes } from '../common/token-times.mjs';

/** @import { Engine } from 'block-attention' */
/** @import { Progress } from '../common/progress.mjs' */
/** @import { Summary } from '../common/statistics.mjs' */

const PROMPT_TOKENS = 64;

/**
 * @typedef {object} Row
 * @property {number} streams
 * @property {Summary} rate tokens per second, all streams together
 * @property {Summary} [share] weights' bytes per second, of the better of the streaming reads right before and right after; not
 *   in records of old
 */

/**
 * @typedef {object} Decoding
 * @property {number} readGBs the fastest streaming read of all
 * @property {Row[]} rows
 */

/**
 * Decodes `streams` answers at once.
 *
 * @param {Engine} engine
 * @param {number} streams
 * @param {number} tokens of each answer; more where some had ended before all had begun
 * @param {() => number} random
 * @returns {Promise<number>} tokens per second of all streams together
 */
export function decodeRate(engine, streams, tokens, random) {
  /** @param {number} maxTokens */
  const stream = async (maxTokens) => {
    const startedAt = performance.now();
    const query = randomTokens(PROMPT_TOKENS, engine.model.vocabSize, random);
    const result = await engine.generate({ query, maxTokens, ignoreEos: true }).result();
    return tokenTimes(startedAt, result);
  };
  return steadyRateOf((tried) =>
    Promise.all(Array.from({ length: streams }, () => stream(tokens * 2 ** tried))),
  );
}

/**
 * @param {Engine} engine
 * @param {object} plan
 * @param {readonly number[]} plan.streams
 * @param {number} plan.tokens of each answer
 * @param {number} plan.rounds counted rounds
 * @param {number} plan.seconds most seconds in all; one round always ends
 * @param {number} plan.stepBytes weights that one step reads
 * @param {() => Promise<number>} plan.readGBs measures the streaming rate of memory
 * @param {() => number} plan.random
 * @param {Progress} progress
 * @returns {Promise<Decoding>}
 */
export async function measureDecode(engine, plan, progress) {
  const { streams, tokens, rounds, seconds, stepBytes, random } = plan;
  progress.begin(rounds + 1);
  const begun = performance.now();
  /** @type {{ rate: number, share: number }[][]} */
  const done = [];
  let fastest = await plan.readGBs();
  let before = fastest;
  do {
    /** @type {{ rate: number, share: number }[]} */
    const round = [];
    for (const count of streams) {
      progress.show(`decode: round ${done.length} of ${rounds}, ${count} streams`);
      const rate = await decodeRate(engine, count, tokens, random);
      const after = await plan.readGBs();
      round.push({ rate, share: ((rate / count) * stepBytes) / 1e9 / Math.max(before, after) });
      fastest = Math.max(fastest, after);
      before = after;
    }
    done.push(round);
    progress.add(1);
  } while (done.length <= rounds && performance.now() - begun < 1000 * seconds);
  const counted = countedRounds(done);
  /** @param {number} index @param {'rate' | 'share'} what */
  const summaryOf = (index, what) => summary(counted.map((round) => round[index]?.[what] ?? Number.NaN));
  const rows = streams.map((count, index) => ({
    streams: count,
    rate: summaryOf(index, 'rate'),
    share: summaryOf(index, 'share'),
  }));
  return { readGBs: fastest, rows };
}
