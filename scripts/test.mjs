// `npm test`: set up what is missing, then the C++ tests (ctest) and the TypeScript tests (vitest), whose extra arguments
// are those of this script. The last line sums both: "N passed, N failed[, N skipped]".
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { exitCodeOf, root, runMain } from './setup/process.mjs';
import { ensureReady } from './setup.mjs';

const results = `${root}build/test-results/`;
const ctestResults = `${results}ctest.xml`;
const vitestResults = `${results}vitest.json`;

/** @typedef {{ passed: number, failed: number, skipped: number }} Counts */

/** @returns {Counts} */
function readCtest() {
  const head = existsSync(ctestResults) ? readFileSync(ctestResults, 'utf8').slice(0, 2000) : '';
  /** @param {string} name */
  const attribute = (name) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const failed = attribute('failures');
  const skipped = attribute('skipped') + attribute('disabled');
  return { passed: attribute('tests') - failed - skipped, failed, skipped };
}

/** @returns {Counts} */
function readVitest() {
  if (!existsSync(vitestResults)) return { passed: 0, failed: 0, skipped: 0 };
  const report = JSON.parse(readFileSync(vitestResults, 'utf8'));
  /** @type {{ status: string, assertionResults: { status: string }[] }[]} */
  const files = report.testResults;
  // A file that does not load, or fails outside of its tests, has no failed test to show for it.
  const brokenFiles = files.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((result) => result.status === 'failed'),
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + brokenFiles.length,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/**
 * A runner that fails without a failed test (a crash) counts as one failure.
 *
 * @param {Counts} counts
 * @param {number} exitCode
 */
function withRunner(counts, exitCode) {
  return { ...counts, failed: Math.max(counts.failed, exitCode === 0 ? 0 : 1) };
}

await runMain(async () => {
  rmSync(results, { recursive: true, force: true });
  await ensureReady({ tests: true });
  mkdirSync(results, { recursive: true });

  const ctestExit = await exitCodeOf('ctest', [
    '--test-dir',
    'build/cmake',
    '--parallel',
    String(availableParallelism()),
    ...(process.stdout.isTTY ? ['--progress'] : []),
    '--output-on-failure',
    '--no-tests=error',
    '--output-junit',
    ctestResults,
  ]);
  const vitestExit = await exitCodeOf(process.execPath, [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${vitestResults}`,
    ...process.argv.slice(2),
  ]);

  const native = withRunner(readCtest(), ctestExit);
  const typescript = withRunner(readVitest(), vitestExit);
  const skipped = native.skipped + typescript.skipped;
  const summary =
    `${native.passed + typescript.passed} passed, ${native.failed + typescript.failed} failed` +
    (skipped > 0 ? `, ${skipped} skipped` : '');
  writeFileSync(`${results}summary.txt`, `${summary}\n`);
  process.stdout.write(`\n${summary}\n`);
  return native.failed + typescript.failed === 0 ? 0 : 1;
});
