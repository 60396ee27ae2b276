// Drops engines without closing them. Run with --expose-gc.
import { Engine } from 'block-attention';
import { loadSmall, report, threads, threadsWithoutEngine, until } from './support.mjs';

const options = { threads: 3, cacheBytes: 8 << 20 };
const request = { documents: [{ text: 'Zarky is a small grey dog.' }], query: 'Who is Zarky?', maxTokens: 4 };
const MEBIBYTE = 1 << 20;
const rss = () => process.memoryUsage().rss / MEBIBYTE;
const settleDown = (/** @type {() => boolean} */ condition) =>
  until(() => {
    globalThis.gc?.();
    return condition();
  });

const threadsBefore = await threadsWithoutEngine();
let threadsDuring = 0;
async function useAndDrop() {
  /** @type {Engine | undefined} */
  let engine;
  // A caller's callback that refers to the engine must not keep it alive either.
  engine = await Engine.load('models/tiny-rag', { ...options, onProgress: () => engine });
  await engine.generate(request).result();
  threadsDuring = Math.max(threadsDuring, threads());
}
for (let round = 0; round < 3; round++) await useAndDrop();
const ended = await settleDown(() => threads() <= threadsBefore);

// 64 MiB of weights each.
const rssBefore = rss();
let rssDuring = 0;
async function loadAndDrop() {
  await loadSmall(undefined, { config: { vocabSize: 32_768, hiddenSize: 1024 } });
  rssDuring = Math.max(rssDuring, rss());
}
for (let round = 0; round < 4; round++) {
  await loadAndDrop();
  await settleDown(() => threads() <= threadsBefore);
}
const rssAfter = rss();

// A promise alone keeps the engine until it is settled.
async function answerAlone() {
  const engine = await Engine.load('models/tiny-rag', options);
  return { answer: engine.generate({ ...request, maxTokens: 40 }).result() };
}
const { answer } = await answerAlone();
let settled = false;
void answer.then(() => {
  settled = true;
});
await settleDown(() => settled);
report({ ended, threadsBefore, threadsDuring, rssBefore, rssDuring, rssAfter, settled });
