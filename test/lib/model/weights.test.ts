// The tensors of each architecture against model files that transformers wrote, and files that do not fit their config.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '#lib/model/config.js';
import { findTensors, type StoredTensors } from '#lib/model/safetensors.js';
import { checkWeights, expectedTensors } from '#lib/model/weights.js';
import { expectError } from '../errors.js';

const models = join(import.meta.dirname, '../../fixtures/models');

const config = parseModelConfig(
  {
    architectures: ['LlamaForCausalLM'],
    vocab_size: 20,
    hidden_size: 8,
    intermediate_size: 12,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: 64,
  },
  'config.json',
);
const tied = { ...config, native: { ...config.native, tieWordEmbeddings: true } };

/** Well-formed weights, after `change` had its way with the shapes. */
function stored(change: (shapes: Map<string, number[]>) => void, dtype = 'BF16'): StoredTensors {
  const shapes = expectedTensors(config);
  change(shapes);
  const tensors = [...shapes].map(([name, shape]) => ({ name, shape, dtype, file: 0, offset: 0, bytes: 0 }));
  return { files: ['model.safetensors'], tensors };
}

describe('models that transformers wrote', () => {
  it.each(readdirSync(models))('%s has exactly the expected tensors', async (name) => {
    const json = JSON.parse(readFileSync(join(models, name, 'config.json'), 'utf8')) as unknown;
    const parsed = parseModelConfig(json, 'config.json');
    const found = await findTensors(join(models, name));
    const index = checkWeights(parsed, found);
    const stored = found.tensors
      .map((tensor) => tensor.name)
      .filter((tensor) => !tensor.includes('rotary_emb'));
    expect(index.tensors.map((tensor) => tensor.name).sort()).toEqual(stored.sort());
    expect(new Set(index.tensors.map((tensor) => tensor.dtype))).toEqual(new Set([parsed.dtype]));
  });
});

describe('expected tensors', () => {
  it('of a plain layer', () => {
    expect(Object.fromEntries(expectedTensors(config))).toEqual({
      'model.embed_tokens.weight': [20, 8],
      'model.layers.0.input_layernorm.weight': [8],
      'model.layers.0.self_attn.q_proj.weight': [8, 8],
      'model.layers.0.self_attn.k_proj.weight': [4, 8],
      'model.layers.0.self_attn.v_proj.weight': [4, 8],
      'model.layers.0.self_attn.o_proj.weight': [8, 8],
      'model.layers.0.post_attention_layernorm.weight': [8],
      'model.layers.0.mlp.gate_proj.weight': [12, 8],
      'model.layers.0.mlp.up_proj.weight': [12, 8],
      'model.layers.0.mlp.down_proj.weight': [8, 12],
      'model.norm.weight': [8],
      'lm_head.weight': [20, 8],
    });
  });

  it('biases, QK-norm and a head_dim of its own', () => {
    const native = { ...config.native, headDim: 6, qkNorm: true, tieWordEmbeddings: true };
    const shapes = expectedTensors({ ...config, native, attentionBias: 'qkvo', mlpBias: true });
    const layer = 'model.layers.0';
    expect(shapes.get(`${layer}.self_attn.q_proj.weight`)).toEqual([12, 8]);
    expect(shapes.get(`${layer}.self_attn.o_proj.weight`)).toEqual([8, 12]);
    expect(shapes.get(`${layer}.self_attn.k_norm.weight`)).toEqual([6]);
    expect([...shapes].filter(([name]) => name.endsWith('.bias'))).toEqual([
      [`${layer}.self_attn.q_proj.bias`, [12]],
      [`${layer}.self_attn.k_proj.bias`, [6]],
      [`${layer}.self_attn.v_proj.bias`, [6]],
      [`${layer}.self_attn.o_proj.bias`, [8]],
      [`${layer}.mlp.gate_proj.bias`, [12]],
      [`${layer}.mlp.up_proj.bias`, [12]],
      [`${layer}.mlp.down_proj.bias`, [8]],
    ]);
    expect(shapes.has('lm_head.weight')).toBe(false);
    expect(expectedTensors({ ...config, attentionBias: 'qkv' }).has(`${layer}.self_attn.o_proj.bias`)).toBe(
      false,
    );
  });
});

describe('weights that do not fit', () => {
  it.each([...expectedTensors(config).keys()])('%s is missing', async (name) => {
    const weights = stored((shapes) => shapes.delete(name));
    await expectError(
      () => checkWeights(config, weights),
      'MODEL_FORMAT',
      expect.stringContaining(`Tensor ${name} `),
    );
  });

  it.each([[[8]], [[8, 8, 1]], [[4, 8]], [[]]])('a matrix of shape %o', async (shape) => {
    const name = 'model.layers.0.self_attn.q_proj.weight';
    const weights = stored((shapes) => shapes.set(name, shape));
    const message = `model.safetensors: tensor ${name} has shape [${shape.join(', ')}], config.json asks for [8, 8].`;
    await expectError(() => checkWeights(config, weights), 'MODEL_FORMAT', message);
  });

  it.each([
    'model.layers.1.mlp.up_proj.weight',
    'model.layers.0.self_attn.q_proj.bias',
    'lm_head.bias',
    'score.weight',
  ])('%s is too much', async (name) => {
    const weights = stored((shapes) => shapes.set(name, [8]));
    await expectError(
      () => checkWeights(config, weights),
      'MODEL_FORMAT',
      expect.stringContaining(`tensor ${name} is`),
    );
  });

  it.each(['F8_E4M3', 'I8', 'F64'])('numbers of type %s', async (dtype) => {
    const weights = stored(() => undefined, dtype);
    await expectError(
      () => checkWeights(config, weights),
      'UNSUPPORTED',
      expect.stringContaining(`is ${dtype}, supported`),
    );
  });
});

describe('what may be there', () => {
  it('rotary buffers of old checkpoints, which are left out', () => {
    const weights = stored((shapes) => {
      shapes.set('model.layers.0.self_attn.rotary_emb.inv_freq', [2]);
      shapes.set('model.rotary_emb.inv_freq', [2]);
    });
    expect(checkWeights(config, weights).tensors.map(({ name }) => name)).toEqual([
      ...expectedTensors(config).keys(),
    ]);
  });

  it('a head beside tied embeddings, which is left out', () => {
    const weights = stored(() => undefined);
    expect(checkWeights(tied, weights).tensors.some(({ name }) => name === 'lm_head.weight')).toBe(false);
  });
});
