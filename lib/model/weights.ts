/**
 * Which tensors a model must have, by name and shape, and the check of what its files hold against that. Names are those
 * of transformers; a matrix is [out features, in features].
 */
import { BlockAttentionError } from '../errors.js';
import type { DType, NativeTensor } from '../native.js';
import type { StoredTensor, StoredTensors } from './safetensors.js';
import type { ModelConfig, WeightsIndex } from './types.js';

const DTYPES: ReadonlyMap<string, DType> = new Map([
  ['BF16', 'bf16'],
  ['F16', 'f16'],
  ['F32', 'f32'],
]);

/** Buffers that old checkpoints carry; the engine computes its own. */
const ROTARY_BUFFER = /^model\.(?:layers\.\d+\.self_attn\.)?rotary_emb\.(?:inv_freq|cos_cached|sin_cached)$/;

/** Name to shape of every tensor of the model. */
export function expectedTensors(config: ModelConfig): Map<string, number[]> {
  const { native, attentionBias, mlpBias } = config;
  const { hiddenSize, intermediateSize, headDim } = native;
  const querySize = native.numHeads * headDim;
  const kvSize = native.numKvHeads * headDim;
  const tensors = new Map<string, number[]>();
  const linear = (name: string, out: number, into: number, bias: boolean) => {
    tensors.set(`${name}.weight`, [out, into]);
    if (bias) tensors.set(`${name}.bias`, [out]);
  };

  tensors.set('model.embed_tokens.weight', [native.vocabSize, hiddenSize]);
  for (let layer = 0; layer < native.numLayers; layer++) {
    const at = `model.layers.${layer}`;
    tensors.set(`${at}.input_layernorm.weight`, [hiddenSize]);
    linear(`${at}.self_attn.q_proj`, querySize, hiddenSize, attentionBias !== 'none');
    linear(`${at}.self_attn.k_proj`, kvSize, hiddenSize, attentionBias !== 'none');
    linear(`${at}.self_attn.v_proj`, kvSize, hiddenSize, attentionBias !== 'none');
    linear(`${at}.self_attn.o_proj`, hiddenSize, querySize, attentionBias === 'qkvo');
    if (native.qkNorm) {
      tensors.set(`${at}.self_attn.q_norm.weight`, [headDim]);
      tensors.set(`${at}.self_attn.k_norm.weight`, [headDim]);
    }
    tensors.set(`${at}.post_attention_layernorm.weight`, [hiddenSize]);
    linear(`${at}.mlp.gate_proj`, intermediateSize, hiddenSize, mlpBias);
    linear(`${at}.mlp.up_proj`, intermediateSize, hiddenSize, mlpBias);
    linear(`${at}.mlp.down_proj`, hiddenSize, intermediateSize, mlpBias);
  }
  tensors.set('model.norm.weight', [hiddenSize]);
  if (!native.tieWordEmbeddings) linear('lm_head', native.vocabSize, hiddenSize, false);
  return tensors;
}

/**
 * The tensors that the engine needs, in the order of `expectedTensors`. MODEL_FORMAT if one is missing, has another
 * shape, or if there is one that this model does not have: its numbers would silently be wrong.
 */
export function checkWeights(config: ModelConfig, stored: StoredTensors): WeightsIndex {
  const byName = new Map(stored.tensors.map((tensor) => [tensor.name, tensor]));
  const expected = expectedTensors(config);
  const where = (tensor: StoredTensor) => stored.files[tensor.file] ?? '';
  const tensors: NativeTensor[] = [];
  for (const [name, shape] of expected) {
    const tensor = byName.get(name);
    if (tensor === undefined) {
      throw new BlockAttentionError(
        'MODEL_FORMAT',
        `Tensor ${name} ${format(shape)} is missing in ${stored.files.join(', ')}.`,
      );
    }
    if (tensor.shape.length !== shape.length || tensor.shape.some((size, i) => size !== shape[i])) {
      throw new BlockAttentionError(
        'MODEL_FORMAT',
        `${where(tensor)}: tensor ${name} has shape ${format(tensor.shape)}, config.json asks for ${format(shape)}.`,
      );
    }
    const dtype = DTYPES.get(tensor.dtype);
    if (dtype === undefined) {
      throw new BlockAttentionError(
        'UNSUPPORTED',
        `${where(tensor)}: tensor ${name} is ${tensor.dtype}, supported are ${[...DTYPES.keys()].join(', ')}.`,
      );
    }
    tensors.push({ ...tensor, dtype });
  }
  for (const tensor of stored.tensors) {
    if (!expected.has(tensor.name) && !isIgnorable(config, tensor.name)) {
      throw new BlockAttentionError(
        'MODEL_FORMAT',
        `${where(tensor)}: tensor ${tensor.name} is not part of a ${config.architecture} with this config.json.`,
      );
    }
  }
  return { files: stored.files, tensors };
}

function isIgnorable(config: ModelConfig, name: string): boolean {
  if (ROTARY_BUFFER.test(name)) return true;
  // A copy of the embedding: transformers too uses the embedding when they are tied.
  return name === 'lm_head.weight' && config.native.tieWordEmbeddings;
}

function format(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}
