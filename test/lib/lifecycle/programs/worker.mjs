// A thread of workers.mjs.
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { Engine } from 'block-attention';
import { generation, loadSmall } from './support.mjs';

const phase = process.argv[2];
if (phase === 'together') {
  const answer = async () => {
    const options = { threads: 2, cacheBytes: 4 << 20, deterministic: true };
    const engine = await Engine.load('models/tiny-rag', options);
    const requests = Array.from({ length: 4 }, (_, i) =>
      engine.generate({ blocks: [[5 + i, 6, 7]], query: [8, 9], maxTokens: 30, logprobs: 2 }).result(),
    );
    const answers = (await Promise.all(requests)).map(({ tokens, logprobs }) => ({ tokens, logprobs }));
    await engine.close();
    return answers;
  };
  const both = await Promise.all([answer(), answer()]);
  const digests = both.map((answers) => createHash('sha256').update(JSON.stringify(answers)).digest('hex'));
  parentPort?.postMessage(digests);
} else if (phase === 'loading') {
  // One load after the other: however fast the machine is, the thread is terminated in one of them.
  for (;;) {
    const loading = loadSmall(undefined, { config: { vocabSize: 32_768 } });
    parentPort?.postMessage('begun');
    await (await loading).close();
  }
} else {
  let told = false;
  const engine = await loadSmall(() => {
    if (!told) parentPort?.postMessage('begun');
    told = true;
    if (phase !== 'callback') return;
    // Most of the time is spent here, so this is where the thread is terminated.
    const end = performance.now() + 20;
    while (performance.now() < end);
  });
  engine.submit([generation(0, 20_000)]);
}
