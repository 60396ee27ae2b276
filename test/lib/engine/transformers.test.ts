/**
 * The engine against `transformers` in float32, on the random models and the shipped model of test/fixtures: every
 * log-probability of every step, and the same token wherever the margin is wide enough to ask for it.
 */
import { Engine, type LoadOptions } from 'block-attention';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { expectReference, type ReferenceCase, referenceModels, roundedTolerance } from './reference-cases.js';

const F32_TOLERANCE = 0.003;
const BF16_TOLERANCE = 0.05;

/**
 * With bf16 KV the trained model's tail (tokens of -20 nats) moves by more than 0.05 in the reference itself; there we
 * must be as close to the reference with rounded keys and values as float32 is to float32.
 */
function bf16KvTolerance({ bf16Kv }: ReferenceCase): number {
  return Math.max(BF16_TOLERANCE, (bf16Kv ?? 0) + F32_TOLERANCE);
}

const ROUNDINGS: { title: string; options: LoadOptions; toleranceOf: (one: ReferenceCase) => number }[] = [
  {
    title: 'f32 KV',
    options: { kvDtype: 'f32', arithmetic: 'f32' },
    toleranceOf: () => F32_TOLERANCE,
  },
  { title: 'bf16 KV', options: { kvDtype: 'bf16', arithmetic: 'f32' }, toleranceOf: bf16KvTolerance },
  { title: 'bf16 KV, bf16 products if the CPU has them', options: {}, toleranceOf: roundedTolerance },
];

describe.each(referenceModels)('$model', (reference) => {
  describe.each(ROUNDINGS)('$title', ({ options, toleranceOf }) => {
    let engine: Engine;
    beforeAll(async () => {
      engine = await Engine.load(reference.folder, {
        device: 'cpu',
        cacheBytes: 64 << 20,
        threads: 2,
        ...options,
      });
    });
    afterAll(() => engine.close());

    it.each(reference.cases)('$title', (expected) =>
      expectReference(engine, reference, expected, toleranceOf(expected)),
    );
  });
});
