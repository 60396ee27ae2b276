/** The whole engine, on the model that ships with the package. */
import { readFileSync } from 'node:fs';
import {
  type BlockAttentionError,
  Engine,
  type GenerateRequest,
  type GenerationResult,
} from 'block-attention';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blockCost, executedFlops, paperFlops } from '#lib/engine/flops.js';
import { loadModelFolder } from '#lib/model/folder.js';

const MODEL = 'models/tiny-rag';
const OPTIONS = { threads: 2, cacheBytes: 64 << 20 };
/** The same bits in any batch, on a GPU too; the tests that compare none run on whatever is the default there. */
const EXACT = { ...OPTIONS, deterministic: true };
/** More tokens than a GPU draws before the test cuts the answer short. */
const LONG = 2000;

interface Sample {
  question: string;
  output: string;
  documents: { title: string; text: string }[];
}

const samples: Sample[] = readFileSync(`${MODEL}/demo.jsonl`, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line));

const requestOf = (sample: Sample, more: Partial<GenerateRequest> = {}): GenerateRequest => ({
  documents: sample.documents,
  query: sample.question,
  maxTokens: 24,
  logprobs: 3,
  ...more,
});
const statuses = (result: GenerationResult) => result.usage.blocks.map(({ status }) => status);
/** All that must not depend on anything but the request. */
const numbers = ({ tokens, logprobs, topLogprobs, text }: GenerationResult) => ({
  tokens,
  logprobs,
  topLogprobs,
  text,
});

describe('tiny-rag', () => {
  let engine: Engine;

  beforeAll(async () => {
    engine = await Engine.load(MODEL, OPTIONS);
  });
  afterAll(() => engine.close());

  it('answers the questions of its demonstration', async () => {
    for (const sample of samples) {
      const result = await engine.generate(requestOf(sample)).result();
      expect([result.text, result.finishReason]).toEqual([sample.output, 'stop']);
    }
  });

  it('streams what the result says', async () => {
    const [sample] = samples;
    if (sample === undefined) throw new Error('no sample');
    const generation = engine.generate(requestOf(sample));
    let text = '';
    const tokens: number[] = [];
    for await (const part of generation) {
      text += part.text;
      tokens.push(...part.tokens);
    }
    expect(await generation.result()).toMatchObject({ text, tokens });
  });

  it('gives the same bits for hits and misses, alone and among others, in both modes', async () => {
    await using exact = await Engine.load(MODEL, EXACT);
    for (const mode of [{ attention: 'block' }, { attention: 'full' }, { sharedPrefix: true }] as const) {
      await exact.delete({ namespace: '' });
      const cold: GenerationResult[] = [];
      for (const sample of samples) cold.push(await exact.generate(requestOf(sample, mode)).result());
      expect(statuses(cold[0] as GenerationResult)).not.toContain('hit');
      const warm = await Promise.all(
        samples.map((sample) => exact.generate(requestOf(sample, mode)).result()),
      );
      await exact.delete({ namespace: '' });
      const together = await Promise.all(
        samples.map((sample) => exact.generate(requestOf(sample, mode)).result()),
      );
      expect(warm.flatMap(statuses)).not.toContain('miss');
      expect(warm.map(numbers)).toEqual(cold.map(numbers));
      expect(together.map(numbers)).toEqual(cold.map(numbers));
    }
  });

  it('gives the same bits whatever the threads, the step and the room in the cache', async () => {
    const ask = (from: Engine) =>
      Promise.all(
        [...samples, ...samples].map(async (sample, index) =>
          numbers(
            await from
              .generate(
                requestOf(sample, {
                  attention: index % 3 === 0 ? 'full' : 'block',
                  temperature: index % 2,
                  seed: index,
                }),
              )
              .result(),
          ),
        ),
      );
    await using roomy = await Engine.load(MODEL, EXACT);
    const expected = await ask(roomy);
    // A few hundred tokens: one request at a time, and hardly a block survives.
    await using small = await Engine.load(MODEL, {
      ...EXACT,
      threads: 1,
      cacheBytes: 1_000_000,
      maxBatchTokens: 7,
    });
    expect(await ask(small)).toEqual(expected);
    const { cache, running, waiting } = small.stats();
    expect(cache.evictions).toBeGreaterThan(0);
    expect([running, waiting]).toEqual([0, 0]);
    await small.delete({ namespace: '' });
    expect(small.stats().cache).toMatchObject({ blocks: 0, bytes: 0, freeBytes: cache.capacityBytes });
  });

  it('keeps keys and values in f32 if asked to, which changes little', async () => {
    // A GPU has no other type than the activations'.
    await using rounded = await Engine.load(MODEL, { ...OPTIONS, device: 'cpu' });
    await using precise = await Engine.load(MODEL, { ...OPTIONS, device: 'cpu', kvDtype: 'f32' });
    for (const sample of samples) {
      const [half, full] = await Promise.all(
        [rounded, precise].map((from) => from.generate(requestOf(sample)).result()),
      );
      expect(full?.tokens).toEqual(half?.tokens);
      for (const [index, logprob] of full?.logprobs?.entries() ?? []) {
        expect(Math.abs(logprob - (half?.logprobs?.[index] ?? 0))).toBeLessThan(0.05);
      }
      expect(full?.logprobs).not.toEqual(half?.logprobs);
    }
  });

  it('counts operations as the closed formulas do', async () => {
    const { config } = await loadModelFolder(MODEL);
    const cost = blockCost(config.native);
    const final = (begin: number, rows: number) =>
      executedFlops(config.native, { begin, rows, output: true });
    const [sample] = samples;
    if (sample === undefined) throw new Error('no sample');
    for (const attention of ['block', 'full'] as const) {
      await engine.delete({ namespace: '' });
      const cold = await engine.generate(requestOf(sample, { attention })).result();
      const warm = await engine.generate(requestOf(sample, { attention })).result();
      const { promptTokens, blocks } = cold.usage;
      const blockTokens = blocks.reduce((sum, { tokens }) => sum + tokens, 0);
      let offset = 0;
      let encoding = 0;
      for (const { tokens } of blocks) {
        encoding += cost({ encodeOffset: attention === 'full' ? offset : 0, tokens: new Int32Array(tokens) });
        offset += tokens;
      }
      const query = final(blockTokens, promptTokens - blockTokens);
      expect(warm.flops.executed.request).toBe(query);
      expect(cold.flops.executed.request).toBe(query + encoding);
      expect(cold.flops.executed.full).toBe(final(0, promptTokens));
      if (attention === 'full') expect(cold.flops.executed.request).toBe(cold.flops.executed.full);
      expect(warm.flops.paper).toEqual({
        request: paperFlops(config, promptTokens - blockTokens),
        full: paperFlops(config, promptTokens),
      });
    }
  });

  it('tells times that add up', async () => {
    await engine.delete({ namespace: '' });
    const [sample] = samples;
    if (sample === undefined) throw new Error('no sample');
    const before = performance.now();
    const { timings, tokens } = await engine.generate(requestOf(sample)).result();
    const whole = performance.now() - before;
    expect(timings.encode).toBeGreaterThan(0);
    expect(timings.firstToken).toBeGreaterThan(timings.tokenize + timings.queue);
    expect(timings.perToken).toHaveLength(tokens.length - 1);
    const sum = (timings.firstToken ?? 0) + timings.perToken.reduce((a, b) => a + b, 0);
    expect(sum).toBeGreaterThan(0);
    expect(sum).toBeLessThan(whole + 1);
  });

  it('stops at stop strings, and at a signal, and leaves the engine whole', async () => {
    const sample = samples.find(({ output }) => output.includes(' '));
    if (sample === undefined) throw new Error('no answer of two words');
    const [first] = sample.output.split(' ');
    expect(await engine.generate(requestOf(sample, { stop: ' ' })).result()).toMatchObject({
      text: first,
      finishReason: 'stop',
    });
    const controller = new AbortController();
    const endless = requestOf(sample, { ignoreEos: true, maxTokens: LONG, signal: controller.signal });
    const generation = engine.generate(endless);
    for await (const part of generation) {
      if (part.tokens.length === 0) continue;
      controller.abort();
      break;
    }
    await expect(generation.result()).rejects.toMatchObject({ code: 'ABORTED' });
    expect((await engine.generate(requestOf(sample)).result()).text).toBe(sample.output);
  });

  it('goes on while the event loop is busy', async () => {
    const [sample] = samples;
    if (sample === undefined) throw new Error('no sample');
    const generation = engine.generate(requestOf(sample, { ignoreEos: true, maxTokens: 200 }));
    const reader = generation[Symbol.asyncIterator]();
    await reader.next();
    const busyUntil = performance.now() + 300;
    while (performance.now() < busyUntil);
    // Many tokens were drawn meanwhile: they are there without another turn of the native engine.
    const { timings } = await generation.result();
    expect(Math.max(...timings.perToken)).toBeLessThan(250);
  });

  it('reports what is wrong with a folder or the room in the cache', async () => {
    await expect(Engine.load('models/none')).rejects.toMatchObject({ code: 'IO' });
    await expect(Engine.load(MODEL, { cacheBytes: 10 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(Engine.load(MODEL, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ABORTED',
    });
    await using tiny = await Engine.load(MODEL, { cacheBytes: 200_000 });
    const [sample] = samples;
    if (sample === undefined) throw new Error('no sample');
    await expect(tiny.generate(requestOf(sample)).result()).rejects.toMatchObject({
      code: 'CACHE_TOO_SMALL',
    });
    expect((await tiny.generate({ query: 'Who?', maxTokens: 2 }).result()).tokens.length).toBeGreaterThan(0);
  });

  it('fails what runs when it is closed', async () => {
    const closing = await Engine.load(MODEL, { cacheBytes: 16 << 20 });
    const [sample] = samples;
    if (sample === undefined) throw new Error('no sample');
    const results = Array.from({ length: 20 }, () =>
      closing
        .generate(requestOf(sample, { ignoreEos: true, maxTokens: LONG }))
        .result()
        .catch((error: BlockAttentionError) => error.code),
    );
    await new Promise((resolve) => setTimeout(resolve, 50));
    await closing.close();
    expect(new Set(await Promise.all(results))).toEqual(new Set(['CLOSED']));
  });
});

describe('a published shape with random weights', () => {
  it('runs on token ids', async () => {
    await using engine = await Engine.random('smollm2-135m', { cacheBytes: 64 << 20 });
    const result = await engine.generate({ blocks: [[1, 2, 3]], query: [4, 5], maxTokens: 3 }).result();
    expect(result).toMatchObject({ text: '', finishReason: 'length', usage: { promptTokens: 5 } });
    await expect(engine.generate({ query: 'text' }).result()).rejects.toMatchObject({
      code: 'TOKENIZER_MISSING',
    });
    await using ofFolder = await Engine.random(MODEL, { cacheBytes: 1 << 24, seed: 3 });
    expect(ofFolder.model).toMatchObject({ hasTokenizer: false, maxPositions: expect.any(Number) });
    expect(
      await ofFolder.generate({ query: [1, 2, 3], maxTokens: 2, ignoreEos: true }).result(),
    ).toMatchObject({
      finishReason: 'length',
    });
    await expect(Engine.random('gpt-9')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
