// The step of a warm request taken apart, op by op, by an engine that takes times.
import { documentLengths, QUERY_TOKENS } from '../common/prompts.mjs';
import { shuffled } from '../common/random.mjs';
import { countedRounds } from '../common/statistics.mjs';
import { timeRequest } from './measure.mjs';

/** @import { Engine, OpTime } from 'block-attention' */
/** @import { Progress } from '../common/progress.mjs' */
/** @import { MakeBlock } from './content.mjs' */

/**
 * Of one request; times in ms.
 *
 * @typedef {object} StepParts
 * @property {number} cachedTokens of its documents
 * @property {number} rows tokens of its query, computed in the step
 * @property {number} firstToken since the request, with times being taken
 * @property {number} tokenize
 * @property {number} around the step: cache keys, planning, waiting for pages, and the way to the engine's thread
 * @property {OpTime[]} ops of the step, and what it took beyond them ('other')
 */

const NAMESPACE = 'parts';

/**
 * @param {Engine} engine with `profile`
 * @param {object} plan
 * @param {readonly number[]} plan.lengths prompt tokens
 * @param {number} plan.rounds counted rounds of each length
 * @param {number} plan.seconds most seconds for one length; one round always ends
 * @param {() => number} plan.random for the order of documents
 * @param {MakeBlock} plan.makeBlock
 * @param {Progress} progress
 * @returns {Promise<StepParts[]>} for each length, of the round whose first token took the median time
 */
export async function measureStepParts(engine, { lengths, rounds, seconds, random, makeBlock }, progress) {
  // Most of it goes into encoding the documents, once a length.
  progress.begin(lengths.reduce((sum, length) => sum + length, 0));
  /** @type {StepParts[]} */
  const parts = [];
  for (const promptTokens of lengths) {
    progress.show(`ttft: the step behind ${promptTokens - QUERY_TOKENS} tokens, op by op`);
    const documents = documentLengths(promptTokens).map(makeBlock);
    await engine.encode(documents, { namespace: NAMESPACE });
    const begun = performance.now();
    /** @type {StepParts[]} */
    const runs = [];
    do {
      runs.push(
        await partsOf(engine, {
          blocks: shuffled(documents, random),
          query: makeBlock(QUERY_TOKENS),
          namespace: NAMESPACE,
        }),
      );
    } while (runs.length <= rounds && performance.now() - begun < 1000 * seconds);
    await engine.delete({ namespace: NAMESPACE });
    parts.push(medianOf(countedRounds(runs)));
    progress.add(promptTokens);
  }
  progress.clear();
  return parts;
}

/**
 * @param {Engine} engine
 * @param {import('block-attention').GenerateRequest} request whose blocks are cached
 * @returns {Promise<StepParts>}
 */
async function partsOf(engine, request) {
  const before = engine.stats();
  const { ttft, parts, result } = await timeRequest(engine, request);
  const after = engine.stats();
  const steps = after.steps - before.steps;
  if (steps !== 1 || parts.encode !== 0) throw new Error(`a warm request took ${steps} steps`);
  const ops = differences(before.profile ?? [], after.profile ?? []);
  const inStep = ops.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const { promptTokens, cachedTokens } = result.usage;
  return {
    cachedTokens,
    rows: promptTokens - cachedTokens,
    firstToken: ttft,
    tokenize: parts.tokenize,
    around: parts.queue + parts.step - inStep,
    ops,
  };
}

/**
 * @param {readonly OpTime[]} before
 * @param {readonly OpTime[]} after
 * @returns {OpTime[]}
 */
function differences(before, after) {
  if (after.length === 0) throw new Error('an engine without `profile`');
  return after.map(({ op, calls, milliseconds }) => {
    const earlier = before.find((other) => other.op === op);
    return {
      op,
      calls: calls - (earlier?.calls ?? 0),
      milliseconds: milliseconds - (earlier?.milliseconds ?? 0),
    };
  });
}

/**
 * Of one run, so that the parts add up.
 *
 * @param {readonly StepParts[]} runs
 */
function medianOf(runs) {
  const sorted = runs.toSorted((a, b) => a.firstToken - b.firstToken);
  const median = sorted[Math.floor((sorted.length - 1) / 2)];
  if (median === undefined) throw new RangeError('no runs');
  return median;
}
