// How far a variant's answers are from the reference's.
import { median } from '../common/statistics.mjs';

/**
 * What a model makes of a prompt.
 *
 * @typedef {object} Answer
 * @property {Float64Array} logprobs of the first token, the whole vocabulary
 * @property {boolean | undefined} right undefined where nobody knows what is right
 */

/** @typedef {{ mean: number, standardError: number, median: number, greatest: number }} Divergence nats */
/** @typedef {{ correct: number, gained: number, lost: number }} Changes gained: wrong before, and right now */

/** Of the mean divergence to that of weights in Q8_0. */
export const MOST_RATIO = 1.5;

/**
 * Kullback-Leibler divergence of `other` from `reference`, nats.
 *
 * @param {Float64Array} reference log-probabilities
 * @param {Float64Array} other
 */
export function divergence(reference, other) {
  return reference.reduce((sum, logprob, token) => {
    const p = Math.exp(logprob);
    return p === 0 ? sum : sum + p * (logprob - /** @type {number} */ (other[token]));
  }, 0);
}

/**
 * @param {readonly Answer[]} reference
 * @param {readonly Answer[]} answers to the same prompts
 * @returns {Divergence}
 */
export function divergenceOf(reference, answers) {
  const values = pairs(reference, answers).map(([a, b]) => divergence(a.logprobs, b.logprobs));
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    mean,
    standardError: Math.sqrt(squares / Math.max(1, values.length - 1) / values.length),
    median: median(values),
    greatest: Math.max(...values),
  };
}

/**
 * The mean divergence to that of the yardstick, over the same prompts, and one standard error of it.
 *
 * @param {readonly Answer[]} reference
 * @param {readonly Answer[]} yardstick
 * @param {readonly Answer[]} answers
 */
export function ratioOf(reference, yardstick, answers) {
  const own = pairs(reference, answers).map(([a, b]) => divergence(a.logprobs, b.logprobs));
  const theirs = pairs(reference, yardstick).map(([a, b]) => divergence(a.logprobs, b.logprobs));
  const sum = theirs.reduce((total, value) => total + value, 0);
  const ratio = own.reduce((total, value) => total + value, 0) / sum;
  const squares = pairs(own, theirs).reduce((total, [a, b]) => total + (a - ratio * b) ** 2, 0);
  return { ratio, ratioError: Math.sqrt(squares) / sum };
}

/**
 * @param {readonly Answer[]} reference
 * @param {readonly Answer[]} answers
 * @returns {Changes}
 */
export function changesOf(reference, answers) {
  const both = pairs(reference, answers);
  return {
    correct: answers.filter(({ right }) => right).length,
    gained: both.filter(([a, b]) => !a.right && b.right).length,
    lost: both.filter(([a, b]) => a.right && !b.right).length,
  };
}

/**
 * One standard error of gained - lost, if a change is as likely for the better as for the worse (McNemar).
 *
 * @param {Pick<Changes, 'gained' | 'lost'>} changes
 */
export const changeError = ({ gained, lost }) => Math.sqrt(gained + lost);

/** @param {Pick<Changes, 'gained' | 'lost'>} changes @returns {boolean} no more is lost than two standard errors */
export const withinNoise = (changes) => changes.lost - changes.gained <= 2 * changeError(changes);

/**
 * @template T
 * @param {readonly T[]} first
 * @param {readonly T[]} second of the same length
 * @returns {[T, T][]}
 */
function pairs(first, second) {
  if (first.length !== second.length || first.length === 0) throw new RangeError('no pairs');
  return first.map((one, index) => [one, /** @type {T} */ (second[index])]);
}
