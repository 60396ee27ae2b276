import { copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { builtDevices, Engine, inspectModel } from 'block-attention';
import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '#lib/model/config.js';
import { expectedTensors } from '#lib/model/weights.js';
import { expectError } from '../errors.js';
import { tensorsFile, temporaryFolder } from '../model/temporary-folder.js';

const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: 40,
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
  rope_theta: 10_000,
  dtype: 'bfloat16',
};

/** Embedding and head, q and o, k and v, MLP, norms. */
const PARAMETERS = 2 * 40 * 16 + 2 * (2 * 16 * 16 + 2 * 8 * 16 + 3 * 16 * 32) + 16 * (2 * 2 + 1);

function folderOf(config: object, weights: object = CONFIG): string {
  const tensors = expectedTensors(parseModelConfig(weights, 'config.json'));
  return temporaryFolder({ 'config.json': config, 'model.safetensors': tensorsFile(tensors) });
}

describe('inspectModel', () => {
  it('counts parameters, bytes and what fits into a cache', async () => {
    const report = await inspectModel(folderOf(CONFIG), { cacheBytes: 1000 });
    expect(report).toMatchObject({
      supported: true,
      problems: [],
      architecture: 'LlamaForCausalLM',
      weights: { parameters: PARAMETERS, bytes: 2 * PARAMETERS, dtypes: ['bf16'] },
      shape: { layers: 2, kvHeads: 2, headDim: 4, contextLength: 512, windows: [] },
      // Keys and values, 2 layers, 2 heads of 4, 2 bytes.
      kv: { dtype: 'bf16', bytesPerToken: 64, cacheBytes: 1000, cacheTokens: 15 },
      memory: { fits: true },
      hasTokenizer: false,
      hasChatTemplate: false,
    });
    expect(report.shape?.rope).toEqual({ type: 'default', theta: 10_000, dim: 4 });
    const wide = await inspectModel(report.path, { kvDtype: 'f32', cacheBytes: 2 ** 52 });
    expect(wide).toMatchObject({ kv: { bytesPerToken: 128 }, memory: { fits: false } });
    // A byte for each of 4 values, and a scale of 4 bytes.
    const int8 = await inspectModel(report.path, { kvDtype: 'int8', cacheBytes: 1000 });
    expect(int8).toMatchObject({ kv: { dtype: 'int8', bytesPerToken: 64, cacheTokens: 15 } });
  });

  it.each(['bf16', 'f32', 'int8'] as const)(
    'agrees with the engine on the memory of weights and of a cache in %s',
    async (kvDtype) => {
      const options = { kvDtype, cacheBytes: 1 << 22 };
      await using engine = await Engine.load('models/tiny-rag', { device: 'cpu', ...options });
      const { weights, kv, ...report } = await inspectModel('models/tiny-rag', options);
      const { weightBytes, cache } = engine.stats();
      expect(Math.abs((weights?.bytes ?? 0) / weightBytes - 1)).toBeLessThan(0.05);
      // The engine's cache is cut to whole pages of 16 tokens.
      const tokens = cache.capacityBytes / (kv?.bytesPerToken ?? 0);
      expect(tokens).toBe(Math.floor((kv?.cacheTokens ?? 0) / 16) * 16);
      expect(report).toMatchObject({ supported: true, hasTokenizer: true, hasChatTemplate: true });
    },
  );

  it('says what GPU there is, as loading does', async () => {
    await using engine = await Engine.load('models/tiny-rag', { cacheBytes: 1 << 22 });
    const { cuda } = (await inspectModel('models/tiny-rag')).devices;
    if (cuda.available) {
      expect(engine.device).toContain(cuda.name);
      expect(engine.device).toContain(cuda.gemm);
    } else {
      expect(cuda).toEqual({ available: false, problem: engine.deviceProblem });
    }
    expect(builtDevices()).toContain('cpu');
    // The text is the addon's alone where it was built without CUDA.
    const notBuilt = /no CUDA backend/.test(cuda.available ? '' : cuda.problem);
    expect(builtDevices().includes('cuda')).toBe(!notBuilt);
  });

  it('tells windows of layers and scaled RoPE', async () => {
    const mistral = { ...CONFIG, architectures: ['MistralForCausalLM'], sliding_window: 64 };
    const scaled = { ...mistral, rope_scaling: { rope_type: 'linear', factor: 4 } };
    const { shape } = await inspectModel(folderOf(scaled, mistral));
    expect(shape).toMatchObject({
      rope: { type: 'linear', factor: 4 },
      windows: [{ tokens: 64, layers: 2 }],
    });
  });

  it.each([
    ['an architecture', { architectures: ['Gemma3ForCausalLM'] }, 'UNSUPPORTED', 'Gemma3ForCausalLM'],
    ['a kind of RoPE', { rope_scaling: { type: 'dynamic', factor: 2 } }, 'UNSUPPORTED', 'dynamic'],
    ['quantized weights', { quantization_config: { bits: 4 } }, 'UNSUPPORTED', 'quantization_config'],
    ['another shape', { intermediate_size: 48 }, 'MODEL_FORMAT', 'gate_proj'],
  ])('says what is unsupported: %s', async (_, changes, code, word) => {
    const report = await inspectModel(folderOf({ ...CONFIG, ...changes }));
    expect(report.supported).toBe(false);
    expect(report.problems).toEqual([{ code, message: expect.stringContaining(word) }]);
    // What can be read is still told.
    expect(report.weights?.parameters).toBe(PARAMETERS);
    expect(report.architecture).toBe({ ...CONFIG, ...changes }.architectures[0]);
    await expectError(() => Engine.load(report.path), code as 'UNSUPPORTED', expect.stringContaining(word));
  });

  it('reports all that is wrong, not the first thing alone', async () => {
    const folder = folderOf({ ...CONFIG, architectures: ['GPT2LMHeadModel'] });
    rmSync(join(folder, 'model.safetensors'));
    writeFileSync(join(folder, 'tokenizer.json'), '{"model": {"type": "WordPiece"}}');
    writeFileSync(join(folder, 'tokenizer_config.json'), '{"chat_template": 7}');
    const { problems, weights } = await inspectModel(folder);
    expect(problems.map(({ code }) => code)).toEqual(['UNSUPPORTED', 'IO', 'UNSUPPORTED', 'MODEL_FORMAT']);
    expect(weights).toBeUndefined();
  });

  it('refuses a tokenizer of another model', async () => {
    const folder = folderOf(CONFIG);
    copyFileSync('models/tiny-rag/tokenizer.json', join(folder, 'tokenizer.json'));
    const { problems } = await inspectModel(folder);
    expect(problems).toEqual([{ code: 'TOKENIZER_MISMATCH', message: expect.any(String) }]);
  });

  it('rejects what is no folder, and wrong options', async () => {
    await expectError(() => inspectModel('none'), 'IO');
    await expectError(() => inspectModel('models/tiny-rag', { cacheBytes: 0 }), 'INVALID_ARGUMENT');
    const signal = AbortSignal.abort();
    await expectError(() => inspectModel('models/tiny-rag', { signal }), 'ABORTED');
  });
});
