// What a process that may only have so much more address space is told.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { loadNativeEngine } from '#lib/native.js';
import { CONFIG, generation, loadSmall, OPTIONS, report, until } from './support.mjs';

await (await loadSmall()).close();
const kilobytes = Number(/VmSize:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
execFileSync('prlimit', ['--pid', String(process.pid), `--as=${kilobytes * 1024 + 2 ** 29}`]);

/**
 * @param {object} config
 * @param {object} options
 */
async function outcome(config, options) {
  try {
    const engine = await loadNativeEngine(
      { ...CONFIG, ...config },
      { seed: 1, dtype: 'bf16' },
      { ...OPTIONS, ...options },
      () => undefined,
      () => undefined,
    );
    await engine.close();
    return 'loaded';
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : String(error);
  }
}

const outcomes = {
  pool: await outcome({}, { cacheBytes: 2 ** 30 }),
  weights: await outcome({ vocabSize: 1 << 20, hiddenSize: 1024 }, {}),
  threads: await outcome({}, { threads: 1024 }),
  activations: await outcome({ intermediateSize: 1 << 16 }, { maxBatchTokens: 1 << 16 }),
};
// What failed left nothing behind: there is room for an engine still, and it works.
/** @type {string | undefined} */
let finish;
const engine = await loadSmall((events) => {
  for (const event of events) finish = event.finish;
});
engine.submit([generation(0, 5)]);
await until(() => finish !== undefined);
report({ ...outcomes, afterwards: finish });
await engine.close();
