// The tables of `kernels`.
import { number, percent } from '../common/format.mjs';

/** @import { Table } from '../common/table.mjs' */
/** @import { ProgramOutput } from './parse.mjs' */

/**
 * @typedef {object} OpsLimits
 * @property {number} readGBs
 * @property {string} readKernel
 * @property {number} f32GFLOPs
 * @property {number} bf16GFLOPs
 * @property {boolean} [bf16Tiles] whether that is the rate of tiles; runs of earlier versions measured none
 * @property {number} int8GFLOPs
 * @property {boolean} [int8Tiles]
 */

/**
 * What ops_bench prints.
 *
 * @typedef {object} OpsOutput
 * @property {string} isa
 * @property {number} threads
 * @property {OpsLimits} limits
 * @property {{ op: string, shape: string, microseconds: number, flops: number, bytes: number }[]} rows
 */

/**
 * @typedef {object} KernelResults
 * @property {OpsOutput | undefined} ops
 * @property {ProgramOutput[]} others
 */

/**
 * @param {KernelResults} results
 * @returns {Table[]}
 */
export function kernelTables({ ops, others }) {
  const tables = others.flatMap(programTables);
  return ops === undefined ? tables : [limits(ops, others), ...tables, opsTable(ops)];
}

/**
 * The fastest that anything in this run was: the limits are measured, not looked up.
 *
 * @param {OpsOutput} ops
 * @param {readonly ProgramOutput[]} others
 * @returns {Table}
 */
function limits({ isa, threads, limits }, others) {
  const products = others.filter(({ title }) => title.startsWith('linear'));
  const gemm = Math.max(
    0,
    ...products.flatMap((output) => [...columnValues(output, 'GFLOP/s'), ...columnValues(output, 'oneDNN')]),
  );
  const reads = others.flatMap(({ facts }) =>
    Object.entries(facts).flatMap(([name, value]) =>
      name.startsWith('read') ? Number.parseFloat(value) : [],
    ),
  );
  return {
    title: `Limits of the machine, ${isa}, ${threads} threads`,
    columns: ['limit', 'rate'],
    rows: [
      [`fastest streaming read (${limits.readKernel})`, `${number(limits.readGBs)} GB/s`],
      ...(reads.length === 0
        ? []
        : [['fastest streaming read beside the other ops', `${number(Math.max(...reads))} GB/s`]]),
      ['float32 multiply-add in registers', `${number(limits.f32GFLOPs)} GFLOP/s`],
      [
        `bf16 multiply-add in ${limits.bf16Tiles ? 'tiles' : 'registers'}`,
        `${number(limits.bf16GFLOPs)} GFLOP/s`,
      ],
      [
        `int8 multiply-add in ${limits.int8Tiles ? 'tiles, two products each' : 'registers'}`,
        `${number(limits.int8GFLOPs)} GFLOP/s`,
      ],
      ['fastest matrix product below', `${number(gemm)} GFLOP/s`],
    ],
  };
}

/**
 * @param {ProgramOutput} output
 * @param {string} column
 * @returns {number[]} of all tables; cells that are no numbers are left out
 */
function columnValues({ tables }, column) {
  return tables.flatMap(({ columns, rows }) => {
    const at = columns.indexOf(column);
    return rows.map((cells) => Number.parseFloat(cells[at] ?? '')).filter(Number.isFinite);
  });
}

/** @param {ProgramOutput} output @returns {Table[]} */
function programTables({ title, facts, tables }) {
  return tables.map((table) => ({
    title,
    ...table,
    notes: Object.entries(facts).map(([name, value]) => `- ${name}: ${value}`),
  }));
}

/** @param {OpsOutput} ops @returns {Table} */
function opsTable({ isa, threads, limits, rows }) {
  return {
    title: `The small ops, ${isa}, ${threads} threads`,
    columns: ['op', 'shape', 'us', 'GFLOP/s', 'of multiply-add', 'GB/s', 'of read'],
    rows: rows.map(({ op, shape, microseconds, flops, bytes }) => {
      const gflops = flops / microseconds / 1000;
      const rate = bytes / microseconds / 1000;
      return [
        op,
        shape,
        number(microseconds),
        flops === 0 ? '-' : number(gflops),
        flops === 0 ? '-' : percent(gflops / limits.f32GFLOPs),
        number(rate),
        percent(rate / limits.readGBs),
      ];
    }),
    notes: [
      'Activations come from the caches, as in a forward pass, so their rate may pass that of memory; logits and pages come from memory.',
    ],
  };
}
