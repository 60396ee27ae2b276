// Generations over a cache that is too small for their documents, a third of them aborted at random moments, 16 at a time.
// Arguments: the seed, how many, and after how many to say on stderr how it goes.
import { setImmediate, setTimeout } from 'node:timers/promises';
import { Engine } from 'block-attention';
import { report, until } from './support.mjs';

const [seed = 1, count = 0, interval = Number.POSITIVE_INFINITY] = process.argv.slice(2).map(Number);
let state = seed >>> 0;
/** @param {number} below */
const random = (below) => {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
};

const engine = await Engine.load('models/tiny-rag', { threads: 2, cacheBytes: 3 << 20 });
const documents = Array.from({ length: 30 }, (_, i) => Array.from({ length: 20 + i }, () => 5 + random(200)));
/** The first once half of them, or 3000, are done: by then V8's heap has its size. */
const rss = { first: 0, most: 0, last: 0 };
const warm = Math.min(count / 2, 3000);
const begin = performance.now();
const outcomes = { ended: 0, aborted: 0, failed: 0 };
/** @type {unknown[]} */
const surprises = [];
/**
 * This program's own timers, which may outlive the generation that they were to abort.
 *
 * @type {Promise<void>[]}
 */
const aborts = [];
/** How long a generation takes here, milliseconds: on a fast machine a fixed time would come when nearly all have ended. */
let usual = 20;

/** @param {number} index */
async function generate(index) {
  const controller = new AbortController();
  const begun = performance.now();
  const generation = engine.generate({
    blocks: Array.from({ length: 1 + random(4) }, () => documents[random(documents.length)] ?? []),
    query: [5 + random(200), 5 + random(200)],
    maxTokens: 1 + random(12),
    signal: controller.signal,
  });
  const how = random(6);
  const moment = (random(1000) / 1000) * usual;
  if (how === 0) aborts.push(setTimeout(moment).then(() => controller.abort()));
  if (how === 1) aborts.push(setTimeout(moment).then(() => generation.abort()));
  try {
    // Some readers leave early, some streams have no reader at all.
    if (index % 5 === 0)
      for await (const part of generation) if (part.tokens.length > 0 && random(3) === 0) break;
    const { finishReason } = await generation.result();
    if (finishReason === 'aborted') {
      outcomes.aborted += 1;
    } else {
      outcomes.ended += 1;
      usual += (performance.now() - begun - usual) / 16;
    }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ABORTED') outcomes.failed += 1;
    else surprises.push(String(error));
  }
}

function look() {
  done += 1;
  const now = process.memoryUsage().rss;
  if (done >= warm && rss.first === 0) rss.first = now;
  if (done >= warm) rss.most = Math.max(rss.most, now);
  if (done % interval !== 0) return;
  const { evictions, hits, misses } = engine.stats().cache;
  const values = {
    generations: done,
    seconds: Math.round(performance.now() - begin) / 1000,
    rssMiB: now >> 20,
    ...{ hits, misses, evictions },
  };
  process.stderr.write(`${JSON.stringify(values)}\n`);
}

let next = 0;
let done = 0;
async function client() {
  while (next < count) {
    next += 1;
    await generate(next);
    look();
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
