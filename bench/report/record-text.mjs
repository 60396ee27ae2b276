// One record as Markdown: on what it was measured, and the tables of its benchmark.
import { renderTable } from '../common/table.mjs';

/** @import { Benchmark } from '../common/benchmark.mjs' */
/** @import { Record } from '../common/record.mjs' */
/** @import { Subject } from '../common/subject.mjs' */

/**
 * @param {Record} record
 * @param {Benchmark} benchmark
 * @param {readonly string[]} [pictures] Markdown of its charts
 * @returns {string}
 */
export function recordText(record, benchmark, pictures = []) {
  const tables = benchmark.tables(record.results).map((table) => `${renderTable(table)}\n`);
  return [
    `## ${record.benchmark}\n`,
    `${recordLine(record)}${benchmark.untimed ? '' : busyRemark(record)}\n`,
    ...pictures.map((picture) => `${picture}\n`),
    ...tables,
  ].join('\n');
}

/** @param {Record} record */
function recordLine({ date, commit, machine, subject }) {
  const what = [
    subject && `${subjectText(subject)} on ${subject.device}`,
    `${machine.cpu}, ${machine.cores} cores, ${Math.round(machine.memoryBytes / 2 ** 30)} GiB, ${machine.platform}, Node ${machine.node}`,
    date.slice(0, 16).replace('T', ' '),
    commit && `commit ${commit}`,
  ];
  return `${what.filter(Boolean).join('; ')}.`;
}

/** @param {Record} record */
function busyRemark({ machine }) {
  return machine.busy
    ? ` **Measured on a busy machine** (load average ${machine.loadBefore.toFixed(1)} on ${machine.cores} cores before the run): times are too long, ratios unreliable.`
    : '';
}

/** @param {Subject} subject */
export function subjectText({ model, randomWeights, dtype, kvDtype }) {
  const weights = [randomWeights && 'random', dtype].filter(Boolean).join(' ');
  return [model, weights && `with ${weights} weights`, kvDtype && `and ${kvDtype} keys and values`]
    .filter(Boolean)
    .join(' ');
}
