// How late the event loop is while native code and the tokenizer's thread work, beside a control: an idle loop under the
// same load from another process.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { Engine } from 'block-attention';
import { openTokenizer } from '#lib/model/tokenizer/handle.js';
import { loadSmall, report } from './support.mjs';

const THREADS = 2;
const OPTIONS = { threads: THREADS, cacheBytes: 64 << 20, maxBatchTokens: 2048 };
/** @typedef {{ p99: number, max: number }} Spread milliseconds */
/** @type {Record<string, { late: Spread, computed: Spread, milliseconds: number }>} */
const delays = {};

/** What the main thread has computed, in milliseconds of its own; 0 where the system does not say. */
function computed() {
  if (process.platform !== 'linux') return 0;
  return Number(readFileSync('/proc/self/schedstat', 'utf8').split(' ')[0]) / 1e6;
}

/**
 * @param {string} name
 * @param {() => Promise<unknown>} work
 */
async function measure(name, work) {
  // What the phase before left for the collector is not this one's.
  globalThis.gc?.();
  await setTimeout(20);
  /** Between two turns of the loop: no load from elsewhere makes this longer. @type {number[]} */
  const turns = [];
  let last = computed();
  const ticks = setInterval(() => {
    const now = computed();
    turns.push(now - last);
    last = now;
  }, 1);
  const histogram = monitorEventLoopDelay({ resolution: 1 });
  histogram.enable();
  const begin = performance.now();
  await work();
  // A delay is noticed by the timer that comes after it.
  await setTimeout(5);
  histogram.disable();
  clearInterval(ticks);
  turns.sort((a, b) => a - b);
  delays[name] = {
    late: { p99: histogram.percentile(99) / 1e6, max: histogram.max / 1e6 },
    computed: { p99: turns[Math.floor(turns.length * 0.99)] ?? 0, max: turns.at(-1) ?? 0 },
    milliseconds: performance.now() - begin,
  };
}

async function control() {
  const burners = Array.from({ length: THREADS }, () => spawn(process.execPath, ['-e', 'for (;;);']));
  await setTimeout(1000);
  for (const burner of burners) burner.kill('SIGKILL');
}
await measure('control before', control);

await measure('load a model', async () => {
  const engine = await loadSmall(undefined, { config: { vocabSize: 32_768, hiddenSize: 1024 } });
  await engine.close();
  await (await Engine.load('models/tiny-rag', OPTIONS)).close();
});

// The tokenizer of tiny-rag with a vocabulary of a usual size.
const folder = mkdtempSync(join(tmpdir(), 'block-attention-'));
const path = join(folder, 'tokenizer.json');
const json = JSON.parse(readFileSync('models/tiny-rag/tokenizer.json', 'utf8'));
const { vocab } = json.model;
let id = Math.max(...Object.values(vocab));
for (const { id: added } of json.added_tokens) id = Math.max(id, added);
for (let i = 0; i < 125_000; i++) vocab[`planted${i}`] = ++id;
writeFileSync(path, JSON.stringify(json));
await measure('load a tokenizer', async () => {
  const tokenizer = await openTokenizer({ path }, { vocabSize: id + 1 });
  await tokenizer.close();
});
rmSync(folder, { recursive: true });

/** @type {Record<string, number>} */
const outcomes = {};
/** @param {string} outcome */
const count = (outcome) => {
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
};
const engine = await Engine.load('models/tiny-rag', OPTIONS);
/** @param {import('block-attention').GenerateRequest} request */
const answer = (request) =>
  engine
    .generate(request)
    .result()
    .then(
      ({ finishReason }) => count(finishReason),
      ({ code }) => count(code),
    );
const text = 'Zarky is a small grey dog that lives by the river. '.repeat(20_000);
await measure('tokenise a megabyte', () => answer({ documents: [{ text }], query: 'Who is Zarky?' }));
const ids = Array.from({ length: 250_000 }, (_, i) => 20 + (i % 1000));
await measure('take a quarter of a million ids', async () => {
  // So often that the 99th percentile is not the maximum.
  for (let i = 0; i < 150; i++) {
    await answer({ blocks: [ids], query: [23] });
    await setTimeout(2);
  }
});
await measure('compute long steps', () =>
  answer({ blocks: [ids.slice(0, 5000)], query: [23], maxTokens: 1 }),
);

let tokens = 0;
await measure('stream 64 answers', async () => {
  const end = performance.now() + 1000;
  const stream = async () => {
    while (performance.now() < end) {
      const answer = engine.generate({ blocks: [[20, 21, 22]], query: [23], maxTokens: 200 });
      for await (const part of answer) tokens += part.tokens.length;
    }
  };
  await Promise.all(Array.from({ length: 64 }, stream));
});
await engine.close();
await measure('control after', control);
report({ delays, outcomes, tokens });
