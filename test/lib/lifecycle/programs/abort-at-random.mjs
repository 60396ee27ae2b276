// Generations over a cache that is too small for their documents, a third of them aborted at random moments.
import { setImmediate, setTimeout } from 'node:timers/promises';
import { Engine } from 'block-attention';
import { report, until } from './support.mjs';

const [seed, count] = process.argv.slice(2).map(Number);
let state = (seed ?? 1) >>> 0;
/** @param {number} below */
const random = (below) => {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
};

const engine = await Engine.load('models/tiny-rag', { threads: 2, cacheBytes: 3 << 20 });
const documents = Array.from({ length: 30 }, (_, i) => Array.from({ length: 20 + i }, () => 5 + random(200)));
const rss = { first: 0, last: 0 };
const outcomes = { ended: 0, aborted: 0, failed: 0 };
/** @type {unknown[]} */
const surprises = [];
/**
 * This program's own timers, which may outlive the generation that they were to abort.
 *
 * @type {Promise<void>[]}
 */
const aborts = [];

/** @param {number} index */
async function generate(index) {
  const controller = new AbortController();
  const generation = engine.generate({
    blocks: Array.from({ length: 1 + random(4) }, () => documents[random(documents.length)] ?? []),
    query: [5 + random(200), 5 + random(200)],
    maxTokens: 1 + random(12),
    signal: controller.signal,
  });
  const how = random(6);
  if (how === 0) aborts.push(setTimeout(random(20)).then(() => controller.abort()));
  if (how === 1) aborts.push(setTimeout(random(20)).then(() => generation.abort()));
  try {
    // Some readers leave early, some streams have no reader at all.
    if (index % 5 === 0)
      for await (const part of generation) if (part.tokens.length > 0 && random(3) === 0) break;
    const { finishReason } = await generation.result();
    if (finishReason === 'aborted') outcomes.aborted += 1;
    else outcomes.ended += 1;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ABORTED') outcomes.failed += 1;
    else surprises.push(String(error));
  }
}

let next = 0;
async function client() {
  while (next < (count ?? 0)) {
    next += 1;
    await generate(next);
    if (rss.first === 0 && next >= (count ?? 0) / 2) rss.first = process.memoryUsage().rss;
    await setImmediate();
  }
}
await Promise.all(Array.from({ length: 16 }, client));
await Promise.all(aborts);
rss.last = process.memoryUsage().rss;

await engine.delete({ namespace: '' });
const { cache } = engine.stats();
const empty = await until(() => {
  const { cache: now } = engine.stats();
  return now.freeBytes === now.capacityBytes;
});
const { evictions } = engine.stats().cache;
await engine.close();
await setImmediate();
// Pipes are those of the parent, which asked for them.
const handles = process.getActiveResourcesInfo().filter((name) => !/^(Pipe|TTY|FS)/.test(name));
report({ outcomes, surprises, blocks: cache.blocks, empty, evictions, rss, handles });
