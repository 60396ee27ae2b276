/** The ends that an answer and an engine can take, within one process. */
import { Engine, type GenerateRequest } from 'block-attention';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadSmall } from './programs/support.mjs';

const OPTIONS = { threads: 2, cacheBytes: 8 << 20 };
const request = (more: Partial<GenerateRequest> = {}): GenerateRequest => ({
  blocks: [[20, 21, 22]],
  query: [23],
  maxTokens: 60,
  // No token ends it.
  logitBias: { 0: -1e6, 1: -1e6, 2: -1e6, 3: -1e6, 4: -1e6 },
  ...more,
});

/** Decoding does not wait for JavaScript: an answer that a test cuts short must be long, or it ends on its own first. */
const LONG = 2000;

/** Resolves once the only free pages missing are those of cached blocks. */
async function pagesReturn(engine: Engine): Promise<void> {
  for (;;) {
    const { cache, running } = engine.stats();
    if (running === 0 && cache.freeBytes + cache.bytes === cache.capacityBytes) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('an answer', () => {
  let engine: Engine;
  beforeEach(async () => {
    engine = await Engine.load('models/tiny-rag', OPTIONS);
  });
  afterEach(() => engine.close());

  it('is aborted by an exception in the loop over it, which passes', async () => {
    const generation = engine.generate(request({ maxTokens: LONG }));
    const loop = async () => {
      for await (const _part of generation) throw new RangeError('the caller’s');
    };
    await expect(loop()).rejects.toThrow(new RangeError('the caller’s'));
    await expect(generation.result()).resolves.toMatchObject({ finishReason: 'aborted' });
    await pagesReturn(engine);
  });

  it('is aborted by leaving the loop', async () => {
    const generation = engine.generate(request({ maxTokens: LONG }));
    for await (const part of generation) if (part.tokens.length > 0) break;
    const { finishReason, tokens } = await generation.result();
    expect(finishReason).toBe('aborted');
    expect(tokens.length).toBeLessThan(LONG);
    await pagesReturn(engine);
  });

  it('comes to its end when nobody reads it', async () => {
    engine.generate(request());
    engine.generate(request())[Symbol.asyncIterator]();
    while (engine.stats().steps < 60) await new Promise((resolve) => setImmediate(resolve));
    await pagesReturn(engine);
  });
});

describe('close', () => {
  it('fails what runs and what waits', async () => {
    // Room for one such answer.
    const engine = await Engine.load('models/tiny-rag', { ...OPTIONS, cacheBytes: 6_000_000 });
    const generations = Array.from({ length: 6 }, () => engine.generate(request({ maxTokens: LONG })));
    for await (const _part of generations[0] ?? []) {
      await engine.close();
      break;
    }
    for (const generation of generations)
      await expect(generation.result()).rejects.toMatchObject({ code: 'CLOSED' });
    await engine.close();
  });

  it('lets everything end first if it drains', async () => {
    const engine = await Engine.load('models/tiny-rag', { ...OPTIONS, cacheBytes: 500_000 });
    const generations = Array.from({ length: 6 }, () => engine.generate(request()));
    const closed = engine.close({ drain: true });
    await expect(engine.generate(request()).result()).rejects.toMatchObject({ code: 'CLOSED' });
    for (const generation of generations)
      await expect(generation.result()).resolves.toMatchObject({ finishReason: 'length' });
    await closed;
  });

  it('may be called again and again, also while it drains', async () => {
    const engine = await Engine.load('models/tiny-rag', OPTIONS);
    const generation = engine.generate(request({ maxTokens: 100 }));
    const closings = [engine.close({ drain: true }), engine.close(), engine.close()];
    await Promise.all(closings);
    await expect(generation.result()).rejects.toMatchObject({ code: 'CLOSED' });
    await engine.close();
    expect(() => engine.stats()).toThrow(expect.objectContaining({ code: 'CLOSED' }));
  });

  it('of one engine leaves the other alone', async () => {
    await using one = await Engine.load('models/tiny-rag', OPTIONS);
    const other = await Engine.load('models/tiny-rag', OPTIONS);
    const [kept, lost] = [one.generate(request()), other.generate(request())];
    lost.result().catch(() => undefined);
    await other.close();
    await expect(kept.result()).resolves.toMatchObject({ finishReason: 'length' });
  });
});

describe('loading', () => {
  it('ends with what onProgress throws', async () => {
    const onProgress = () => {
      throw new RangeError('the caller’s');
    };
    await expect(Engine.load('models/tiny-rag', { ...OPTIONS, onProgress })).rejects.toThrow(RangeError);
  });

  it('is aborted in the middle of a large matrix', async () => {
    const controller = new AbortController();
    let progress = 0;
    let abortedAt = 0;
    const onProgress = ({ done, total }: { done: number; total: number }) => {
      progress = done / total;
      if (abortedAt > 0 || progress < 0.05) return;
      abortedAt = progress;
      controller.abort();
    };
    // Most of it is one embedding.
    const loading = loadSmall(undefined, {
      config: { vocabSize: 131_072, hiddenSize: 1024 },
      onProgress,
      signal: controller.signal,
    });
    await expect(loading).rejects.toMatchObject({ code: 'ABORTED' });
    expect(abortedAt).toBeGreaterThan(0);
    expect(abortedAt).toBeLessThan(0.5);
    expect(progress).toBeLessThan(0.7);
  });

  it('is aborted by its signal', async () => {
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    await expect(
      Engine.load('models/tiny-rag', { ...OPTIONS, onProgress, signal: controller.signal }),
    ).rejects.toMatchObject({ code: 'ABORTED' });
  });
});
