// Time to first token over prompt length, three ways in turns: full attention, block attention with nothing cached (cold),
// and block attention with all documents cached (warm), encoded before by other prompts in another order.
import { documentLengths, QUERY_TOKENS } from '../common/prompts.mjs';
import { shuffled } from '../common/random.mjs';
import { countedRounds, summary } from '../common/statistics.mjs';

/** @import { Engine, Flops, GenerateRequest, GenerationResult } from 'block-attention' */
/** @import { Summary } from '../common/statistics.mjs' */
/** @import { Progress } from '../common/progress.mjs' */
/** @import { MakeBlock } from './content.mjs' */
/** @import { StepRow } from './step-table.mjs' */

export const MODES = /** @type {const} */ (['full', 'cold', 'warm']);

/** @typedef {typeof MODES[number]} Mode */

/**
 * Where the time goes, ms; together they are the time until the caller has the first token.
 *
 * @typedef {object} Parts
 * @property {number} tokenize text to tokens
 * @property {number} queue waiting for pages of the cache
 * @property {number} encode of missed blocks
 * @property {number} step planning, and the step of the final block with sampling
 * @property {number} deliver from the native thread to the caller
 */

/**
 * @typedef {object} Run
 * @property {number} ttft ms, until the first token was drawn
 * @property {Parts} parts
 * @property {Flops} flops
 */

/**
 * @typedef {object} Row
 * @property {number} promptTokens documents and query
 * @property {Mode} mode
 * @property {Summary} ttft ms
 * @property {Record<keyof Parts, number>} parts medians, ms
 * @property {Flops} flops
 * @property {StepRow} [step] of a warm request, by another engine that takes times
 */

/**
 * How much of the work of all a run is, roughly: tokens computed, and attention over what they see.
 *
 * @param {number} promptTokens
 * @param {Mode} mode
 */
export function workOf(promptTokens, mode) {
  const computed = mode === 'warm' ? QUERY_TOKENS : promptTokens;
  const seen = mode === 'cold' ? 0 : promptTokens;
  return computed * (1 + seen / 8192);
}

/**
 * @param {Engine} engine
 * @param {GenerateRequest} request
 * @returns {Promise<Run & { result: GenerationResult }>}
 */
export async function timeRequest(engine, request) {
  const begun = performance.now();
  const generation = engine.generate({ ...request, maxTokens: 1, ignoreEos: true });
  await generation[Symbol.asyncIterator]().next();
  const delivered = performance.now() - begun;
  const result = await generation.result();
  const { queue, tokenize, encode, firstToken } = result.timings;
  if (firstToken === undefined) throw new Error('a request ended without a token');
  const step = firstToken - queue - tokenize - encode;
  return {
    ttft: firstToken,
    parts: { tokenize, queue, encode, step, deliver: delivered - firstToken },
    flops: result.flops,
    result,
  };
}

/**
 * One round of a length: each mode once, on tokens that were never seen before except where a mode says so.
 *
 * @param {Engine} engine
 * @param {number} promptTokens
 * @param {{ random: () => number, makeBlock: MakeBlock }} content
 * @param {(mode: Mode) => void} onMode
 * @returns {Promise<Record<Mode, Run>>}
 */
async function round(engine, promptTokens, { random, makeBlock }, onMode) {
  const lengths = documentLengths(promptTokens);
  const documents = () => lengths.map(makeBlock);
  const query = () => makeBlock(QUERY_TOKENS);
  const warmDocuments = documents();
  /** @type {Record<Mode, GenerateRequest>} */
  const requests = {
    full: { blocks: documents(), query: query(), attention: 'full', namespace: 'full' },
    cold: { blocks: warmDocuments, query: query(), namespace: 'block' },
    warm: { blocks: shuffled(warmDocuments, random), query: query(), namespace: 'block' },
  };
  /** @param {Mode} mode */
  const run = async (mode) => {
    onMode(mode);
    const { result, ...timed } = await timeRequest(engine, requests[mode]);
    const status = mode === 'warm' ? 'hit' : 'miss';
    if (!result.usage.blocks.every((block) => block.status === status)) {
      throw new Error(`${mode}: some documents were no ${status}`);
    }
    return timed;
  };
  const full = await run('full');
  // The pages go back before the next request, as in an engine whose cache is full: touched memory, used again.
  await engine.delete({ namespace: 'full' });
  const cold = await run('cold');
  const warm = await run('warm');
  await engine.delete({ namespace: 'block' });
  return { full, cold, warm };
}

/**
 * @param {Engine} engine
 * @param {object} plan
 * @param {readonly number[]} plan.lengths prompt tokens
 * @param {number} plan.rounds counted rounds of each length
 * @param {number} plan.seconds most seconds for one length; one round always ends
 * @param {() => number} plan.random for the order of documents
 * @param {MakeBlock} plan.makeBlock
 * @param {Progress} progress
 * @returns {Promise<Row[]>}
 */
export async function measureTtft(engine, plan, progress) {
  const { lengths, rounds, seconds } = plan;
  /** @param {number} promptTokens */
  const roundWork = (promptTokens) => MODES.reduce((sum, mode) => sum + workOf(promptTokens, mode), 0);
  progress.begin(lengths.reduce((sum, length) => sum + (rounds + 1) * roundWork(length), 0));

  /** @type {Row[]} */
  const rows = [];
  for (const promptTokens of lengths) {
    const begun = performance.now();
    /** @type {Record<Mode, Run>[]} */
    const runs = [];
    const enough = () => runs.length > rounds || performance.now() - begun > 1000 * seconds;
    do {
      const name = runs.length === 0 ? 'first round' : `round ${runs.length} of ${rounds}`;
      runs.push(
        await round(engine, promptTokens, plan, (mode) =>
          progress.show(`ttft: ${promptTokens} tokens, ${name}, ${mode}`),
        ),
      );
      progress.add(roundWork(promptTokens));
    } while (!enough());
    progress.add((rounds + 1 - runs.length) * roundWork(promptTokens));
    for (const mode of MODES) {
      rows.push(rowOf(promptTokens, mode, countedRounds(runs.map((run) => run[mode]))));
    }
  }
  progress.clear();
  return rows;
}

/**
 * @param {number} promptTokens
 * @param {Mode} mode
 * @param {readonly Run[]} runs
 * @returns {Row}
 */
function rowOf(promptTokens, mode, runs) {
  /** @param {keyof Parts} name */
  const part = (name) => summary(runs.map(({ parts }) => parts[name])).median;
  const [first] = runs;
  if (first === undefined) throw new RangeError('no runs');
  return {
    promptTokens,
    mode,
    ttft: summary(runs.map(({ ttft }) => ttft)),
    parts: {
      tokenize: part('tokenize'),
      queue: part('queue'),
      encode: part('encode'),
      step: part('step'),
      deliver: part('deliver'),
    },
    flops: first.flops,
  };
}
