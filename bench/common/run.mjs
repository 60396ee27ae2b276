// Runs one benchmark: its tables go to stdout, its record to the file of `--json`.
import { recordText } from '../report/record-text.mjs';
import { addRecord, currentCommit, describeMachine } from './record.mjs';

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
  // As a report would read it from a file: what JSON cannot carry shows here and now.
  process.stdout.write(`${recordText(JSON.parse(JSON.stringify(record)), benchmark)}\n`);
}
