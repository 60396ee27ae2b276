/**
 * Shapes of published models by name, to be run with random weights: for timing only, they cannot answer. The numbers
 * are those of the models' config.json; only the number of positions is raised to 128K, so that every one of them can be
 * timed with long prompts (the time of a step does not depend on it).
 */
import { BlockAttentionError } from '../errors.js';
import { parseModelConfig } from './config.js';
import type { ModelConfig } from './types.js';

const POSITIONS = 131_072;

const LLAMA3_ROPE = {
  rope_type: 'llama3',
  high_freq_factor: 4,
  low_freq_factor: 1,
  original_max_position_embeddings: 8192,
};

const SHAPES = {
  'smollm2-135m': {
    architectures: ['LlamaForCausalLM'],
    vocab_size: 49_152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    rms_norm_eps: 1e-5,
    rope_theta: 100_000,
    tie_word_embeddings: true,
  },
  'llama-3.2-1b': {
    architectures: ['LlamaForCausalLM'],
    vocab_size: 128_256,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 64,
    rms_norm_eps: 1e-5,
    rope_theta: 500_000,
    rope_scaling: { factor: 32, ...LLAMA3_ROPE },
    tie_word_embeddings: true,
  },
  'llama-3.2-3b': {
    architectures: ['LlamaForCausalLM'],
    vocab_size: 128_256,
    hidden_size: 3072,
    intermediate_size: 8192,
    num_hidden_layers: 28,
    num_attention_heads: 24,
    num_key_value_heads: 8,
    head_dim: 128,
    rms_norm_eps: 1e-5,
    rope_theta: 500_000,
    rope_scaling: { factor: 32, ...LLAMA3_ROPE },
    tie_word_embeddings: true,
  },
  'llama-3.1-8b': {
    architectures: ['LlamaForCausalLM'],
    vocab_size: 128_256,
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    rms_norm_eps: 1e-5,
    rope_theta: 500_000,
    rope_scaling: { factor: 8, ...LLAMA3_ROPE },
    tie_word_embeddings: false,
  },
  'qwen3-0.6b': {
    architectures: ['Qwen3ForCausalLM'],
    vocab_size: 151_936,
    hidden_size: 1024,
    intermediate_size: 3072,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 8,
    head_dim: 128,
    rms_norm_eps: 1e-6,
    rope_theta: 1_000_000,
    tie_word_embeddings: true,
  },
  'qwen3-8b': {
    architectures: ['Qwen3ForCausalLM'],
    vocab_size: 151_936,
    hidden_size: 4096,
    intermediate_size: 12_288,
    num_hidden_layers: 36,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 128,
    rms_norm_eps: 1e-6,
    rope_theta: 1_000_000,
    tie_word_embeddings: false,
  },
} as const;

export type ShapeName = keyof typeof SHAPES;

export const SHAPE_NAMES = Object.keys(SHAPES).filter(isShapeName);

export function isShapeName(name: string): name is ShapeName {
  return Object.hasOwn(SHAPES, name);
}

/** The config of a named shape, in bf16 and without end tokens. INVALID_ARGUMENT if there is none of that name. */
export function namedShape(name: string): ModelConfig {
  if (!isShapeName(name)) {
    throw new BlockAttentionError(
      'INVALID_ARGUMENT',
      `No shape ${name}: there are ${SHAPE_NAMES.join(', ')}.`,
    );
  }
  const common = {
    max_position_embeddings: POSITIONS,
    dtype: 'bfloat16',
    bos_token_id: null,
    eos_token_id: null,
  };
  return parseModelConfig({ ...common, ...SHAPES[name] }, `shape ${name}`);
}
