/**
 * The promise of the cache: the numbers of an answer are the same to the bit whatever was cached, evicted, batched,
 * chunked or shared out over threads. Random requests run alone on a fresh engine first, then at random times together
 * on engines of random sizes, most of them too small for the working set. A GPU promises it with `deterministic` alone.
 */
import { Engine, type GenerateRequest, type GenerationResult, type LoadOptions } from 'block-attention';
import { expect, it } from 'vitest';

const model = new URL('../../fixtures/models/llama3', import.meta.url).pathname;
const VOCAB = 160;
/** 2 layers, K and V, 1 head of 16, 16 tokens, bf16. A request of this test takes at most 55 pages. */
const PAGE_BYTES = 2 * 2 * 16 * 16 * 2;
const SEED = Number(process.env.TEST_SEED ?? 20260301);

/** mulberry32: a small generator with a seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

function randomRequests(random: (below: number) => number, count: number): GenerateRequest[] {
  const tokens = (length: number) => Array.from({ length }, () => random(VOCAB));
  const documents = Array.from({ length: 30 }, () => tokens(1 + random(90)));
  return Array.from({ length: count }, () => ({
    blocks: Array.from({ length: random(7) }, () => documents[random(documents.length)] ?? []),
    query: tokens(1 + random(20)),
    attention: random(3) === 0 ? 'full' : 'block',
    sharedPrefix: random(4) === 0,
    maxTokens: 1 + random(6),
    temperature: random(2),
    topP: 0.9,
    seed: random(1000),
    ignoreEos: true,
    logprobs: VOCAB,
  }));
}

const numbersOf = ({ tokens, logprobs, topLogprobs }: GenerationResult) => ({
  tokens,
  logprobs,
  topLogprobs,
});

async function withEngine<T>(options: LoadOptions, use: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await Engine.load(model, { ...options, deterministic: true });
  try {
    return await use(engine);
  } finally {
    await engine.close();
  }
}

it(`answers with the same bits in any company (seed ${SEED})`, async () => {
  const random = randomOf(SEED);
  const requests = randomRequests(random, 32);
  const alone = await Promise.all(
    requests.map((request) =>
      withEngine({ threads: 1, cacheBytes: 16 << 20 }, (engine) => engine.generate(request).result()),
    ),
  );
  let evictions = 0;
  for (let round = 0; round < 6; round++) {
    const options = {
      threads: 1 + random(3),
      maxBatchTokens: [1, 5, 32, 512][random(4)] ?? 1,
      cacheBytes: PAGE_BYTES * (56 + random(60)),
    };
    const results = await withEngine(options, async (engine) => {
      const running = requests.map(async (request) => {
        await new Promise((resolve) => setTimeout(resolve, random(30)));
        return engine.generate(request).result();
      });
      const results = await Promise.all(running);
      evictions += engine.stats().cache.evictions;
      return results;
    });
    for (const [index, result] of results.entries()) {
      expect(numbersOf(result), `${JSON.stringify(options)}, request ${index}`).toEqual(
        numbersOf(alone[index] as GenerationResult),
      );
    }
  }
  expect(evictions, 'the caches were too small for the working set').toBeGreaterThan(50);
}, 120_000);
