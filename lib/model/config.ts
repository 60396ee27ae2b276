/**
 * config.json of transformers 4 and 5 for the decoders of the Llama family: LlamaForCausalLM (Llama 2 to 3.2, Tulu 3,
 * SmolLM2), MistralForCausalLM, Qwen2ForCausalLM (Qwen2, Qwen2.5) and Qwen3ForCausalLM. Fields that a file leaves out
 * have the defaults of transformers' config classes, except for those that make the model's size: these must be there.
 */
import type { DType } from '../native.js';
import { Fields, type Range } from './fields.js';
import { readRope } from './rope-config.js';
import { ropeFrequencies } from './rope.js';
import { ARCHITECTURES, type Architecture, type ModelConfig } from './types.js';

/** The limits of native/model/model_config.cpp. */
const VOCABULARY: Range = { min: 1, max: 1 << 24 };
const HIDDEN: Range = { min: 1, max: 1 << 17 };
const INTERMEDIATE: Range = { min: 1, max: 1 << 20 };
const LAYERS: Range = { min: 1, max: 1024 };
const HEADS: Range = { min: 1, max: 1024 };
const HEAD_DIM: Range = { min: 2, max: 1024 };
const POSITIONS: Range = { min: 1, max: 2 ** 31 - 1 };
const EPSILON: Range = { min: 0, max: 1 };

/** What differs between the architectures: the defaults of their config classes, and which fields they look at. */
interface Traits {
  modelType: string;
  numKvHeads: number | undefined;
  /** When head_dim is absent; undefined: hidden_size / num_attention_heads. */
  headDim: number | undefined;
  bosTokenId: number | undefined;
  eosTokenIds: readonly number[];
  qkNorm: boolean;
  /** 'config': q, k, v and o if attention_bias is true. */
  attentionBias: 'never' | 'qkv' | 'config';
  mlpBias: 'never' | 'config';
  windows: 'none' | 'all layers' | 'some layers';
}

const TRAITS: Record<Architecture, Traits> = {
  LlamaForCausalLM: {
    modelType: 'llama',
    numKvHeads: undefined,
    headDim: undefined,
    bosTokenId: 1,
    eosTokenIds: [2],
    qkNorm: false,
    attentionBias: 'config',
    mlpBias: 'config',
    windows: 'none',
  },
  MistralForCausalLM: {
    modelType: 'mistral',
    numKvHeads: 8,
    headDim: undefined,
    bosTokenId: 1,
    eosTokenIds: [2],
    qkNorm: false,
    attentionBias: 'never',
    mlpBias: 'never',
    windows: 'all layers',
  },
  Qwen2ForCausalLM: {
    modelType: 'qwen2',
    numKvHeads: 32,
    headDim: undefined,
    bosTokenId: undefined,
    eosTokenIds: [],
    qkNorm: false,
    attentionBias: 'qkv',
    mlpBias: 'never',
    windows: 'some layers',
  },
  Qwen3ForCausalLM: {
    modelType: 'qwen3',
    numKvHeads: 32,
    headDim: 128,
    bosTokenId: undefined,
    eosTokenIds: [],
    qkNorm: true,
    attentionBias: 'config',
    mlpBias: 'never',
    windows: 'some layers',
  },
};

/**
 * @param json The parsed file.
 * @param file Its path, for messages.
 * @throws UNSUPPORTED naming the field whose value is known but not supported, MODEL_FORMAT naming one that is wrong.
 */
export function parseModelConfig(json: unknown, file: string): ModelConfig {
  const config = new Fields(file, json);
  const architecture = readArchitecture(config);
  const traits = TRAITS[architecture];
  refuseUnsupported(config);

  const vocabSize = config.integer('vocab_size', VOCABULARY);
  const hiddenSize = config.integer('hidden_size', HIDDEN);
  const numLayers = config.integer('num_hidden_layers', LAYERS);
  const numHeads = config.integer('num_attention_heads', HEADS);
  const numKvHeads = readKvHeads(config, traits, numHeads);
  const headDim = readHeadDim(config, traits, hiddenSize, numHeads);
  const maxPositions = config.integer('max_position_embeddings', POSITIONS);
  const rope = readRope(config, headDim, maxPositions);
  const { invFreq, attentionFactor } = ropeFrequencies(rope.parameters);
  const ids: Range = { min: 0, max: vocabSize - 1 };

  return {
    architecture,
    native: {
      vocabSize,
      hiddenSize,
      intermediateSize: config.integer('intermediate_size', INTERMEDIATE),
      numLayers,
      numHeads,
      numKvHeads,
      headDim,
      rmsNormEps: config.number('rms_norm_eps', EPSILON, 1e-6),
      // False in all four config classes, unlike in transformers' base class.
      tieWordEmbeddings: config.boolean('tie_word_embeddings', false),
      qkNorm: traits.qkNorm,
      windows: readWindows(config, traits, numLayers),
      invFreq,
      ropeAttentionFactor: attentionFactor,
    },
    maxPositions: Math.max(maxPositions, rope.maxPositions ?? 0),
    dtype: readDType(config),
    attentionBias: readAttentionBias(config, traits),
    mlpBias: traits.mlpBias === 'config' && config.boolean('mlp_bias', false),
    eosTokenIds: config.has('eos_token_id') ? config.integers('eos_token_id', ids) : traits.eosTokenIds,
    bosTokenId: config.has('bos_token_id') ? config.integers('bos_token_id', ids)[0] : traits.bosTokenId,
  };
}

function readArchitecture(config: Fields): Architecture {
  const supported = `supported are ${ARCHITECTURES.join(', ')}.`;
  const named = config.strings('architectures') ?? [];
  if (named.length > 0) {
    const found = ARCHITECTURES.find((architecture) => named.includes(architecture));
    if (found === undefined) throw config.unsupported('architectures', supported);
    return found;
  }
  const modelType = config.string('model_type');
  if (modelType === undefined) throw config.missing('architectures');
  const found = ARCHITECTURES.find((architecture) => TRAITS[architecture].modelType === modelType);
  if (found === undefined) throw config.unsupported('model_type', supported);
  return found;
}

function refuseUnsupported(config: Fields): void {
  const activation = config.string('hidden_act') ?? 'silu';
  if (activation !== 'silu' && activation !== 'swish') {
    throw config.unsupported('hidden_act', 'the MLP must use silu.');
  }
  if (config.raw('quantization_config') !== undefined) {
    throw config.unsupported('quantization_config', 'use a checkpoint in bf16, f16 or f32.');
  }
  for (const name of ['num_local_experts', 'num_experts', 'n_routed_experts']) {
    if (config.raw(name) !== undefined) throw config.unsupported(name, 'mixtures of experts are not.');
  }
  if (config.boolean('rope_interleaved', false)) {
    throw config.unsupported('rope_interleaved', 'rotary pairs must be halves of a head apart.');
  }
}

function readKvHeads(config: Fields, traits: Traits, numHeads: number): number {
  const name = 'num_key_value_heads';
  const absent = config.has(name) ? numHeads : (traits.numKvHeads ?? numHeads);
  const numKvHeads = config.integer(name, { min: 1, max: numHeads }, absent);
  if (numHeads % numKvHeads !== 0) throw config.wrong(name, `a divisor of num_attention_heads (${numHeads})`);
  return numKvHeads;
}

function readHeadDim(config: Fields, traits: Traits, hiddenSize: number, numHeads: number): number {
  const name = 'head_dim';
  const absent = config.has(name) ? undefined : traits.headDim;
  if (config.raw(name) === undefined && absent === undefined && hiddenSize % numHeads !== 0) {
    throw config.wrong(
      'hidden_size',
      `a multiple of num_attention_heads (${numHeads}), since there is no head_dim`,
    );
  }
  const headDim = config.integer(name, HEAD_DIM, absent ?? hiddenSize / numHeads);
  if (headDim % 2 !== 0) throw config.wrong(name, 'an even number');
  return headDim;
}

function readWindows(config: Fields, traits: Traits, numLayers: number): number[] {
  const size: Range = { min: 1, max: POSITIONS.max };
  const everywhere = (window: number) => new Array<number>(numLayers).fill(window);
  if (traits.windows === 'none') return everywhere(0);
  const name = 'sliding_window';
  if (traits.windows === 'all layers') {
    // Null says that there is no window; absent means the class's default.
    if (config.has(name) && config.raw(name) === undefined) return everywhere(0);
    return everywhere(config.integer(name, size, 4096));
  }
  if (!config.boolean('use_sliding_window', false)) return everywhere(0);
  if (config.has(name) && config.raw(name) === undefined) return everywhere(0);
  const window = config.integer(name, size, 4096);
  const types = config.strings('layer_types');
  if (types === undefined) {
    const firstWindowed = config.integer('max_window_layers', { min: 0, max: POSITIONS.max }, 28);
    return everywhere(0).map((_, layer) => (layer >= firstWindowed ? window : 0));
  }
  if (types.length !== numLayers)
    throw config.wrong('layer_types', `one entry for each of ${numLayers} layers`);
  return types.map((type) => {
    if (type === 'sliding_attention') return window;
    if (type === 'full_attention') return 0;
    throw config.unsupported('layer_types', 'layers can be sliding_attention or full_attention.');
  });
}

function readAttentionBias(config: Fields, traits: Traits): 'none' | 'qkv' | 'qkvo' {
  if (traits.attentionBias === 'qkv') return 'qkv';
  return traits.attentionBias === 'config' && config.boolean('attention_bias', false) ? 'qkvo' : 'none';
}

const DTYPES: ReadonlyMap<string, DType> = new Map([
  ['bfloat16', 'bf16'],
  ['float16', 'f16'],
  ['float32', 'f32'],
]);

function readDType(config: Fields): DType {
  const name = config.raw('dtype') === undefined ? 'torch_dtype' : 'dtype';
  const declared = config.string(name) ?? 'float32';
  const dtype = DTYPES.get(declared.replace(/^torch\./, ''));
  if (dtype === undefined) throw config.unsupported(name, `weights can be ${[...DTYPES.keys()].join(', ')}.`);
  return dtype;
}
