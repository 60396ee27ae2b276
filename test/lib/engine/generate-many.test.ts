import { Engine } from 'block-attention';
import { expect, it } from 'vitest';
import { expectError } from '../errors.js';

const REQUEST = {
  documents: [{ title: 'Liros', text: 'Liros lies on the river Shornos.' }],
  query: 'What is Liros?',
  temperature: 2,
  maxTokens: 12,
  ignoreEos: true,
};

it('gives answers of following seeds, over blocks that are encoded once', async () => {
  await using engine = await Engine.load('models/tiny-rag', { cacheBytes: 1 << 24, threads: 1 });
  const many = await Promise.all(engine.generateMany({ ...REQUEST, seed: 7 }, 3).map((one) => one.result()));
  expect(engine.stats().cache).toMatchObject({ misses: 2, hits: 4 });
  for (const [i, { tokens }] of many.entries()) {
    expect(tokens).toEqual((await engine.generate({ ...REQUEST, seed: 7 + i }).result()).tokens);
  }
  expect(new Set(many.map(({ text }) => text)).size).toBe(3);

  const random = await Promise.all(engine.generateMany(REQUEST, 2).map((one) => one.result()));
  expect(random[0]?.tokens).not.toEqual(random[1]?.tokens);

  await expectError(() => engine.generateMany(REQUEST, 0), 'INVALID_ARGUMENT');
  const [wrong] = engine.generateMany({ ...REQUEST, seed: '1' as unknown as number }, 1);
  await expectError(() => wrong?.result(), 'INVALID_ARGUMENT');
});

it('streams log-probabilities token by token', async () => {
  await using engine = await Engine.load('models/tiny-rag', { cacheBytes: 1 << 24, threads: 1 });
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
