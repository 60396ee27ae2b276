// `npm run bench -- <name> [options]` runs one benchmark; `-- --short` runs all of them, a few seconds each.
import { SetupError } from '../scripts/setup/process.mjs';
import { benchmarks } from './benchmarks.mjs';
import { parseArguments, UsageError } from './common/arguments.mjs';
import { helpText } from './common/help.mjs';
import { Progress } from './common/progress.mjs';
import { readRecords } from './common/record.mjs';
import { runBenchmark } from './common/run.mjs';
import { reportOptions, writeReport } from './report/main.mjs';

/** @returns {Promise<number>} the exit code */
async function main() {
  const args = process.argv.slice(2);
  const [name] = args;
  if (name === undefined || name.startsWith('-')) return all(args);

  const benchmark = benchmarks.get(name);
  if (benchmark === undefined && name !== 'report')
    throw new UsageError(`No benchmark ${name}: there are ${[...benchmarks.keys(), 'report'].join(', ')}.`);
  const { settings, own, files, help } = parseArguments(args.slice(1), benchmark?.options ?? reportOptions);
  if (benchmark !== undefined && files.length > 0)
    throw new UsageError(`${name} takes no ${files.join(' ')}`);
  if (help) process.stdout.write(helpText(benchmarks, reportOptions));
  else if (benchmark === undefined) await writeReport(files.flatMap(readRecords), own.out);
  else await runBenchmark(name, benchmark, { settings, own, progress: new Progress() });
  return 0;
}

/**
 * @param {readonly string[]} args
 * @returns {Promise<number>}
 */
async function all(args) {
  const { settings, help } = parseArguments(args, {});
  if (help || !settings.short) {
    process.stdout.write(helpText(benchmarks, reportOptions));
    return help ? 0 : 2;
  }
  /** @type {string[]} */
  const failed = [];
  for (const [name, benchmark] of benchmarks) {
    const begun = performance.now();
    try {
      await runBenchmark(name, benchmark, { settings, own: {}, progress: new Progress() });
    } catch (error) {
      failed.push(name);
      process.stderr.write(`${name} failed: ${error instanceof Error ? error.stack : error}\n`);
    }
    process.stderr.write(`${name}: ${((performance.now() - begun) / 1000).toFixed(1)} s\n`);
  }
  if (failed.length > 0) process.stderr.write(`Failed: ${failed.join(', ')}\n`);
  return failed.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof UsageError || error instanceof SetupError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
