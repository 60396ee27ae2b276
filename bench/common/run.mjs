// Runs one benchmark: its tables go to stdout, its record to the file of `--json`.
import { addRecord, currentCommit, describeMachine } from './record.mjs';
import { renderTable } from './table.mjs';
import { recordLine } from './record-line.mjs';

/** @import { Benchmark, Context } from './benchmark.mjs' */

/**
 * @param {string} name
 * @param {Benchmark} benchmark
 * @param {Context} context
 */
export async function runBenchmark(name, benchmark, context) {
  const machine = describeMachine();
  const date = new Date().toISOString();
  const { subject, results } = await benchmark.run(context);
  context.progress.clear();
  const { json, seed } = context.settings;
  const record = { benchmark: name, date, commit: currentCommit(), machine, subject, seed, results };
  if (json !== undefined) addRecord(json, record);
  process.stdout.write(`## ${name}\n\n${recordLine(record)}\n\n`);
  for (const table of benchmark.tables(results)) process.stdout.write(`${renderTable(table)}\n\n`);
}
