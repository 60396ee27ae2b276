// Logarithmic axes: where they begin and end, and what is written at them.

const STEPS = [1, 2, 5];

/**
 * The narrowest range between round numbers (1, 2 or 5 times a power of ten) that leaves some room around the values.
 *
 * @param {readonly number[]} values positive
 * @returns {[number, number]}
 */
export function roundRange(values) {
  const [least, greatest] = [Math.min(...values) / 1.1, Math.max(...values) * 1.1];
  if (!(least > 0 && greatest < Infinity)) throw new RangeError('a logarithmic axis takes positive numbers');
  const below = roundNumbers(least).findLast((value) => value <= least);
  const above = roundNumbers(greatest).find((value) => value >= greatest);
  if (below === undefined || above === undefined) throw new RangeError('no round number');
  return [below, above];
}

/** The round numbers about a value, ascending. @param {number} value */
function roundNumbers(value) {
  const exponent = Math.floor(Math.log10(value));
  return [exponent - 1, exponent, exponent + 1].flatMap((power) =>
    // Through text, since 5 * 10 ** -3 is not 0.005.
    STEPS.map((step) => Number(`${step}e${power}`)),
  );
}

/**
 * The powers of ten in a range.
 *
 * @param {readonly [number, number]} range
 */
export function powersOfTen([low, high]) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(`1e${first + index}`));
}

/**
 * Of some values, ascending, those that stand at least `distance` pixels right of the one before.
 *
 * @param {readonly number[]} values
 * @param {(value: number) => number} pixelOf
 * @param {number} distance
 */
export function withoutCrowd(values, pixelOf, distance) {
  /** @type {number[]} */
  const kept = [];
  for (const value of values) {
    const last = kept.at(-1);
    if (last === undefined || pixelOf(value) - pixelOf(last) >= distance) kept.push(value);
  }
  return kept;
}

/**
 * @param {readonly [number, number]} range
 * @param {number} pixels its length
 */
export function logScale([low, high], pixels) {
  const unit = pixels / Math.log(high / low);
  return {
    /** @param {number} value */
    pixelOf: (value) => unit * Math.log(value / low),
    /** @param {number} pixel */
    valueAt: (pixel) => low * Math.exp(pixel / unit),
  };
}

/**
 * Moves positions as little as it takes to have them `distance` apart, in their order: what would overlap forms a group
 * about its own middle.
 *
 * @param {readonly number[]} positions in any order
 * @param {number} distance
 * @returns {number[]} in the same order
 */
export function spreadApart(positions, distance) {
  const order = positions.map((_, index) => index).sort((a, b) => positionAt(a) - positionAt(b));
  /** @param {number} index */
  function positionAt(index) {
    return positions[index] ?? 0;
  }
  /** @type {{ members: number[], middle: number }[]} */
  const groups = [];
  for (const index of order) {
    let group = { members: [index], middle: positionAt(index) };
    for (let before = groups.at(-1); before !== undefined; before = groups.at(-1)) {
      const needed = ((before.members.length + group.members.length) / 2) * distance;
      if (group.middle - before.middle >= needed) break;
      groups.pop();
      const members = [...before.members, ...group.members];
      const sum = members.reduce((total, member) => total + positionAt(member), 0);
      group = { members, middle: sum / members.length };
    }
    groups.push(group);
  }
  const moved = [...positions];
  for (const { members, middle } of groups) {
    members.forEach((member, place) => {
      moved[member] = middle + (place - (members.length - 1) / 2) * distance;
    });
  }
  return moved;
}
