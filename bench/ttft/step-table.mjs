// The table of a warm request's parts, each beside the least that it could take on this machine.
import { number, tokenCount } from '../common/format.mjs';

/** @import { OpTime } from 'block-attention' */
/** @import { Limits, Product } from '../kernels/limits.mjs' */
/** @import { Table } from '../common/table.mjs' */
/** @import { StepParts } from './step-parts.mjs' */

/**
 * @typedef {Omit<StepParts, 'ops'> & { ops: (OpTime & { floor: number })[], limits?: Limits | undefined }} StepRow
 *   floor: ms, 0 where nothing is counted, and without the limits of the machine
 */

const OTHER = 'other';

/**
 * @param {readonly { promptTokens: number, ttft: number, step: StepRow }[]} columns
 *   ttft: ms to the first token of an engine that takes no times, the median
 * @returns {Table}
 */
export function stepTable(columns) {
  const [first] = columns;
  if (first === undefined) throw new RangeError('no steps');
  const { limits } = first.step;
  /** @param {string} name @param {(step: StepRow) => string} cell */
  const line = (name, cell) => [name, '', ...columns.map(({ step }) => cell(step))];
  const unprofiled = columns.map(({ ttft, step: { ops } }) => ratio(ttft, floor(ops)));
  const ops = first.step.ops.filter(({ op }) => op !== OTHER);
  return {
    title: 'A warm request op by op, ms / floor',
    columns: ['op', 'calls', ...columns.map(({ promptTokens }) => tokenCount(promptTokens))],
    rows: [
      ...ops.map(({ op, calls }) => [
        op,
        String(calls),
        ...columns.map(({ step }) => timeAndFloor(step.ops.filter((other) => other.op === op))),
      ]),
      line('sum of the ops', ({ ops }) => timeAndFloor(ops.filter(({ op }) => op !== OTHER))),
      line('rest of the step', ({ ops }) => number(time(ops.filter(({ op }) => op === OTHER)))),
      line('tokenise', ({ tokenize }) => number(tokenize)),
      line('keys, plan, hand-over', ({ around }) => number(around)),
      line('first token', ({ firstToken }) => number(firstToken)),
      line('first token / floor', ({ firstToken, ops }) => ratio(firstToken, floor(ops))),
      line('sum / floor', ({ ops }) => ratio(time(ops.filter(({ op }) => op !== OTHER)), floor(ops))),
      ['taking no times: first token / floor', '', ...unprofiled],
    ],
    notes: [
      'Of the round of the median, by an engine that takes times, which costs some; the last line is of one that does not.',
      limits === undefined
        ? 'No floors: the program that measures the limits of the machine is not here.'
        : `Floor: bytes at ${number(limits.readGBs)} GB/s or operations at ${rates(limits)} GFLOP/s, measured in this run (of an exponential of attention four multiply-adds of float32${limits.tiles?.length ? ', beside products in tiles' : ''}); weights and pages come from memory, activations from the caches.`,
    ],
  };
}

/** @param {Limits} limits */
function rates({ gflops, tiles = [] }) {
  /** @param {Product} product @param {string} [name] */
  const rate = (product, name = product) =>
    `${number(gflops[product])} (${name}${tiles.includes(product) ? ' in tiles' : ''})`;
  return `${rate('f32', 'float32')}, ${rate('bf16')} or ${rate('int8')}`;
}

/** @param {readonly OpTime[]} ops */
const time = (ops) => ops.reduce((sum, { milliseconds }) => sum + milliseconds, 0);

/** @param {number} value @param {number} least */
const ratio = (value, least) => (least === 0 ? '-' : `${number(value / least)}x`);

/** @param {readonly { floor: number }[]} ops */
const floor = (ops) => ops.reduce((sum, { floor }) => sum + floor, 0);

/** @param {StepRow['ops']} ops */
function timeAndFloor(ops) {
  const least = floor(ops);
  return `${number(time(ops))} / ${least === 0 ? '-' : number(least)}`;
}
