// config.json of all supported architectures, in the spellings of transformers 4 and 5.
import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '#lib/model/config.js';
import { expectError } from '../errors.js';

const SIZES = {
  vocab_size: 128,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 4096,
};

const ARCHITECTURE = {
  llama: 'LlamaForCausalLM',
  mistral: 'MistralForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
} as const;

type Family = keyof typeof ARCHITECTURE;
const FAMILIES = Object.keys(ARCHITECTURE) as Family[];

function parse(family: Family, fields: object = {}) {
  const entries = Object.entries({ architectures: [ARCHITECTURE[family]], ...SIZES, ...fields });
  return parseModelConfig(
    Object.fromEntries(entries.filter(([, value]) => value !== undefined)),
    'config.json',
  );
}

/** Takes fields out of those that `parse` puts in. */
function without(...names: string[]): object {
  return Object.fromEntries(names.map((name) => [name, undefined]));
}

describe('sizes', () => {
  it('are taken over', () => {
    const { native, maxPositions, architecture } = parse('llama', { rms_norm_eps: 1e-5 });
    expect(architecture).toBe('LlamaForCausalLM');
    expect(maxPositions).toBe(4096);
    expect(native).toMatchObject({
      vocabSize: 128,
      hiddenSize: 64,
      intermediateSize: 96,
      numLayers: 4,
      numHeads: 4,
      numKvHeads: 2,
      headDim: 16,
      rmsNormEps: 1e-5,
      tieWordEmbeddings: false,
      qkNorm: false,
      windows: [0, 0, 0, 0],
      ropeAttentionFactor: 1,
    });
    expect(native.invFreq).toHaveLength(8);
  });

  it.each(FAMILIES)('%s: head_dim may be given, null or absent', (family) => {
    expect(parse(family, { head_dim: 32 }).native.headDim).toBe(32);
    expect(parse(family, { head_dim: null }).native.headDim).toBe(16);
    expect(parse(family).native.headDim).toBe(family === 'qwen3' ? 128 : 16);
  });

  it('head_dim frees hidden_size from being a multiple of the heads', async () => {
    expect(parse('llama', { head_dim: 32, hidden_size: 66 }).native.headDim).toBe(32);
    expect(parse('qwen3', { hidden_size: 66 }).native.headDim).toBe(128);
    const message = expect.stringContaining(
      'hidden_size is 66, expected a multiple of num_attention_heads (4)',
    );
    await expectError(() => parse('llama', { hidden_size: 66 }), 'MODEL_FORMAT', message);
  });

  it('KV heads have the default of the config class if absent, one for each head if null', () => {
    const kvHeads = (family: Family, fields: object) =>
      parse(family, { num_attention_heads: 64, head_dim: 16, ...fields }).native.numKvHeads;
    expect(FAMILIES.map((family) => kvHeads(family, without('num_key_value_heads')))).toEqual([
      64, 8, 32, 32,
    ]);
    for (const family of FAMILIES) expect(kvHeads(family, { num_key_value_heads: null })).toBe(64);
  });

  it('YaRN raises the number of positions, never lowers it', () => {
    const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 4096 };
    expect(parse('qwen2', { rope_parameters: yarn }).maxPositions).toBe(16_384);
    const short = { ...yarn, original_max_position_embeddings: 256 };
    expect(parse('qwen2', { rope_parameters: short }).maxPositions).toBe(4096);
  });

  it('the epsilon of the norms has the default of the config classes', () => {
    for (const family of FAMILIES) expect(parse(family).native.rmsNormEps).toBe(1e-6);
  });
});

describe('traits of the architectures', () => {
  it('embeddings are tied only if the file says so', () => {
    for (const family of FAMILIES) {
      expect(parse(family).native.tieWordEmbeddings).toBe(false);
      expect(parse(family, { tie_word_embeddings: true }).native.tieWordEmbeddings).toBe(true);
    }
  });

  it('biases', () => {
    const biases = (fields: object) => FAMILIES.map((family) => parse(family, fields).attentionBias);
    expect(biases({})).toEqual(['none', 'none', 'qkv', 'none']);
    expect(biases({ attention_bias: true })).toEqual(['qkvo', 'none', 'qkv', 'qkvo']);
    expect(FAMILIES.map((family) => parse(family, { mlp_bias: true }).mlpBias)).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });

  it('only Qwen3 has QK-norm', () => {
    expect(FAMILIES.map((family) => parse(family).native.qkNorm)).toEqual([false, false, false, true]);
  });

  it('is found by model_type if there are no architectures', () => {
    expect(parse('llama', { architectures: null, model_type: 'qwen2' }).architecture).toBe(
      'Qwen2ForCausalLM',
    );
    expect(parse('llama', { architectures: [], model_type: 'mistral' }).architecture).toBe(
      'MistralForCausalLM',
    );
  });
});

describe('sliding windows', () => {
  const windows = (family: Family, fields: object) => parse(family, fields).native.windows;

  it('Llama has none, whatever the file says', () => {
    expect(windows('llama', { sliding_window: 64, use_sliding_window: true })).toEqual([0, 0, 0, 0]);
  });

  it('Mistral windows all layers, none if null, 4096 if absent', () => {
    expect(windows('mistral', { sliding_window: 64 })).toEqual([64, 64, 64, 64]);
    expect(windows('mistral', { sliding_window: null })).toEqual([0, 0, 0, 0]);
    expect(windows('mistral', {})).toEqual([4096, 4096, 4096, 4096]);
  });

  it.each(['qwen2', 'qwen3'] as const)('%s windows layers from max_window_layers on', (family) => {
    const on = { use_sliding_window: true, sliding_window: 64 };
    expect(windows(family, { ...on, max_window_layers: 1 })).toEqual([0, 64, 64, 64]);
    expect(windows(family, { ...on, max_window_layers: 0 })).toEqual([64, 64, 64, 64]);
    expect(windows(family, on)).toEqual([0, 0, 0, 0]);
    expect(windows(family, { ...on, max_window_layers: 3, sliding_window: undefined })).toEqual([
      0, 0, 0, 4096,
    ]);
    expect(windows(family, { ...on, max_window_layers: 0, sliding_window: null })).toEqual([0, 0, 0, 0]);
    expect(windows(family, { sliding_window: 64, max_window_layers: 1 })).toEqual([0, 0, 0, 0]);
  });

  it.each(['qwen2', 'qwen3'] as const)('%s: layer_types win over max_window_layers', (family) => {
    const layer_types = ['sliding_attention', 'full_attention', 'full_attention', 'sliding_attention'];
    const fields = { use_sliding_window: true, sliding_window: 64, max_window_layers: 1, layer_types };
    expect(windows(family, fields)).toEqual([64, 0, 0, 64]);
    expect(windows(family, { ...fields, use_sliding_window: false })).toEqual([0, 0, 0, 0]);
  });
});

describe('token ids and types', () => {
  it('eos is a number, a list, null or absent', () => {
    expect(parse('llama', { eos_token_id: 5 }).eosTokenIds).toEqual([5]);
    expect(parse('llama', { eos_token_id: [5, 7] }).eosTokenIds).toEqual([5, 7]);
    expect(parse('llama', { eos_token_id: null }).eosTokenIds).toEqual([]);
    expect(FAMILIES.map((family) => parse(family).eosTokenIds)).toEqual([[2], [2], [], []]);
  });

  it('bos is a number, null or absent', () => {
    expect(parse('qwen2', { bos_token_id: 3 }).bosTokenId).toBe(3);
    expect(parse('llama', { bos_token_id: null }).bosTokenId).toBeUndefined();
    expect(FAMILIES.map((family) => parse(family).bosTokenId)).toEqual([1, 1, undefined, undefined]);
  });

  it('dtype in both spellings', () => {
    expect(parse('llama', { dtype: 'bfloat16' }).dtype).toBe('bf16');
    expect(parse('llama', { torch_dtype: 'float16' }).dtype).toBe('f16');
    expect(parse('llama', { torch_dtype: 'torch.bfloat16' }).dtype).toBe('bf16');
    expect(parse('llama', { dtype: 'float32', torch_dtype: 'float16' }).dtype).toBe('f32');
    expect(parse('llama').dtype).toBe('f32');
  });
});

describe('not supported', () => {
  it.each([
    ['architectures ["MixtralForCausalLM"]', { architectures: ['MixtralForCausalLM'] }],
    [
      'architectures ["LlamaForSequenceClassification"]',
      { architectures: ['LlamaForSequenceClassification'] },
    ],
    ['model_type "gemma3"', { architectures: null, model_type: 'gemma3' }],
    ['hidden_act "gelu"', { hidden_act: 'gelu' }],
    ['quantization_config {"quant_method":"gptq"}', { quantization_config: { quant_method: 'gptq' } }],
    ['num_local_experts 8', { num_local_experts: 8 }],
    ['num_experts 128', { num_experts: 128 }],
    ['rope_interleaved true', { rope_interleaved: true }],
    ['dtype "float8_e4m3fn"', { dtype: 'float8_e4m3fn' }],
    ['torch_dtype "float64"', { torch_dtype: 'float64' }],
    ['rope_scaling.rope_type "dynamic"', { rope_scaling: { rope_type: 'dynamic', factor: 2 } }],
    ['rope_scaling.rope_type "longrope"', { rope_scaling: { rope_type: 'longrope' } }],
  ])('%s', async (named, fields) => {
    await expectError(
      () => parse('llama', fields),
      'UNSUPPORTED',
      expect.stringContaining(`config.json: ${named} is not`),
    );
  });

  it('other kinds of layers', async () => {
    const layer_types = new Array(4).fill('chunked_attention');
    const fields = { use_sliding_window: true, sliding_window: 64, layer_types };
    await expectError(
      () => parse('qwen3', fields),
      'UNSUPPORTED',
      expect.stringContaining('chunked_attention'),
    );
  });
});

describe('wrong', () => {
  it.each([
    ['num_attention_heads', { num_attention_heads: 0 }],
    ['num_hidden_layers', { num_hidden_layers: 1e9 }],
    ['num_hidden_layers', { num_hidden_layers: -1 }],
    ['num_hidden_layers', { num_hidden_layers: '4' }],
    ['vocab_size', { vocab_size: 1.5 }],
    ['vocab_size', { vocab_size: Number.MAX_SAFE_INTEGER }],
    ['hidden_size', { hidden_size: true }],
    ['intermediate_size', { intermediate_size: [96] }],
    ['num_key_value_heads', { num_key_value_heads: 3 }],
    ['num_key_value_heads', { num_key_value_heads: 8 }],
    ['head_dim', { head_dim: 15 }],
    ['head_dim', { head_dim: 4096 }],
    ['max_position_embeddings', { max_position_embeddings: 0 }],
    ['rms_norm_eps', { rms_norm_eps: Number.NaN }],
    ['rms_norm_eps', { rms_norm_eps: 'NaN' }],
    ['rms_norm_eps', { rms_norm_eps: -1e-6 }],
    ['tie_word_embeddings', { tie_word_embeddings: 'yes' }],
    ['architectures', { architectures: 'LlamaForCausalLM' }],
    ['architectures', { architectures: [7] }],
    ['eos_token_id', { eos_token_id: 128 }],
    ['eos_token_id', { eos_token_id: [2, -1] }],
    ['bos_token_id', { bos_token_id: 'x' }],
    ['dtype', { dtype: 16 }],
    ['attention_bias', { attention_bias: 1 }],
  ])('%s %o', async (field, fields) => {
    await expectError(
      () => parse('llama', fields),
      'MODEL_FORMAT',
      expect.stringContaining(`config.json: ${field} is`),
    );
  });

  it.each(Object.keys(SIZES).filter((name) => name !== 'num_key_value_heads'))(
    '%s missing',
    async (field) => {
      const message = `config.json: ${field} is missing.`;
      await expectError(() => parse('llama', without(field)), 'MODEL_FORMAT', message);
      await expectError(() => parse('llama', { [field]: null }), 'MODEL_FORMAT', message);
    },
  );

  it('a window of 0, a list of layer types of another length', async () => {
    await expectError(() => parse('mistral', { sliding_window: 0 }), 'MODEL_FORMAT');
    const fields = { use_sliding_window: true, layer_types: ['full_attention'] };
    await expectError(
      () => parse('qwen2', fields),
      'MODEL_FORMAT',
      expect.stringContaining('each of 4 layers'),
    );
  });

  it('the file is not an object, or says nothing of the architecture', async () => {
    for (const json of [null, [], 'x', 3])
      await expectError(() => parseModelConfig(json, 'config.json'), 'MODEL_FORMAT');
    await expectError(
      () => parseModelConfig({}, 'config.json'),
      'MODEL_FORMAT',
      'config.json: architectures is missing.',
    );
  });

  it('values of more levels than there is stack for', async () => {
    const levels: unknown = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`);
    for (const fields of [
      { architectures: levels },
      { vocab_size: levels },
      { rope_scaling: { rope_type: 'linear', factor: levels } },
    ])
      await expectError(() => parse('llama', fields), 'MODEL_FORMAT');
  });

  it('long values are cut in messages', async () => {
    const fields = { hidden_act: 'x'.repeat(1000) };
    await expectError(() => parse('llama', fields), 'UNSUPPORTED', expect.stringMatching(/^.{1,300}$/));
  });
});
