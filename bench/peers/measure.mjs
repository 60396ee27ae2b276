// All figures of all contenders in turns: while one computes, the others are idle.
import { randomTokens } from '../common/prompts.mjs';
import { countedRounds } from '../common/statistics.mjs';
import { steadyRateOf } from '../common/token-times.mjs';

/** @import { Progress } from '../common/progress.mjs' */
/** @import { Contender } from './contender.mjs' */
/** @import { OpenOptions } from './serve.mjs' */

/**
 * @typedef {object} Entry a contender with what it is asked to open
 * @property {string} key
 * @property {Contender} contender
 * @property {OpenOptions} options
 * @property {boolean} severalStreams
 */

/**
 * One figure: what each contender did in each counted round, in the same order of rounds.
 *
 * @typedef {object} Figure
 * @property {'load' | 'ttft' | 'decode'} what ms, ms, and tokens per second of all streams together
 * @property {number} size prompt tokens of `ttft`, streams of `decode`
 * @property {Record<string, number[]>} values by the contender's key
 * @property {Record<string, number[]>} [readGBs] of `decode` with one stream: the better of the streaming reads of memory right
 *   before and right after
 */

/**
 * @typedef {object} Plan
 * @property {readonly number[]} lengths prompt tokens
 * @property {readonly number[]} streams
 * @property {number} tokens of each answer
 * @property {number} rounds counted rounds
 * @property {number} seconds most seconds for one figure; one round always ends
 * @property {number} vocabSize
 * @property {() => number} random
 * @property {() => Promise<number | undefined>} readGBs measures the streaming rate of memory, where that can be done
 */

const DECODE_PROMPT_TOKENS = 64;

/** Most tokens of one prompt and its answer. @param {Pick<Plan, 'lengths' | 'tokens'>} plan */
export const positionsOf = ({ lengths, tokens }) =>
  Math.max(...lengths.map((length) => length + 8), DECODE_PROMPT_TOKENS + tokens + 8);

/**
 * Contenders open their models, and have them open at the end.
 *
 * @param {readonly Entry[]} entries
 * @param {Plan} plan
 * @param {Progress} progress
 * @returns {Promise<Figure[]>}
 */
export async function measureFigures(entries, plan, progress) {
  const { lengths, streams, tokens, rounds, seconds } = plan;
  /** @param {number} length */
  const prompt = (length) => [...randomTokens(length, plan.vocabSize, plan.random)];
  /** @type {{ what: Figure['what'], size: number, work: number, taking: readonly Entry[], turn: () => (entry: Entry) => Promise<number> }[]} */
  const figures = [
    { what: 'load', size: 0, work: 128, taking: entries, turn: () => reopen },
    ...lengths.map((size) => ({
      what: /** @type {const} */ ('ttft'),
      size,
      work: size,
      taking: entries,
      turn: () => {
        const request = { do: /** @type {const} */ ('ttft'), prompt: prompt(size) };
        return async (/** @type {Entry} */ { contender }) => (await contender.ask(request)).ms;
      },
    })),
    ...streams.map((size) => ({
      what: /** @type {const} */ ('decode'),
      size,
      work: 8 * tokens,
      taking: entries.filter(({ severalStreams }) => size === 1 || severalStreams),
      turn: () => {
        const prompts = Array.from({ length: size }, () => prompt(DECODE_PROMPT_TOKENS));
        const request = { do: /** @type {const} */ ('decode'), prompts, tokens };
        return (/** @type {Entry} */ { contender }) =>
          steadyRateOf(async () => (await contender.ask(request)).streams);
      },
    })),
  ];
  progress.begin(figures.reduce((sum, { work, taking }) => sum + (rounds + 1) * work * taking.length, 0));

  /** @type {Figure[]} */
  const results = [];
  for (const { what, size, work, taking, turn } of figures) {
    const begun = performance.now();
    const readGBs = what === 'decode' && size === 1 ? plan.readGBs : () => Promise.resolve(undefined);
    /** @type {Record<string, { value: number, readGBs: number | undefined }>[]} */
    const done = [];
    let before = await readGBs();
    do {
      /** @type {Record<string, { value: number, readGBs: number | undefined }>} */
      const round = {};
      // The same tokens for all of a round; who begins changes from round to round.
      const measure = turn();
      for (let place = 0; place < taking.length; place++) {
        const entry = /** @type {Entry} */ (taking[(place + done.length) % taking.length]);
        progress.show(`peers: ${what} ${size || ''}, round ${done.length} of ${rounds}, ${entry.key}`);
        const value = await measure(entry);
        const after = await readGBs();
        const both = before === undefined || after === undefined ? undefined : Math.max(before, after);
        round[entry.key] = { value, readGBs: both };
        before = after;
        progress.add(work);
      }
      done.push(round);
    } while (done.length <= rounds && performance.now() - begun < 1000 * seconds);
    progress.add((rounds + 1 - done.length) * work * taking.length);
    const counted = countedRounds(done);
    /** @param {'value' | 'readGBs'} of */
    const byKey = (of) =>
      Object.fromEntries(
        taking.map(({ key }) => [key, counted.map((round) => round[key]?.[of] ?? Number.NaN)]),
      );
    results.push({
      what,
      size,
      values: byKey('value'),
      ...(before === undefined ? {} : { readGBs: byKey('readGBs') }),
    });
  }
  return results;
}

/** From a closed model to its first token. @param {Entry} entry @returns {Promise<number>} ms */
async function reopen({ contender, options }) {
  await contender.ask({ do: 'close' });
  return (await contender.ask({ do: 'open', options })).ms;
}
