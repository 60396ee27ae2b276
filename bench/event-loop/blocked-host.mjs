// Decodes several streams while the host's event loop is now free, now blocked for 200 ms at a time, and compares the
// rates. Phases take turns, and a blocked one is compared with the free ones on both its sides: the growing context and
// whatever else the machine does then hit both.
import { setImmediate, setTimeout } from 'node:timers/promises';
import { randomTokens } from '../common/prompts.mjs';
import { rateWithin, tokenTimes } from '../common/token-times.mjs';

/** @import { Engine } from 'block-attention' */

const PROMPT_TOKENS = 16;
/** Of each answer: more than come in all phases together, as long as a step takes more than half a millisecond or so. */
const MOST_TOKENS = 8192;
/** At one time, and how often in one phase. */
const BLOCK_MS = 200;
const BLOCKS = 2;

/**
 * Ways to block: waiting, as a synchronous call of the system does, leaves the cores to the engine; computing takes one.
 *
 * @type {Record<'waiting' | 'computing', (ms: number) => void>}
 */
export const BLOCKERS = {
  waiting(ms) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  },
  computing(ms) {
    for (const begun = performance.now(); performance.now() - begun < ms; );
  },
};

/** @typedef {{ begin: number, end: number }} Phase ms */

/**
 * @param {Engine} engine
 * @param {object} plan
 * @param {number} plan.streams
 * @param {number} plan.phases blocked ones
 * @param {(ms: number) => void} plan.block
 * @param {() => number} plan.random
 * @returns {Promise<{ freeRates: number[], ratios: number[] }>} tokens per second of all streams in each free phase, and
 *   each blocked phase's rate as a share of the mean of its neighbours
 */
export async function measureBlockedHost(engine, { streams, phases, block, random }) {
  const generations = Array.from({ length: streams }, () => {
    const query = randomTokens(PROMPT_TOKENS, engine.model.vocabSize, random);
    return {
      startedAt: performance.now(),
      generation: engine.generate({ query, maxTokens: MOST_TOKENS, ignoreEos: true }),
    };
  });
  // All of them decode once each has given a token.
  await Promise.all(generations.map(({ generation }) => generation[Symbol.asyncIterator]().next()));

  /** @type {Phase[]} */
  const free = [await phase(() => setTimeout(BLOCK_MS * BLOCKS))];
  /** @type {Phase[]} */
  const blocked = [];
  for (let count = 0; count < phases; count++) {
    blocked.push(await phase(() => blockAgainAndAgain(block)));
    free.push(await phase(() => setTimeout(BLOCK_MS * BLOCKS)));
  }

  const end = performance.now();
  for (const { generation } of generations) generation.abort();
  const times = await Promise.all(
    generations.map(async ({ startedAt, generation }) => tokenTimes(startedAt, await generation.result())),
  );
  // Events of the last moments may still have been under way.
  if (times.some((stream) => (stream.at(-1) ?? 0) < end - 2 * BLOCK_MS)) {
    throw new Error('answers ended before the last phase: this model is too fast, or its context too small');
  }
  const rate = (/** @type {Phase} */ { begin, end }) => rateWithin(times, begin, end);
  return compare(free.map(rate), blocked.map(rate));
}

/**
 * @param {readonly number[]} freeRates one more than `blockedRates`
 * @param {readonly number[]} blockedRates
 */
export function compare(freeRates, blockedRates) {
  return {
    freeRates: [...freeRates],
    ratios: blockedRates.map((rate, index) => {
      const [before = Number.NaN, after = Number.NaN] = freeRates.slice(index, index + 2);
      return (2 * rate) / (before + after);
    }),
  };
}

/** @param {(ms: number) => void} block */
async function blockAgainAndAgain(block) {
  for (let count = 0; count < BLOCKS; count++) {
    block(BLOCK_MS);
    // One turn of the event loop: what has come in is delivered.
    await setImmediate();
  }
}

/**
 * @param {() => Promise<void>} wait
 * @returns {Promise<Phase>}
 */
async function phase(wait) {
  const begin = performance.now();
  await wait();
  return { begin, end: performance.now() };
}
