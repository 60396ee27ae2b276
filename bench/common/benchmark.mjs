// What a benchmark is, to the entry and to the report.

/** @import { Chart } from './chart.mjs' */
/** @import { Record as RunRecord } from './record.mjs' */
/** @import { Settings } from './arguments.mjs' */
/** @import { Progress } from './progress.mjs' */
/** @import { Subject } from './subject.mjs' */
/** @import { Table } from './table.mjs' */

/**
 * @typedef {object} Context
 * @property {Settings} settings
 * @property {Record<string, string | undefined>} own values of the benchmark's own options
 * @property {Progress} progress
 */

/**
 * @typedef {object} Benchmark
 * @property {string} summary one line for the help text
 * @property {Record<string, { type: 'string', help: string }>} options its own
 * @property {(context: Context) => Promise<{ subject?: Subject, results: unknown }>} run results can be written as JSON
 * @property {(results: any) => Table[]} tables of the results of `run`, also after they were read from a file
 * @property {(record: RunRecord) => Chart[]} [charts] of a record of it
 * @property {boolean} [untimed] its figures are the same on a busy machine
 */

export {};
