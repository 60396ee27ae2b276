import { existsSync } from 'node:fs';
import { Engine } from 'block-attention';
import { expect, it } from 'vitest';
import { withRandomModel } from '../../bench/common/random-model.mjs';

const SHAPE = {
  vocabSize: 300,
  hiddenSize: 32,
  intermediateSize: 64,
  numLayers: 2,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 16,
  tieWordEmbeddings: true,
  qkNorm: false,
};

it.each([
  ['Llama', SHAPE],
  ['Qwen3, untied', { ...SHAPE, tieWordEmbeddings: false, qkNorm: true }],
])('writes a folder of the architecture of %s that can be loaded', async (_name, shape) => {
  let seen = '';
  await withRandomModel(shape, async (folder, bytes) => {
    seen = folder;
    await using engine = await Engine.load(folder, { cacheBytes: 1 << 20 });
    expect(bytes).toBeGreaterThan(engine.stats().weightBytes / 2);
    const { tokens, logprobs } = await engine
      .generate({ query: [1, 2, 3], maxTokens: 4, logprobs: 0 })
      .result();
    expect(tokens).toHaveLength(4);
    // Random, but not degenerate: no token is certain, none impossible.
    for (const logprob of logprobs ?? []) expect(logprob).toBeGreaterThan(-20);
    for (const logprob of logprobs ?? []) expect(logprob).toBeLessThan(-0.01);
  });
  expect(existsSync(seen)).toBe(false);
});

it('removes the folder when its use fails', async () => {
  let seen = '';
  const failing = withRandomModel(SHAPE, async (folder) => {
    seen = folder;
    throw new Error('no');
  });
  await expect(failing).rejects.toThrow('no');
  expect(existsSync(seen)).toBe(false);
});
