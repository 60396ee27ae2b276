/** int8 weights kept on disk: what a load says of them, and that answers are the same with and without. */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Engine, type GenerationResult, type LoadOptions } from 'block-attention';
import { describe, expect, it } from 'vitest';
import { expectError } from '../errors.js';
import { temporaryFolder } from '../model/temporary-folder.js';
import { referenceModels } from './reference-cases.js';

const MODEL = 'models/tiny-rag';
/** What scripts/pack/run.sh runs has the real backend alone. */
const noEmulation = process.env.BLOCK_ATTENTION_PROGRAMS && 'the pack has no emulation';

const load = (options: LoadOptions, model = MODEL) =>
  Engine.load(model, { device: 'cpu', threads: 2, cacheBytes: 32 << 20, dtype: 'int8', ...options });

/** All that an answer is made of, and how the weights were come by. */
async function answer(weightsCache: string | undefined, model = MODEL) {
  await using engine = await load({ weightsCache }, model);
  const blocks = [
    [1, 2, 3, 4, 5, 6, 7, 8],
    [9, 10, 11],
  ];
  const request = { blocks, query: [12, 13], maxTokens: 6, temperature: 0, logprobs: 20, ignoreEos: true };
  const { tokens, logprobs, topLogprobs }: GenerationResult = await engine.generate(request).result();
  const { device, weightBytes } = engine.stats();
  return { numbers: { tokens, logprobs, topLogprobs, device, weightBytes }, report: engine.weightsCache };
}

describe.each(referenceModels.map(({ model, folder }) => ({ model, folder })))('$model', ({ folder }) => {
  it('gives the same bits out of the folder as without', async () => {
    const cache = temporaryFolder();
    const { numbers, report } = await answer(undefined, folder);
    expect(report).toBeUndefined();
    const first = await answer(cache, folder);
    const second = await answer(cache, folder);
    const [name] = readdirSync(cache);
    const file = join(cache, name ?? '');
    expect(first).toEqual({ numbers, report: { state: 'written', file } });
    expect(second).toEqual({ numbers, report: { state: 'read', file } });
    expect(readdirSync(cache)).toHaveLength(1);
  });
});

it('halves what is read', async () => {
  const cache = temporaryFolder();
  const { report } = await answer(cache);
  const stored = statSync(join(MODEL, 'model.safetensors')).size;
  expect(statSync(report?.file ?? '').size / stored).toBeLessThan(0.53);
});

it('makes a folder of any depth, and takes one beside the working directory', async () => {
  const folder = join(temporaryFolder(), 'a', 'b');
  const { report } = await answer(relative('.', folder));
  expect(report).toEqual({ state: 'written', file: join(folder, readdirSync(folder)[0] ?? '') });
});

it('says that a file was damaged, and mends it', async () => {
  const cache = temporaryFolder();
  const { numbers, report } = await answer(cache);
  const file = report?.file ?? '';
  const whole = readFileSync(file);
  for (const at of [0, 20, 100, whole.length >> 1, whole.length - 1]) {
    const changed = Buffer.from(whole);
    changed.writeUInt8(changed.readUInt8(at) ^ 0x10, at);
    writeFileSync(file, changed);
    const mended = await answer(cache);
    expect(mended).toEqual({
      numbers,
      report: { state: 'written', file, problem: expect.stringContaining(file) },
    });
    expect(readFileSync(file).equals(whole)).toBe(true);
  }
  writeFileSync(file, whole.subarray(0, 1000));
  expect((await answer(cache)).report).toMatchObject({ state: 'written' });
  expect((await answer(cache)).report).toEqual({ state: 'read', file });
});

it('goes on without a folder that cannot be used, and says why', async () => {
  const { numbers } = await answer(undefined);
  const folder = temporaryFolder({ file: 'not a folder' });
  const { numbers: same, report } = await answer(join(folder, 'file'));
  expect(same).toEqual(numbers);
  expect(report).toMatchObject({ state: 'failed', problem: expect.stringContaining(join(folder, 'file')) });
  expect(readdirSync(folder)).toEqual(['file']);
});

it('leaves nothing behind when loading is aborted', async () => {
  const cache = temporaryFolder();
  const abort = new AbortController();
  const onProgress = () => abort.abort();
  await expectError(() => load({ weightsCache: cache, signal: abort.signal, onProgress }), 'ABORTED');
  // The model is so small that it may have been there before the signal was.
  expect(readdirSync(cache).filter((name) => !name.endsWith('.int8'))).toEqual([]);
});

it('serves several engines at once', async () => {
  const cache = temporaryFolder();
  const all = await Promise.all(Array.from({ length: 3 }, () => answer(cache)));
  for (const { numbers, report } of all) {
    expect(numbers).toEqual(all[0]?.numbers);
    expect(report).toMatchObject({ state: expect.stringMatching(/^(read|written)$/) });
    expect(report?.problem).toBeUndefined();
  }
  expect(readdirSync(cache)).toHaveLength(1);
});

it('refuses what makes no sense', async () => {
  const refused = (options: object, message: string) =>
    expectError(() => load(options), 'INVALID_ARGUMENT', expect.stringContaining(message));
  await refused({ weightsCache: '' }, 'weightsCache');
  await refused({ weightsCache: 1 }, 'weightsCache');
  await refused({ weightsCache: 'a\0b' }, 'weightsCache');
  await refused({ weightsCache: 'a', dtype: undefined }, 'give it with dtype "int8"');
  const random = { weightsCache: 'a', dtype: 'int8' } as const;
  await expectError(
    () => Engine.random(MODEL, random),
    'INVALID_ARGUMENT',
    expect.stringContaining('no field'),
  );
});

it.skipIf(noEmulation !== undefined)('is of no use on a GPU, which has no int8', async () => {
  const weightsCache = temporaryFolder();
  const device = 'cuda-emulated';
  await expectError(
    () => load({ device, weightsCache }),
    'UNSUPPORTED',
    expect.stringContaining('dtype int8'),
  );
  expect(readdirSync(weightsCache)).toEqual([]);
});
