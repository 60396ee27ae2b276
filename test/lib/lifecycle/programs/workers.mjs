// The addon in worker threads. With "together": three workers use two engines each at the same time. Otherwise workers are
// terminated, 20 times, in the phase that the argument names.
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { report, threads, threadsWithoutEngine, until } from './support.mjs';

const [phase] = process.argv.slice(2);
// All other phases compute on the CPU.
const before = phase === 'together' ? await threadsWithoutEngine() : threads();

function start() {
  const worker = new Worker(new URL('worker.mjs', import.meta.url), { argv: [phase ?? ''] });
  const said = new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  const exited = new Promise((resolve) => worker.once('exit', resolve));
  return { worker, said, exited };
}

/** @type {unknown[]} */
const results = [];
if (phase === 'together') {
  const workers = [start(), start(), start()];
  for (const { said, exited } of workers) results.push(await said, await exited);
} else {
  for (let round = 0; round < 20; round++) {
    const { worker, said } = start();
    await said;
    await setTimeout(round);
    results.push(await worker.terminate());
  }
}
const gone = await until(() => threads() <= before);
report({ results, gone });
