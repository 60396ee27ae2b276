// Random numbers with a seed, and what benchmarks draw from them.

/**
 * mulberry32: small, and good enough to choose tokens.
 *
 * @param {number} seed
 * @returns {() => number} each call gives a number in [0, 1)
 */
export function randomOf(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Fisher and Yates.
 *
 * @template T
 * @param {readonly T[]} values
 * @param {() => number} random
 * @returns {T[]} the same values in another order
 */
export function shuffled(values, random) {
  const result = [...values];
  for (let last = result.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const [a, b] = [result[last], result[other]];
    result[last] = /** @type {T} */ (b);
    result[other] = /** @type {T} */ (a);
  }
  return result;
}

/**
 * Draws ranks 0 .. count - 1 with probability proportional to 1 / (rank + 1)^exponent: a few documents are asked for
 * again and again, most hardly ever.
 *
 * @param {number} count
 * @param {number} exponent
 * @param {() => number} random
 * @returns {() => number}
 */
export function zipf(count, exponent, random) {
  /** @type {number[]} */
  const cumulative = [];
  let total = 0;
  for (let rank = 0; rank < count; rank++) {
    total += (rank + 1) ** -exponent;
    cumulative.push(total);
  }
  return () => {
    const mark = random() * total;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((cumulative[middle] ?? 0) > mark) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}
