import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadParts, type NativeLoader, randomParts } from '#lib/engine/load.js';
import { memoryBytes } from '#lib/engine/load-options.js';
import { BlockAttentionError } from '#lib/errors.js';
import { FakeNative } from './fake-native.js';

const MODEL = 'models/tiny-rag';

/** A loader that waits for `go`, or fails when its signal fires. */
function fakeLoader(go: Promise<void> = Promise.resolve()) {
  const calls: Parameters<NativeLoader>[] = [];
  const made: FakeNative[] = [];
  const load: NativeLoader = async (...args) => {
    calls.push(args);
    const [, , , onEvents, onProgress, signal] = args;
    onProgress({ done: 1, total: 2 });
    const aborted = new Promise<never>((_resolve, reject) =>
      signal?.addEventListener('abort', () => reject(new BlockAttentionError('ABORTED', 'by the fake'))),
    );
    await Promise.race([go, aborted]);
    const native = new FakeNative({}, onEvents);
    made.push(native);
    return native;
  };
  return { load, calls, made };
}

describe('loading', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'block-attention-'));
    await cp(MODEL, folder, { recursive: true });
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('hands the folder and the options to the native engine', async () => {
    const { load, calls } = fakeLoader();
    const progress: number[] = [];
    const onProgress = ({ done, total }: { done: number; total: number }) => progress.push(done / total);
    const parts = await loadParts(folder, { threads: 3, cacheBytes: 5000, kvDtype: 'f32', onProgress }, load);
    const [config, weights, options] = calls[0] ?? [];
    expect(config).toEqual(parts.config.native);
    expect(weights).toMatchObject({ files: [join(folder, 'model.safetensors')] });
    expect(options).toEqual({
      device: 'auto',
      threads: 3,
      deterministic: false,
      float32: false,
      weightFormat: 'stored',
      kvDtype: 'f32',
      cacheBytes: 5000,
      memoryBytes: memoryBytes(),
      maxBatchTokens: 512,
      maxPositions: parts.config.maxPositions,
      profile: false,
    });
    expect(progress).toEqual([0.5]);
    expect(await parts.tokenizer?.encode(['a b'])).toHaveLength(1);
    await parts.tokenizer?.close();
  });

  it('does without a tokenizer if the folder has none', async () => {
    await rm(join(folder, 'tokenizer.json'));
    expect((await loadParts(folder, {}, fakeLoader().load)).tokenizer).toBeUndefined();
  });

  it('ends loading the weights when the tokenizer is broken, and says so', async () => {
    await writeFile(join(folder, 'tokenizer.json'), '{');
    const never = fakeLoader(new Promise(() => undefined));
    await expect(loadParts(folder, {}, never.load)).rejects.toMatchObject({ code: 'MODEL_FORMAT' });
    const ready = fakeLoader();
    await expect(loadParts(folder, {}, ready.load)).rejects.toMatchObject({ code: 'MODEL_FORMAT' });
    expect(ready.made.map(({ closed }) => closed)).toEqual([true]);
  });

  it('passes on what the native engine says', async () => {
    const load: NativeLoader = async () => {
      throw new BlockAttentionError('OUT_OF_MEMORY', 'planted');
    };
    await expect(loadParts(folder, {}, load)).rejects.toMatchObject({
      code: 'OUT_OF_MEMORY',
      message: 'planted',
    });
  });

  it('can be aborted, before and while it loads', async () => {
    const { load, calls } = fakeLoader(new Promise(() => undefined));
    const before = loadParts(folder, { signal: AbortSignal.abort() }, load);
    await expect(before).rejects.toMatchObject({ code: 'ABORTED' });
    expect(calls).toEqual([]);
    const controller = new AbortController();
    const { load: slow } = fakeLoader(new Promise(() => undefined));
    const loading = loadParts(folder, { signal: controller.signal }, slow);
    setTimeout(() => controller.abort('why'), 20);
    await expect(loading).rejects.toMatchObject({ code: 'ABORTED', cause: 'why' });
  });

  it('takes named shapes with random weights', async () => {
    const { load, calls } = fakeLoader();
    const parts = await randomParts('llama-3.1-8b', { seed: 5, dtype: 'f32' }, load);
    expect(calls[0]?.[1]).toEqual({ seed: 5, dtype: 'f32' });
    expect(parts.tokenizer).toBeUndefined();
    expect(parts.defaults.sampling.temperature).toBe(0);
  });
});
