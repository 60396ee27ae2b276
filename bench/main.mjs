// `npm run bench -- <name> [options]` runs one benchmark; `-- --short` runs all of them, a few seconds each.
import { benchmarks } from './benchmarks.mjs';
import { parseArguments, UsageError } from './common/arguments.mjs';
import { helpText } from './common/help.mjs';
import { Progress } from './common/progress.mjs';
import { runBenchmark } from './common/run.mjs';
import { report } from './report/main.mjs';

/** @returns {Promise<number>} the exit code */
async function main() {
  const args = process.argv.slice(2);
  const [name] = args;
  if (name === undefined || name.startsWith('-')) return all(args);

  if (name === 'report') {
    process.stdout.write(report(args.slice(1)));
    return 0;
  }
  const benchmark = benchmarks.get(name);
  if (benchmark === undefined)
    throw new UsageError(`No benchmark ${name}: there are ${[...benchmarks.keys(), 'report'].join(', ')}.`);
  const { settings, own, help } = parseArguments(args.slice(1), benchmark.options);
  if (help) {
    process.stdout.write(helpText(benchmarks));
    return 0;
  }
  await runBenchmark(name, benchmark, { settings, own, progress: new Progress() });
  return 0;
}

/**
 * @param {readonly string[]} args
 * @returns {Promise<number>}
 */
async function all(args) {
  const { settings, help } = parseArguments(args, {});
  if (help || !settings.short) {
    process.stdout.write(helpText(benchmarks));
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
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
}
