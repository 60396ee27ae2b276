// Model folders with random weights, as a user would load them.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomOf } from './random.mjs';
import { writeSafetensors } from './safetensors.mjs';

/** @import { ModelConfig } from '#lib/model/types.js' */
/** @import { TensorSpec } from './safetensors.mjs' */

/**
 * What of a shape makes the size of a model and the time of a step.
 *
 * @typedef {Pick<ModelConfig['native'], 'vocabSize' | 'hiddenSize' | 'intermediateSize' | 'numLayers' | 'numHeads'
 *   | 'numKvHeads' | 'headDim' | 'tieWordEmbeddings' | 'qkNorm'>} Shape
 */

/** Not a multiple of a matrix row of any shape, so that rows differ. */
const PATTERN_VALUES = 1_000_003;

/**
 * Writes a folder, lets it be used, and removes it. The architecture is that of Llama, or of Qwen3 for a shape with
 * QK-norm; rope_theta is 10000, which changes no time. There is no tokenizer.
 *
 * @template T
 * @param {Shape} shape
 * @param {(folder: string, fileBytes: number) => Promise<T>} use
 * @param {{ scale?: number }} [options] scale: values of matrices are in (-scale, scale)
 * @returns {Promise<T>}
 */
export function withRandomModel(shape, use, { scale = 0.02 } = {}) {
  return withTemporaryFolder(async (folder) => {
    await writeFile(join(folder, 'config.json'), JSON.stringify(configOf(shape)));
    const random = randomPattern(scale);
    const ones = Buffer.from(Uint16Array.from({ length: 4096 }, () => 0x3f80).buffer);
    const bytes = await writeSafetensors(join(folder, 'model.safetensors'), tensorsOf(shape), ({ shape }) =>
      shape.length === 1 ? ones : random,
    );
    return use(folder, bytes);
  });
}

/**
 * @template T
 * @param {(folder: string) => Promise<T>} use
 * @returns {Promise<T>} when the folder is removed again
 */
export async function withTemporaryFolder(use) {
  const folder = await mkdtemp(join(tmpdir(), 'block-attention-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** @param {Shape} shape */
export function configOf(shape) {
  return {
    architectures: [shape.qkNorm ? 'Qwen3ForCausalLM' : 'LlamaForCausalLM'],
    vocab_size: shape.vocabSize,
    hidden_size: shape.hiddenSize,
    intermediate_size: shape.intermediateSize,
    num_hidden_layers: shape.numLayers,
    num_attention_heads: shape.numHeads,
    num_key_value_heads: shape.numKvHeads,
    head_dim: shape.headDim,
    tie_word_embeddings: shape.tieWordEmbeddings,
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    dtype: 'bfloat16',
    bos_token_id: null,
    eos_token_id: null,
  };
}

/** @param {Shape} shape @returns {TensorSpec[]} with the names of transformers */
export function tensorsOf(shape) {
  const { hiddenSize, intermediateSize, vocabSize, headDim } = shape;
  const q = shape.numHeads * headDim;
  const kv = shape.numKvHeads * headDim;
  const layer = {
    input_layernorm: [hiddenSize],
    'self_attn.q_proj': [q, hiddenSize],
    'self_attn.k_proj': [kv, hiddenSize],
    'self_attn.v_proj': [kv, hiddenSize],
    'self_attn.o_proj': [hiddenSize, q],
    ...(shape.qkNorm ? { 'self_attn.q_norm': [headDim], 'self_attn.k_norm': [headDim] } : {}),
    post_attention_layernorm: [hiddenSize],
    'mlp.gate_proj': [intermediateSize, hiddenSize],
    'mlp.up_proj': [intermediateSize, hiddenSize],
    'mlp.down_proj': [hiddenSize, intermediateSize],
  };
  const layers = Array.from({ length: shape.numLayers }, (_, index) =>
    Object.entries(layer).map(([name, size]) => ({
      name: `model.layers.${index}.${name}.weight`,
      shape: size,
    })),
  );
  return [
    { name: 'model.embed_tokens.weight', shape: [vocabSize, hiddenSize] },
    ...layers.flat(),
    { name: 'model.norm.weight', shape: [hiddenSize] },
    ...(shape.tieWordEmbeddings ? [] : [{ name: 'lm_head.weight', shape: [vocabSize, hiddenSize] }]),
  ];
}

/** @param {number} scale @returns {Buffer} bf16 values in (-scale, scale) */
function randomPattern(scale) {
  const random = randomOf(1);
  const floats = Float32Array.from({ length: PATTERN_VALUES }, () => (2 * random() - 1) * scale);
  // The upper half of a float32 is a bf16.
  const bits = new Uint32Array(floats.buffer);
  return Buffer.from(Uint16Array.from(bits, (value) => value >>> 16).buffer);
}
