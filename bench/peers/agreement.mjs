// That all compute the same model: the likeliest first tokens of a small one whose attention depends on positions.
import { randomTokens } from '../common/prompts.mjs';
import { randomOf } from '../common/random.mjs';

/** @import { Contender } from './contender.mjs' */

/** Values of its weights are in (-SMALL_SCALE, SMALL_SCALE): so large that attention is no mean of all values. */
export const SMALL_SCALE = 0.25;

export const SMALL_SHAPE = {
  vocabSize: 320,
  hiddenSize: 128,
  intermediateSize: 256,
  numLayers: 2,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 32,
  tieWordEmbeddings: true,
  qkNorm: false,
};

/** Below this share of equal tokens it is another model: rounding flips few, wrong rotations nearly all. */
export const LEAST_SHARE = 0.7;

const PROMPTS = 32;
const PROMPT_TOKENS = 24;

/** @typedef {{ token: number, logprob: number }} FirstToken */

/**
 * @typedef {object} Agreement
 * @property {string} key of a contender
 * @property {number} prompts
 * @property {number} sameTokens
 * @property {number} largestDifference of the log-probabilities of the same tokens
 */

/** @param {Contender} contender with the small model open @returns {Promise<FirstToken[]>} */
export async function firstTokens(contender) {
  const random = randomOf(7);
  const prompts = Array.from({ length: PROMPTS }, () => [
    ...randomTokens(PROMPT_TOKENS, SMALL_SHAPE.vocabSize, random),
  ]);
  return (await contender.ask({ do: 'first', prompts })).tokens;
}

/**
 * @param {string} key
 * @param {readonly FirstToken[]} reference
 * @param {readonly FirstToken[]} tokens
 * @returns {Agreement}
 */
export function compareTokens(key, reference, tokens) {
  const differences = reference.flatMap(({ token, logprob }, index) => {
    const other = tokens[index];
    return other?.token === token ? [Math.abs(other.logprob - logprob)] : [];
  });
  return {
    key,
    prompts: reference.length,
    sameTokens: differences.length,
    largestDifference: Math.max(0, ...differences),
  };
}
