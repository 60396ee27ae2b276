// A worker that answers the path of a request, and does what the path says.
import { parentPort } from 'node:worker_threads';

let answered = 0;

parentPort?.on('message', ({ path }) => {
  if (path === 'exit') process.exit(3);
  if (path === 'throw') throw new Error('worker broke');
  if (path === 'hang') for (;;);
  if (path === 'fill') for (const all = []; ; ) all.push(Array.from({ length: 1000 }, (_, i) => ({ i })));
  answered += 1;
  parentPort?.postMessage({ kind: 'encoded', tokens: [Int32Array.of(Number(path), answered)] });
});
