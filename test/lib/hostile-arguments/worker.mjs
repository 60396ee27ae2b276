// A thread of objects.test.ts: wrong calls of the addon, and what came of each.
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';

const addon = createRequire(import.meta.url)('bindings')({
  bindings: 'block_attention',
  module_root: resolve('.'),
});
const { config, weights, options } = workerData;
const ignore = () => undefined;

/** @param {() => unknown} call */
function outcome(call) {
  try {
    call();
    return 'accepted';
  } catch (error) {
    if (!(error instanceof Error)) return 'threw no error';
    return 'code' in error ? error.code : error.name;
  }
}

const engine = await addon.load(config, weights, options, ignore, ignore).promise;
const outcomes = {
  load: outcome(() => addon.load(config, weights, { ...options, threads: 0 }, ignore, ignore)),
  submit: outcome(() => engine.submit([{ id: -1 }])),
  abort: outcome(() => engine.abort('x')),
  release: outcome(() => engine.release(null)),
  foreign: outcome(() => engine.stats.call({})),
};
await engine.close();
parentPort?.postMessage({ ...outcomes, closed: outcome(() => engine.stats()) });
