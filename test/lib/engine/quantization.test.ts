/** Weights in int8, and keys and values in int8, on the model that ships with the package. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Engine,
  type GenerateRequest,
  type GenerationResult,
  inspectModel,
  type LoadOptions,
} from 'block-attention';
import { describe, expect, it, onTestFinished } from 'vitest';
import { divergenceOf, MOST_RATIO } from '../../../bench/quality/compare.mjs';
import { readQuestions } from '../../../bench/quality/main.mjs';
import { askAll, PRECISE } from '../../../bench/quality/measure.mjs';
import { writeQ8Model } from '../../../bench/quality/q8-model.mjs';
import { expectError } from '../errors.js';

const MODEL = 'models/tiny-rag';
const VOCAB = 2255;
const QUESTIONS = 'bench/quality/questions.jsonl';
const CACHE_BYTES = 64 << 20;
/** What scripts/pack/run.sh runs has the real backend alone. */
const noEmulation = process.env.BLOCK_ATTENTION_PROGRAMS && 'the pack has no emulation';

const load = (options: LoadOptions) =>
  Engine.load(MODEL, { device: 'cpu', threads: 2, cacheBytes: CACHE_BYTES, ...options });

it('costs at most half as much again as weights rounded to Q8_0', { timeout: 120_000 }, async () => {
  const rounded = await mkdtemp(join(tmpdir(), 'block-attention-'));
  onTestFinished(() => rm(rounded, { recursive: true }));
  await writeQ8Model(MODEL, rounded);
  const prompts = readQuestions(QUESTIONS).map(({ request }) => ({ request: { ...request, maxTokens: 1 } }));
  const ask = async (folder: string, more: LoadOptions) => {
    const precise: LoadOptions = { ...PRECISE, threads: 2 };
    return (await askAll(folder, { ...precise, ...more }, prompts, VOCAB, () => undefined)).answers;
  };
  const reference = await ask(MODEL, {});
  const q8 = divergenceOf(reference, await ask(rounded, {})).mean;
  expect(q8).toBeGreaterThan(0);
  for (const options of [{ dtype: 'int8' }, { kvDtype: 'int8' }] as const) {
    const { mean } = divergenceOf(reference, await ask(MODEL, options));
    expect(mean, JSON.stringify(options)).toBeLessThanOrEqual(MOST_RATIO * q8);
    expect(mean).toBeGreaterThan(0);
  }
});

describe.each<LoadOptions>([{ dtype: 'int8' }, { kvDtype: 'int8' }, { dtype: 'int8', kvDtype: 'int8' }])(
  'with %o',
  (options) => {
    it('gives the same bits for hits and misses, alone and among others, on one thread and two', async () => {
      const requests = await requestsOf();
      await using one = await load({ ...options, threads: 1 });
      const cold: GenerationResult[] = [];
      for (const request of requests) cold.push(await one.generate(request).result());
      const warm = await all(one, requests);
      expect(statuses(cold[0])).not.toContain('hit');
      expect(warm.flatMap(statuses)).not.toContain('miss');
      expect(warm.map(numbers)).toEqual(cold.map(numbers));

      await using two = await load({ ...options, maxBatchTokens: 48 });
      expect((await all(two, requests)).map(numbers)).toEqual(cold.map(numbers));
    });
  },
);

it('answers as rounding lets it, not as without', async () => {
  const [request] = await requestsOf();
  const logprobsOf = async (options: LoadOptions) => {
    await using engine = await load(options);
    return (await engine.generate(request as GenerateRequest).result()).topLogprobs;
  };
  const stored = await logprobsOf({});
  expect(await logprobsOf({ dtype: 'int8' })).not.toEqual(stored);
  expect(await logprobsOf({ kvDtype: 'int8' })).not.toEqual(stored);
});

it('halves the memory of the weights, but of q, k and v in a layer whose scores it would blur', async () => {
  await using stored = await load({});
  await using int8 = await load({ dtype: 'int8' });
  await using random = await Engine.random(MODEL, { dtype: 'int8', device: 'cpu', cacheBytes: CACHE_BYTES });
  // A byte, and two for 64 of them, instead of two bytes.
  const bytes = (1 + 2 / 64) / 2;
  const kept = (4 + 2 + 2) * 64 * 192 * 2 * (1 - bytes);
  const whole = stored.stats().weightBytes;
  expect(int8.stats().weightBytes / (bytes * whole + kept)).toBeCloseTo(1, 3);
  expect(random.stats().weightBytes / (bytes * whole)).toBeCloseTo(1, 3);
});

it('holds nearly twice as many tokens in a cache of int8 as in one of bf16', async () => {
  const tokens = new Map<string, number>();
  for (const kvDtype of ['bf16', 'int8'] as const) {
    await using engine = await load({ kvDtype });
    await engine.encode([Array.from({ length: 100 }, (_, index) => index + 5)]);
    const { bytes, capacityBytes } = engine.stats().cache;
    const kv = (await inspectModel(MODEL, { kvDtype, cacheBytes: CACHE_BYTES })).kv;
    // In whole pages.
    const held = bytes / (kv?.bytesPerToken ?? 0);
    expect(Number.isInteger(held)).toBe(true);
    expect(held).toBeGreaterThanOrEqual(100);
    expect(held).toBeLessThan(164);
    expect(capacityBytes / (kv?.bytesPerToken ?? 0) / (kv?.cacheTokens ?? 0)).toBeCloseTo(1, 2);
    tokens.set(kvDtype, kv?.cacheTokens ?? 0);
  }
  // Of 64 values: a byte each and a scale of four, instead of two bytes each.
  expect((tokens.get('int8') ?? 0) / (tokens.get('bf16') ?? 0)).toBeCloseTo(128 / 68, 3);
});

it('refuses what there is not', async () => {
  const refused = (options: object, word: string) =>
    expectError(() => Engine.load(MODEL, options), 'INVALID_ARGUMENT', expect.stringContaining(word));
  await refused({ dtype: 'int4' }, 'dtype');
  await refused({ dtype: 'bf16' }, 'dtype');
  await refused({ kvDtype: 'f16' }, 'kvDtype');
  await refused({ kvDtype: 'int4' }, 'kvDtype');
  await refused({ arithmetic: 'bf16' }, 'arithmetic');
});

it.skipIf(noEmulation !== undefined)('is on the CPU only', async () => {
  const device = 'cuda-emulated';
  const unsupported = (options: LoadOptions) =>
    expectError(() => Engine.load(MODEL, { device, cacheBytes: 1 << 24, ...options }), 'UNSUPPORTED');
  await unsupported({ dtype: 'int8' });
  await unsupported({ kvDtype: 'int8' });
  await unsupported({ arithmetic: 'f32' });
});

async function requestsOf(): Promise<GenerateRequest[]> {
  const lines = (await readFile(`${MODEL}/demo.jsonl`, 'utf8')).trim().split('\n');
  return lines.map((line, index) => {
    const { documents, question } = JSON.parse(line);
    const attention = index % 3 === 0 ? 'full' : 'block';
    return {
      documents,
      query: question,
      attention,
      maxTokens: 12,
      logprobs: 50,
      temperature: index % 2,
      seed: 1,
    };
  });
}

const all = (engine: Engine, requests: readonly GenerateRequest[]) =>
  Promise.all(requests.map((request) => engine.generate(request).result()));
const statuses = (result: GenerationResult | undefined) =>
  result?.usage.blocks.map(({ status }) => status) ?? [];
/** All that must not depend on anything but the request. */
const numbers = ({ tokens, logprobs, topLogprobs, text }: GenerationResult) => ({
  tokens,
  logprobs,
  topLogprobs,
  text,
});
