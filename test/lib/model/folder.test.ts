// Model folders as a whole: what is read, generation defaults, and what is missing.
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '#lib/model/config.js';
import { loadModelFolder } from '#lib/model/folder.js';
import { parseGenerationConfig } from '#lib/model/generation-config.js';
import { namedShape, SHAPE_NAMES } from '#lib/model/shapes.js';
import { expectedTensors } from '#lib/model/weights.js';
import { expectError } from '../errors.js';
import { temporaryFolder, tensorsFile } from './temporary-folder.js';

const root = join(import.meta.dirname, '../../..');

const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: 20,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  max_position_embeddings: 64,
  eos_token_id: [2, 3],
};
const config = parseModelConfig(CONFIG, 'config.json');
const weights = tensorsFile(expectedTensors(config));
/** The path of a file that is there, and empty. */
function touched(path: string): string {
  writeFileSync(path, '');
  return path;
}
const NEUTRAL = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };

describe('loadModelFolder', () => {
  it('reads the model that the package ships', async () => {
    const folder = await loadModelFolder(join(root, 'models/tiny-rag'));
    expect(folder.path).toBe(join(root, 'models/tiny-rag'));
    expect(folder.config).toMatchObject({
      architecture: 'LlamaForCausalLM',
      maxPositions: 8192,
      dtype: 'bf16',
    });
    expect(folder.config.native).toMatchObject({ vocabSize: 2255, headDim: 64, tieWordEmbeddings: true });
    expect(folder.weights.tensors).toHaveLength(47);
    expect(folder.generation).toEqual({ eosTokenIds: [0], sampling: NEUTRAL, given: ['temperature'] });
    expect(folder.tokenizer).toEqual({ path: join(root, 'models/tiny-rag/tokenizer.json') });
  });

  it('needs neither tokenizer nor generation_config.json, and takes a relative path', async () => {
    const path = temporaryFolder({ 'config.json': CONFIG, 'model.safetensors': weights });
    const folder = await loadModelFolder(`${path}/../${path.split('/').at(-1)}/`);
    expect(folder.path).toBe(path);
    expect(folder.tokenizer).toBeUndefined();
    expect(folder.generation).toEqual({ eosTokenIds: [2, 3], sampling: NEUTRAL, given: [] });
  });

  it('names what is missing', async () => {
    const path = temporaryFolder({ 'model.safetensors': weights });
    await expectError(
      () => loadModelFolder(join(path, 'no')),
      'IO',
      expect.stringContaining(join(path, 'no')),
    );
    await expectError(
      () => loadModelFolder(join(path, 'model.safetensors')),
      'IO',
      expect.stringContaining('not a folder'),
    );
    const message = `Cannot read ${join(path, 'config.json')}: it does not exist.`;
    await expectError(() => loadModelFolder(path), 'IO', message);
    mkdirSync(join(path, 'config.json'));
    await expectError(() => loadModelFolder(path), 'IO', expect.stringContaining('config.json'));
  });

  it('names a field that Python wrote as NaN', async () => {
    const nan = JSON.stringify({ ...CONFIG, rms_norm_eps: 1 }).replace(
      '"rms_norm_eps":1',
      '"rms_norm_eps": NaN',
    );
    const path = temporaryFolder({ 'config.json': nan, 'model.safetensors': weights });
    const message = `${join(path, 'config.json')}: rms_norm_eps is NaN, expected JSON.`;
    await expectError(() => loadModelFolder(path), 'MODEL_FORMAT', message);
  });

  it('names a file that is not JSON, or not an object', async () => {
    const path = temporaryFolder({ 'config.json': '{"a": }', 'model.safetensors': weights });
    await expectError(
      () => loadModelFolder(path),
      'MODEL_FORMAT',
      expect.stringContaining('config.json is not JSON'),
    );
    writeFileSync(join(path, 'config.json'), JSON.stringify(CONFIG));
    writeFileSync(join(path, 'generation_config.json'), '[]');
    await expectError(
      () => loadModelFolder(path),
      'MODEL_FORMAT',
      expect.stringContaining('generation_config.json'),
    );
  });

  it('reads no file that is larger than any of its kind, and takes no time over it', async () => {
    for (const name of ['config.json', 'generation_config.json', 'tokenizer_config.json']) {
      const path = temporaryFolder({ 'config.json': CONFIG, 'model.safetensors': weights });
      // A gigabyte, of which nothing is on the disk.
      truncateSync(touched(join(path, name)), 2 ** 30);
      const message = expect.stringContaining(`${name} has 1073741824 bytes`);
      await expectError(() => loadModelFolder(path), 'MODEL_FORMAT', message);
    }
    const path = temporaryFolder({ 'config.json': CONFIG });
    truncateSync(touched(join(path, 'model.safetensors.index.json')), 2 ** 30);
    await expectError(
      () => loadModelFolder(path),
      'MODEL_FORMAT',
      expect.stringContaining('1073741824 bytes'),
    );
  });

  it('follows links, as the folders of the Hugging Face cache are made of them', async () => {
    const blobs = temporaryFolder({ c: CONFIG, w: weights, t: '{}' });
    const path = temporaryFolder();
    symlinkSync(join(blobs, 'c'), join(path, 'config.json'));
    symlinkSync(relative(path, join(blobs, 'w')), join(path, 'model.safetensors'));
    symlinkSync(join(blobs, 't'), join(path, 'tokenizer.json'));
    const folder = await loadModelFolder(path);
    // Under the names in the folder: where a link leads is the system's affair.
    expect(folder.weights.files).toEqual([join(path, 'model.safetensors')]);
    expect(folder.tokenizer).toEqual({ path: join(path, 'tokenizer.json') });
    const linked = join(temporaryFolder(), 'model');
    symlinkSync(path, linked);
    expect((await loadModelFolder(linked)).path).toBe(linked);
  });

  it('says IO of links that lead nowhere, round in a circle, or to something else', async () => {
    const targets = { nowhere: '/no/such/file', circle: 'config.json', folder: '.', device: '/dev/zero' };
    for (const [what, target] of Object.entries(targets)) {
      const path = temporaryFolder({ 'model.safetensors': weights });
      symlinkSync(target, join(path, 'config.json'));
      await expectError(() => loadModelFolder(path), 'IO', expect.stringContaining('config.json'));
      const other = temporaryFolder({ 'config.json': CONFIG });
      symlinkSync(what === 'circle' ? 'model.safetensors' : target, join(other, 'model.safetensors'));
      await expectError(() => loadModelFolder(other), 'IO');
    }
  });

  it('can be aborted', async () => {
    const path = temporaryFolder({ 'config.json': CONFIG, 'model.safetensors': weights });
    await expectError(() => loadModelFolder(path, { signal: AbortSignal.abort() }), 'ABORTED');
    const controller = new AbortController();
    const loading = loadModelFolder(path, { signal: controller.signal });
    controller.abort();
    await expectError(() => loading, 'ABORTED');
  });
});

describe('generation_config.json', () => {
  const parse = (json: unknown) => parseGenerationConfig(json, 'generation_config.json', config);

  it('ends an answer at the ids of both files', () => {
    expect(parse({}).eosTokenIds).toEqual([2, 3]);
    expect(parse({ eos_token_id: 5 }).eosTokenIds).toEqual([5, 2, 3]);
    expect(parse({ eos_token_id: [3, 7] }).eosTokenIds).toEqual([3, 7, 2]);
    expect(parse({ eos_token_id: null }).eosTokenIds).toEqual([2, 3]);
  });

  it('samples only if do_sample says so', () => {
    expect(parse({ temperature: 0.6 })).toMatchObject({ sampling: NEUTRAL, given: [] });
    expect(parse({ do_sample: false, temperature: 0.6 })).toMatchObject({
      sampling: NEUTRAL,
      given: ['temperature'],
    });
    expect(parse({ do_sample: true }).sampling).toEqual({ ...NEUTRAL, temperature: 1 });
    expect(parse({ do_sample: true, temperature: 0.6 }).sampling).toEqual({ ...NEUTRAL, temperature: 0.6 });
  });

  it('takes over the rules that it names, and no others', () => {
    const qwen = { do_sample: true, temperature: 0.7, top_k: 20, top_p: 0.8, repetition_penalty: 1.05 };
    expect(parse({ ...qwen, min_p: 0.1, max_new_tokens: 7, num_beams: 4, pad_token_id: -1 })).toMatchObject({
      sampling: { temperature: 0.7, topK: 20, topP: 0.8, minP: 0.1, repetitionPenalty: 1.05 },
      given: ['temperature', 'topK', 'topP', 'minP', 'repetitionPenalty'],
    });
    expect(parse({ do_sample: true, top_k: null }).given).toEqual(['temperature']);
    expect(parse({ repetition_penalty: 1.1 }).sampling).toEqual({ ...NEUTRAL, repetitionPenalty: 1.1 });
  });

  it.each([
    ['do_sample', 'yes'],
    ['temperature', -1],
    ['temperature', 'hot'],
    ['top_k', 1.5],
    ['top_k', -1],
    ['top_p', 1.5],
    ['min_p', -0.1],
    ['repetition_penalty', 0],
    ['eos_token_id', 20],
    ['eos_token_id', '</s>'],
  ])('a wrong %s: %o', async (field, value) => {
    const message = expect.stringContaining(`generation_config.json: ${field} is`);
    await expectError(() => parse({ [field]: value }), 'MODEL_FORMAT', message);
  });
});

describe('named shapes', () => {
  it.each(SHAPE_NAMES)('%s has room for 32K tokens and no end token', (name) => {
    const shape = namedShape(name);
    expect(shape.maxPositions).toBeGreaterThanOrEqual(32_768 + 4096);
    expect(shape.eosTokenIds).toEqual([]);
    expect(shape.dtype).toBe('bf16');
  });

  it('have the sizes of the models', () => {
    const parameters = (name: string) => {
      let sum = 0;
      for (const shape of expectedTensors(namedShape(name)).values()) sum += shape.reduce((a, b) => a * b, 1);
      return sum;
    };
    expect(parameters('smollm2-135m')).toBe(134_515_008);
    expect(parameters('llama-3.2-1b')).toBe(1_235_814_400);
    expect(parameters('llama-3.2-3b')).toBe(3_212_749_824);
    expect(parameters('llama-3.1-8b')).toBe(8_030_261_248);
    expect(parameters('qwen3-0.6b')).toBe(596_049_920);
    expect(parameters('qwen3-8b')).toBe(8_190_735_360);
    expect(namedShape('smollm2-135m').native.invFreq[1]).toBeCloseTo(100_000 ** (-2 / 64), 12);
  });

  it('are refused by another name', async () => {
    await expectError(() => namedShape('gpt-5'), 'INVALID_ARGUMENT', expect.stringContaining('smollm2-135m'));
    await expectError(() => namedShape('constructor'), 'INVALID_ARGUMENT');
  });
});
