// Which charts a report has: those of the latest record of each subject, a model on some hardware.
import { hardwareOf } from '../common/record.mjs';

/** @import { Benchmark } from '../common/benchmark.mjs' */
/** @import { Chart } from '../common/chart.mjs' */
/** @import { Record } from '../common/record.mjs' */

/**
 * @typedef {object} Drawing
 * @property {Record} record
 * @property {Chart} chart
 * @property {string} name of its files, without theme and ending
 */

/**
 * @param {readonly Record[]} records
 * @param {ReadonlyMap<string, Benchmark>} benchmarks
 * @returns {Drawing[]} in the records' order
 */
export function chooseDrawings(records, benchmarks) {
  /** @type {Map<string, Record>} */
  const latest = new Map();
  for (const record of records) {
    const key = `${record.benchmark} ${subjectName(record)}`;
    const other = latest.get(key);
    if (other === undefined || record.date >= other.date) latest.set(key, record);
  }
  const chosen = new Set(latest.values());
  return records
    .filter((record) => chosen.has(record))
    .flatMap((record) =>
      (benchmarks.get(record.benchmark)?.charts?.(record) ?? []).map((chart) => ({
        record,
        chart,
        name: `${chart.name}-${subjectName(record)}`,
      })),
    );
}

/**
 * A subject as part of a file's name. Random weights are as fast as real ones: which they were is no part of it.
 *
 * @param {Pick<Record, 'machine' | 'subject'>} record
 */
export function subjectName(record) {
  const { model = 'none', dtype = '', kvDtype } = record.subject ?? {};
  const kv = kvDtype === undefined ? '' : `kv-${kvDtype}`;
  return `${model} ${dtype} ${kv} ${hardwareOf(record)}`
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, '-')
    .replace(/^-|-$/g, '');
}
