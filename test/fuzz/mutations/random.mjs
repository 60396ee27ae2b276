// Choices from a seed: the same seed makes the same input, on every machine.
import { randomOf } from '../../../bench/common/random.mjs';

export class Choices {
  #random;

  /** @param {number} seed */
  constructor(seed) {
    this.#random = randomOf(seed);
  }

  /** @param {number} count @returns {number} in [0, count) */
  below(count) {
    return Math.floor(this.#random() * count);
  }

  /** @param {number} probability */
  chance(probability) {
    return this.#random() < probability;
  }

  /**
   * @template T
   * @param {readonly T[]} values at least one
   * @returns {T}
   */
  of(values) {
    return /** @type {T} */ (values[this.below(values.length)]);
  }
}
