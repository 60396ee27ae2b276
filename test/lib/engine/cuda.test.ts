/**
 * The engine on a GPU: against `transformers` as on the CPU, and against the CPU token for token. Without a card the tests
 * of device 'cuda' are skipped, and the same kernels run in an emulation on the CPU, over fewer cases.
 */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { BlockAttentionError, Engine } from 'block-attention';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectError } from '../errors.js';
import {
  expectReference,
  gpuTolerance,
  type ReferenceModel,
  referenceModels,
  tokensOf,
} from './reference-cases.js';

const TINY_RAG = 'models/tiny-rag';

/** Why there is no GPU here; undefined if there is one. */
async function whyNoGpu(): Promise<string | undefined> {
  try {
    const engine = await Engine.load(TINY_RAG, { device: 'cuda', cacheBytes: 1 << 24 });
    await engine.close();
    return undefined;
  } catch (error) {
    if (error instanceof BlockAttentionError && error.code === 'DEVICE_UNAVAILABLE') return error.message;
    throw error;
  }
}

const noGpu = await whyNoGpu();
/** What scripts/pack/run.sh runs has the real backend alone. */
const noEmulation = process.env.BLOCK_ATTENTION_PROGRAMS && 'the pack has no emulation';

const DEVICES = [
  { device: 'cuda', casesOf: ({ cases }: ReferenceModel) => cases, skipped: noGpu },
  { device: 'cuda-emulated', casesOf: shortOfEachMode, skipped: noEmulation },
] as const;

/** The shortest of all and of each mode: the emulation takes a second for some hundred tokens of the small models. */
function shortOfEachMode({ cases }: ReferenceModel) {
  const sorted = [...cases].sort((a, b) => tokensOf(a) - tokensOf(b));
  const ofModes = (['block', 'full', 'prefix'] as const).flatMap(
    (mode) => sorted.find((one) => one.mode === mode && one.blocks.length > 1) ?? [],
  );
  return [...new Set([...sorted.slice(0, 1), ...ofModes])];
}

describe.each(DEVICES)('$device', ({ device, casesOf, skipped }) => {
  describe.skipIf(skipped !== undefined)(skipped === undefined ? 'runs' : `skipped: ${skipped}`, () => {
    const load = (folder: string) =>
      Engine.load(folder, { device, deterministic: true, cacheBytes: 64 << 20, threads: 1 });

    describe.each(referenceModels)('$model', (reference) => {
      let engine: Engine;
      beforeAll(async () => {
        engine = await load(reference.folder);
      });
      afterAll(() => engine.close());

      it.each(casesOf(reference))(
        '$title',
        (expected) => expectReference(engine, reference, expected, gpuTolerance(reference, expected)),
        300_000,
      );
    });

    it("gives the CPU's answer on the shipped model", { timeout: 300_000 }, async () => {
      const request = {
        documents: [
          { title: 'Liros', text: 'Liros lies on the river Shornos.' },
          { title: 'Vea', text: 'Vea was founded by Luta Flinnos.' },
        ],
        query: 'Who founded Vea?',
      };
      await using cpu = await Engine.load(TINY_RAG, { device: 'cpu', cacheBytes: 1 << 24 });
      await using gpu = await load(TINY_RAG);
      expect(gpu.device).toMatch(/^cuda /);
      const [expected, answer] = await Promise.all(
        [cpu, gpu].map((engine) => engine.generate(request).result()),
      );
      expect(answer?.text).toBe(expected?.text);
      expect(answer?.tokens).toEqual(expected?.tokens);
      expect(answer?.tokens.length).toBeGreaterThan(2);
      expect(answer?.flops).toEqual(expected?.flops);
    });

    it('takes keys and values of the type of its activations only', () =>
      expectError(
        () => Engine.load(TINY_RAG, { device, cacheBytes: 1 << 24, kvDtype: 'f32' }),
        'UNSUPPORTED',
      ));
  });
});

describe.skipIf(noEmulation !== undefined)('a GPU that is there', () => {
  it('is described, in any thread, while the event loop runs', async () => {
    // No engine asks the addon with the emulation.
    const addon = createRequire(import.meta.url)('bindings')({
      bindings: 'block_attention_emulated',
      module_root: resolve('.'),
    });
    expect(addon.devices).toEqual(['cpu', 'cuda-emulated']);
    const [gpu, again] = await Promise.all([addon.findGpu(), addon.findGpu('ignored', Symbol('ignored'))]);
    expect(gpu).toEqual({
      available: true,
      name: expect.stringMatching(/emulat/i),
      computeCapability: expect.stringMatching(/^\d+\.\d$/),
      memoryBytes: expect.any(Number),
      gemm: 'own GEMM (mma.sync)',
      gemmProblem: 'there is no cuBLASLt for an emulated GPU',
    });
    expect(again).toEqual(gpu);
  });
});

describe("device 'auto'", () => {
  it.each([{ dtype: 'int8' }, { kvDtype: 'int8' }, { kvDtype: 'f32' }, { arithmetic: 'f32' }] as const)(
    'takes the CPU for %o, which it alone computes',
    async (option) => {
      await using engine = await Engine.load(TINY_RAG, { ...option, cacheBytes: 1 << 24 });
      expect(engine.device).toMatch(/^cpu /);
      const [value] = Object.values(option);
      const why = noGpu === undefined ? `${value} is computed on the CPU alone` : noGpu;
      expect(engine.deviceProblem).toContain(why);
    },
  );

  it('takes the CPU where there is no GPU, and says why', async () => {
    await using engine = await Engine.load(TINY_RAG, { cacheBytes: 1 << 24 });
    expect(engine.device).toMatch(noGpu === undefined ? /^cuda / : /^cpu /);
    expect(engine.deviceProblem).toBe(noGpu);
  });
});
