// A soak: 10 000 generations on the model that ships, 16 at a time, over a cache that is too small for their documents, a
// third of them aborted at random moments. Afterwards no page and no handle may be left, and the memory must be what it was
// after the first 3000, by when V8's heap has its size. A long form: not part of the usual checks, which do 500 (test/lib/lifecycle/leaks.test.ts).
//   npm run test:soak            npm run test:soak -- --short            npm run test:soak -- --seed 7
import { execFile } from 'node:child_process';
import { parseArgs } from 'node:util';
import { root, runMain } from './setup/process.mjs';
import { ensureReady } from './setup.mjs';

const PROGRAM = `${root}test/lib/lifecycle/programs/abort-at-random.mjs`;
const MOST_GROWTH = 30 << 20;

/**
 * @typedef {{ outcomes: { ended: number, aborted: number, failed: number }, surprises: unknown[], blocks: number,
 *   empty: boolean, evictions: number, handles: string[], rss: { first: number, most: number, last: number } }} Report
 */

/**
 * @param {number} seed
 * @param {number} count
 * @returns {Promise<Report>}
 */
function soak(seed, count) {
  return new Promise((resolve, reject) => {
    const args = [PROGRAM, String(seed), String(count), String(count / 10)];
    const child = execFile(process.execPath, args, { cwd: root }, (error, stdout) => {
      if (error) reject(error);
      else resolve(JSON.parse(stdout));
    });
    child.stderr?.pipe(process.stderr);
  });
}

/**
 * What is not as it must be.
 *
 * @param {Report} report
 * @param {number} count
 */
function faults({ outcomes, surprises, blocks, empty, handles, rss }, count) {
  const ends = outcomes.ended + outcomes.aborted + outcomes.failed;
  const growth = rss.most - rss.first;
  return [
    ...(ends === count ? [] : [`${count - ends} generations never ended`]),
    ...(outcomes.aborted + outcomes.failed > count / 10 ? [] : ['too few were aborted to tell anything']),
    ...surprises.map((surprise) => `unexpected: ${surprise}`),
    ...(blocks === 0 && empty ? [] : ['pages are left']),
    ...handles.map((name) => `a handle is left: ${name}`),
    ...(growth < MOST_GROWTH ? [] : [`the memory grew by ${growth >> 20} MiB`]),
  ];
}

await runMain(async () => {
  const { values } = parseArgs({
    options: { short: { type: 'boolean', default: false }, seed: { type: 'string' } },
  });
  const count = values.short ? 500 : 10_000;
  const seed = values.seed === undefined ? Date.now() % 100_000 : Number(values.seed);
  await ensureReady({ tests: false });
  const begin = performance.now();
  const report = await soak(seed, count);
  const seconds = Math.round((performance.now() - begin) / 1000);
  const { outcomes, evictions, rss } = report;
  process.stdout.write(
    `seed ${seed}: ${count} generations in ${seconds} s: ${outcomes.ended} to their end, ` +
      `${outcomes.aborted + outcomes.failed} aborted; ${evictions} evictions; ` +
      `RSS ${rss.first >> 20} MiB after warm-up, at most ${rss.most >> 20}, ${rss.last >> 20} at the end ` +
      `(bound: ${MOST_GROWTH >> 20} MiB more than after warm-up)\n`,
  );
  const wrong = faults(report, count);
  for (const fault of wrong) process.stdout.write(`${fault}\n`);
  return wrong.length === 0 ? 0 : 1;
});
