/** Several answers to one prompt: each is that of a request of its own, and the prompt is computed once. */
import { Engine, type Generation, type GenerationResult } from 'block-attention';
import { describe, expect, it } from 'vitest';
import { executedFlops } from '#lib/engine/flops.js';
import { expectError } from '../errors.js';
import { FakeTokenizer } from './fake-tokenizer.js';
import { answering, CONFIG, setUp, settle } from './setup.js';

const REQUEST = {
  documents: [{ title: 'Liros', text: 'Liros lies on the river Shornos.' }],
  query: 'What is Liros?',
  temperature: 2,
  maxTokens: 12,
  ignoreEos: true,
};

const MODEL = 'models/tiny-rag';
/** What is compared are bits, and sampled tokens that hang on them: a GPU's depend on the batch unless told not to. */
const OPTIONS = { cacheBytes: 1 << 24, threads: 1, deterministic: true };

const resultsOf = (many: readonly Generation[]): Promise<GenerationResult[]> =>
  Promise.all(many.map((one) => one.result()));

/** Each on its own, one after the other. */
async function alone(request: typeof REQUEST & { seed: number }, n: number): Promise<GenerationResult[]> {
  await using engine = await Engine.load(MODEL, OPTIONS);
  const results: GenerationResult[] = [];
  for (let i = 0; i < n; i++)
    results.push(await engine.generate({ ...request, seed: request.seed + i }).result());
  return results;
}

const numbersOf = ({ text, tokens, logprobs, topLogprobs }: GenerationResult) => ({
  text,
  tokens,
  logprobs,
  topLogprobs,
});

it('gives answers of following seeds, over blocks that are encoded once', async () => {
  await using engine = await Engine.load(MODEL, OPTIONS);
  const many = await resultsOf(engine.generateMany({ ...REQUEST, seed: 7 }, 3));
  expect(engine.stats().cache).toMatchObject({ misses: 2, hits: 4 });
  for (const [i, { tokens }] of many.entries()) {
    expect(tokens).toEqual((await engine.generate({ ...REQUEST, seed: 7 + i }).result()).tokens);
  }
  expect(new Set(many.map(({ text }) => text)).size).toBe(3);

  const random = await resultsOf(engine.generateMany(REQUEST, 2));
  expect(random[0]?.tokens).not.toEqual(random[1]?.tokens);

  await expectError(() => engine.generateMany(REQUEST, 0), 'INVALID_ARGUMENT');
  const [wrong] = engine.generateMany({ ...REQUEST, seed: '1' as unknown as number }, 1);
  await expectError(() => wrong?.result(), 'INVALID_ARGUMENT');
});

it('streams log-probabilities token by token', async () => {
  await using engine = await Engine.load(MODEL, OPTIONS);
  const generation = engine.generate({ ...REQUEST, seed: 1, logprobs: 3 });
  const logprobs: number[] = [];
  const tops: object[][] = [];
  for await (const part of generation) {
    expect(part.logprobs?.length ?? 0).toBe(part.tokens.length);
    logprobs.push(...(part.logprobs ?? []));
    tops.push(...(part.topLogprobs ?? []));
  }
  const result = await generation.result();
  expect([logprobs, tops]).toEqual([result.logprobs, result.topLogprobs]);
  expect(logprobs).toHaveLength(12);
  for (const top of tops) expect(top).toHaveLength(3);
});

describe('the prompt', () => {
  const request = { ...REQUEST, seed: 11, logprobs: 5 };

  it('is computed once, and gives the same bits', async () => {
    const expected = await alone(request, 4);
    for (const maxBatchTokens of [512, 16, 1]) {
      await using engine = await Engine.load(MODEL, { ...OPTIONS, threads: 2, maxBatchTokens });
      const many = await resultsOf(engine.generateMany(request, 4));
      expect(many.map(numbersOf)).toEqual(expected.map(numbersOf));

      const { promptTokens } = many[0]?.usage ?? { promptTokens: 0 };
      expect(engine.stats().rows).toBe(promptTokens + 3 + 4 * (request.maxTokens - 1));
      expect(many.map(({ usage }) => usage.cachedTokens)).toEqual(
        [0, 1, 1, 1].map((n) => n * (promptTokens - 1)),
      );
      for (const { flops, usage } of many.slice(1)) {
        expect(usage.blocks.map(({ status }) => status)).toEqual(['hit', 'hit']);
        expect(flops.paper.request / flops.paper.full).toBeCloseTo(1 / promptTokens, 12);
        expect(flops.executed.request).toBeLessThan((many[0]?.flops.executed.request ?? 0) / 20);
      }
    }
  });

  it('is computed by another one if the first is aborted, whenever that is', async () => {
    const expected = await alone(request, 3);
    for (let delay = 0; delay < 12; delay++) {
      await using engine = await Engine.load(MODEL, { ...OPTIONS, maxBatchTokens: 8 });
      const [first, ...others] = engine.generateMany(request, 3);
      await new Promise((resolve) => setTimeout(resolve, delay));
      first?.abort();
      const results = await resultsOf(others);
      expect(results.map(numbersOf)).toEqual(expected.slice(1).map(numbersOf));
      expect((await first?.result())?.finishReason).toMatch(/aborted|length/);
    }
  });

  it('need not be answered by all at once', async () => {
    const expected = await alone(request, 6);
    const one = await Engine.load(MODEL, OPTIONS);
    await one.generate(request).result();
    const { capacityBytes, freeBytes } = one.stats().cache;
    await one.close();
    // The blocks, and less than three final blocks of equal size.
    const cacheBytes = Math.ceil((capacityBytes - freeBytes) * 2.2);
    await using engine = await Engine.load(MODEL, { ...OPTIONS, cacheBytes });
    const many = engine.generateMany(request, 6);
    await many[0]?.[Symbol.asyncIterator]().next();
    expect(engine.stats().waiting).toBeGreaterThan(0);
    expect((await resultsOf(many)).map(numbersOf)).toEqual(expected.map(numbersOf));
  });
});

describe('what is handed to the native engine', () => {
  const request = { blocks: ['one', 'two!'], query: 'why?', maxTokens: 3 };

  it('is tokenised once', async () => {
    const tokenizer = new FakeTokenizer();
    const { engine, native } = answering('Hello', { tokenizer });
    await resultsOf(engine.generateMany(request, 3));
    expect(tokenizer.encoded).toEqual(['one', 'two!', 'why?']);
    const [source, ...forks] = native.submitted.map((batch) => batch.at(-1));
    expect(source).not.toHaveProperty('forkOf');
    expect(forks.map((fork) => fork?.forkOf)).toEqual([source?.id, source?.id]);
    expect(native.stats().rows).toBe(11 + 2 + 3 * 2);
  });

  it('counts what was copied as cached, and what was computed once', async () => {
    const { engine } = setUp();
    const many = await resultsOf(
      engine.generateMany({ blocks: [[1, 2, 3]], query: [4, 5, 6, 7], maxTokens: 2 }, 2),
    );
    expect(many.map(({ usage }) => usage.cachedTokens)).toEqual([0, 6]);
    expect(many.map(({ flops }) => flops.executed.request)).toEqual([7000, 1000]);
    expect(many[1]?.flops.executed.full).toBe(
      executedFlops(CONFIG.native, { begin: 0, rows: 7, output: true }),
    );
  });

  it('forks whichever answer still runs', async () => {
    const { engine, native } = setUp({ running: false, pages: 4 });
    // A page for the block, and one for each final block.
    const many = engine.generateMany({ blocks: [[1, 2]], query: [3], maxTokens: 3 }, 5);
    await settle();
    native.step();
    many[0]?.abort();
    native.step();
    await settle();
    expect(engine.stats().running).toBe(3);
    native.drain();
    await settle();
    native.drain();
    expect((await resultsOf(many.slice(1))).map(({ finishReason }) => finishReason)).toEqual(
      new Array(4).fill('length'),
    );
    const ids = native.submitted.map((batch) => batch.at(-1)?.id);
    const sources = native.submitted.map((batch) => batch.at(-1)?.forkOf);
    // When there is room for the fourth, the second one still runs; then the fourth alone.
    expect(sources).toEqual([undefined, ids[0], ids[0], ids[1], ids[3]]);
    expect(native.stats().freePages).toBe(3);
  });

  it('is no fork over a block that was deleted meanwhile', async () => {
    const { engine, native } = setUp({ running: false, pages: 5 });
    const many = engine.generateMany({ blocks: [[1, 2]], query: [3], maxTokens: 3 }, 5);
    await settle();
    await engine.delete({ blocks: [[1, 2]] });
    many[1]?.abort();
    many[2]?.abort();
    native.step();
    await settle();
    native.drain();
    await settle();
    native.drain();
    const answers = await resultsOf([many[0], many[3], many[4]].filter((one) => one !== undefined));
    expect(answers.map(({ tokens }) => tokens)).toEqual(new Array(3).fill(answers[0]?.tokens));
    const forks = native.submitted.map((batch) => batch.at(-1)?.forkOf !== undefined);
    expect(forks).toEqual([false, true, true, true, false]);
  });

  it('waits for a tokenizer until nobody needs it any more', async () => {
    const tokenizer = new FakeTokenizer();
    let open = (): void => undefined;
    tokenizer.gate = new Promise((resolve) => {
      open = resolve;
    });
    const { engine } = answering('Hello', { tokenizer });
    const [first, second] = engine.generateMany(request, 2);
    const third = engine.generateMany(request, 2);
    await settle();
    first?.abort();
    for (const one of third) one.abort();
    await settle();
    expect(tokenizer.aborted).toBe(1);
    open();
    expect(await second?.result()).toMatchObject({ text: 'Hel', finishReason: 'length' });
    expect(await first?.result()).toMatchObject({ text: '', finishReason: 'aborted' });
  });

  it('fails with each of them if the prompt is wrong', async () => {
    const { engine } = setUp();
    for (const one of engine.generateMany({ query: [] }, 2)) {
      await expectError(() => one.result(), 'EMPTY_QUERY');
    }
    for (const one of engine.generateMany({ query: [100_000] }, 2)) {
      await expectError(() => one.result(), 'TOKEN_OUT_OF_RANGE');
    }
    const signal = AbortSignal.abort();
    for (const one of engine.generateMany({ query: [1], signal }, 2)) {
      await expectError(() => one.result(), 'ABORTED');
    }
  });
});
