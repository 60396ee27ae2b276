// Tables: ours, theirs, and how many times faster we are, figure by figure.
import { number, percent, spread, tokenCount } from '../common/format.mjs';
import { summary } from '../common/statistics.mjs';

/** @import { Table } from '../common/table.mjs' */
/** @import { WeightType } from './gguf-model.mjs' */
/** @import { HeldIsa } from './held.mjs' */
/** @import { Figure } from './measure.mjs' */
/** @import { Agreement } from './agreement.mjs' */

/**
 * @typedef {object} Taking a contender that took part
 * @property {string} key
 * @property {string} engine
 * @property {WeightType} dtype
 * @property {string} weights its own name of the type
 * @property {number} stepBytes weights that one step of decoding reads
 * @property {Record<string, unknown>} facts
 */

/**
 * @typedef {object} Results
 * @property {string} ours name of the engine that the others are compared with
 * @property {HeldIsa} [isa] that all were held to
 * @property {number} threads
 * @property {number} [readGBs] of older records: the fastest streaming read, before or after
 * @property {Taking[]} contenders
 * @property {{ name: string, reason: string }[]} leftOut
 * @property {Agreement[]} agreement
 * @property {Figure[]} figures
 */

/** A figure is met from this ratio up: at least as fast. */
const BAR = 1;

/** @type {Record<Figure['what'], { name: (size: number) => string, higherIsBetter: boolean }>} */
const FIGURES = {
  load: { name: () => 'load to first token, ms', higherIsBetter: false },
  ttft: { name: (size) => `TTFT, ${tokenCount(size)} tokens, ms`, higherIsBetter: false },
  decode: {
    name: (size) => `decode, ${size} ${size === 1 ? 'stream' : 'streams'}, tokens/s`,
    higherIsBetter: true,
  },
};

/**
 * @param {Results} results
 * @returns {Table[]}
 */
export function peersTables(results) {
  const { contenders, ours } = results;
  const mine = contenders.filter(({ engine }) => engine === ours);
  const pairs = contenders
    .filter(({ engine }) => engine !== ours)
    .flatMap((theirs) => mine.filter(({ dtype }) => dtype === theirs.dtype).map((own) => ({ own, theirs })));
  const compared =
    pairs.length === 0
      ? [alone(results, mine)]
      : pairs.map(({ own, theirs }) => comparison(results, own, theirs));
  return [...compared, decoding(results)];
}

/**
 * @param {Results} results
 * @param {Taking} own
 * @param {Taking} theirs
 * @returns {Table}
 */
function comparison({ figures, agreement, isa }, own, theirs) {
  const rows = figures.flatMap(({ what, size, values }) => {
    const [a, b] = [values[own.key], values[theirs.key]];
    if (a === undefined || b === undefined) return [];
    const { name, higherIsBetter } = FIGURES[what];
    const ratio = summary(ratios(a, b, higherIsBetter));
    return [
      [
        name(size),
        spread(summary(a)),
        spread(summary(b)),
        `${spread(ratio)}x`,
        `${number(BAR)}x`,
        ratio.median >= BAR ? 'met' : 'missed',
      ],
    ];
  });
  const same = agreement.find(({ key }) => key === theirs.key);
  return {
    title: `${own.engine} ${own.weights} and ${theirs.engine} ${theirs.weights}${isa === undefined ? '' : `, both held to ${isa}`}: median (least–greatest)`,
    columns: ['', own.engine, theirs.engine, 'times faster', 'bar', ''],
    rows,
    notes: [
      'Times faster: of the same round.',
      `${theirs.engine}: ${factsOf(theirs)}.`,
      ...(same === undefined ? [] : [agreementNote(same, theirs)]),
    ],
  };
}

/**
 * How many times faster the first is, round by round.
 *
 * @param {readonly number[]} own
 * @param {readonly number[]} theirs
 * @param {boolean} higherIsBetter
 */
export function ratios(own, theirs, higherIsBetter) {
  return own.map((value, round) => {
    const other = theirs[round] ?? Number.NaN;
    return higherIsBetter ? value / other : other / value;
  });
}

/** What is good to know at a glance; the record has it all. @param {Taking} taking */
function factsOf({ facts }) {
  const entries = Object.entries(facts).filter(
    ([name, value]) => name !== 'system' && typeof value !== 'object',
  );
  return entries.map(([name, value]) => `${name} ${value}`).join(', ');
}

/** @param {Agreement} agreement @param {Taking} taking */
function agreementNote({ prompts, sameTokens, largestDifference }, { engine, weights }) {
  return `The same model: on a small shape ${engine} ${weights} begins ${sameTokens} of ${prompts} answers with the token of block-attention bf16; the log-probabilities of those differ by ${number(largestDifference)} at most.`;
}

/** @param {Results} results @param {readonly Taking[]} mine @returns {Table} */
function alone({ figures, isa }, mine) {
  return {
    title: `No peer took part${isa === undefined ? '' : `, held to ${isa}`}: median (least–greatest)`,
    columns: ['', ...mine.map(({ engine, weights }) => `${engine} ${weights}`)],
    rows: figures.map(({ what, size, values }) => [
      FIGURES[what].name(size),
      ...mine.map(({ key }) => {
        const own = values[key];
        return own === undefined ? '' : spread(summary(own));
      }),
    ]),
  };
}

/**
 * Decoding beside the rate of memory: what one step reads, times steps per second.
 *
 * @param {Results} results
 * @returns {Table}
 */
function decoding({ figures, contenders, readGBs, leftOut, threads }) {
  const rows = figures
    .filter(({ what }) => what === 'decode')
    .flatMap(({ size, values, readGBs: reads }) =>
      contenders.flatMap(({ key, engine, weights, stepBytes }) => {
        const own = values[key];
        if (own === undefined) return [];
        const steps = summary(own).median / size;
        const rate = (steps * stepBytes) / 1e9;
        const shares = reads?.[key]?.map((read, round) => (Number(own[round]) * stepBytes) / 1e9 / read);
        return [
          [
            `${engine} ${weights}, ${size} ${size === 1 ? 'stream' : 'streams'}`,
            number(1000 / steps),
            number(stepBytes / 1e6),
            number(rate),
            shares !== undefined
              ? spread(summary(shares), percent)
              : readGBs === undefined
                ? ''
                : percent(rate / readGBs),
          ],
        ];
      }),
    );
  return {
    title: 'Decoding beside the memory',
    columns: ['', 'ms per step', 'MB of weights', 'GB/s', 'of streaming read'],
    rows,
    notes: [
      `${threads} ${threads === 1 ? 'thread' : 'threads'} each.`,
      ...(figures.some(({ readGBs: reads }) => reads !== undefined)
        ? ['Shares are of the better of two streaming reads, right before and right after.']
        : []),
      ...(readGBs === undefined ? [] : [`Fastest streaming read in the same run: ${number(readGBs)} GB/s.`]),
      ...leftOut.map(({ name, reason }) => `Left out: ${name}: ${reason}.`),
    ],
  };
}
