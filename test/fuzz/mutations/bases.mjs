// Small sound model folders, one for each way in which folders differ: what the mutations start from.
import { readFileSync } from 'node:fs';
import { parseModelConfig } from '#lib/model/config.js';
import { expectedTensors } from '#lib/model/weights.js';
import { Choices } from './random.mjs';

/**
 * @typedef {object} Base
 * @property {string} name
 * @property {ReadonlyMap<string, Buffer>} files by name
 */

const SHAPE = {
  vocab_size: 20,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 8,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  eos_token_id: 2,
  bos_token_id: 1,
};

/** @type {Record<string, number>} */
const ELEMENT_BYTES = { F32: 4, F16: 2, BF16: 2 };

/**
 * @param {readonly (readonly [string, readonly number[]])[]} tensors
 * @param {'F32' | 'F16' | 'BF16'} dtype
 */
function weights(tensors, dtype) {
  const choices = new Choices(7);
  /** @type {Record<string, unknown>} */
  const header = { __metadata__: { format: 'pt' } };
  /** @type {Buffer[]} */
  const data = [];
  let end = 0;
  for (const [name, shape] of tensors) {
    const bytes = shape.reduce((product, size) => product * size, ELEMENT_BYTES[dtype] ?? 0);
    header[name] = { dtype, shape, data_offsets: [end, end + bytes] };
    end += bytes;
    data.push(
      Buffer.from(
        Array.from({ length: bytes / 2 }, () => [choices.below(256), 0x30 + choices.below(12)]).flat(),
      ),
    );
  }
  return withHeader(JSON.stringify(header), Buffer.concat(data));
}

/**
 * A safetensors file.
 *
 * @param {string} json
 * @param {Uint8Array} data
 */
export function withHeader(json, data) {
  const text = Buffer.from(json.padEnd(json.length + (-Buffer.byteLength(json) & 7)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

/**
 * @param {string} name
 * @param {Record<string, unknown>} fields of config.json, besides those of SHAPE
 * @param {'F32' | 'F16' | 'BF16'} dtype
 * @param {{ shards?: boolean, files?: Record<string, unknown> }} [more] files: objects are written as JSON
 * @returns {Base}
 */
function base(name, fields, dtype, { shards = false, files = {} } = {}) {
  const config = { ...SHAPE, ...fields };
  const tensors = [...expectedTensors(parseModelConfig(config, 'config.json'))];
  /** @type {Map<string, Buffer>} */
  const all = new Map();
  /** @param {string} file @param {unknown} content */
  const add = (file, content) =>
    all.set(file, Buffer.from(typeof content === 'string' ? content : JSON.stringify(content)));
  add('config.json', config);
  for (const [file, content] of Object.entries(files)) add(file, content);
  if (shards) {
    const half = Math.ceil(tensors.length / 2);
    const parts = [tensors.slice(0, half), tensors.slice(half)];
    const shardOf = parts.flatMap((part, i) =>
      part.map(([tensor]) => [tensor, `model-${i + 1}.safetensors`]),
    );
    add('model.safetensors.index.json', { metadata: {}, weight_map: Object.fromEntries(shardOf) });
    for (const [i, part] of parts.entries()) all.set(`model-${i + 1}.safetensors`, weights(part, dtype));
  } else {
    all.set('model.safetensors', weights(tensors, dtype));
  }
  return { name, files: all };
}

/** The tokenizer of models/tiny-rag, cut down to its first tokens. @param {number} size */
function byteLevelTokenizer(size) {
  const path = new URL('../../../models/tiny-rag/tokenizer.json', import.meta.url);
  const tokenizer = JSON.parse(readFileSync(path, 'utf8'));
  const { vocab, merges } = tokenizer.model;
  const small = Object.fromEntries(Object.entries(vocab).filter(([, id]) => id < size));
  /** @param {string[]} pair */
  const known = (pair) => [...pair, pair.join('')].every((token) => token in small);
  const pairs = merges.map((/** @type {string | string[]} */ merge) =>
    typeof merge === 'string' ? merge.split(' ') : merge,
  );
  tokenizer.model.vocab = small;
  tokenizer.model.merges = pairs.filter(known);
  tokenizer.added_tokens = tokenizer.added_tokens.filter((/** @type {{ id: number }} */ { id }) => id < size);
  return tokenizer;
}

/** Like Llama 2's. */
function sentencepieceTokenizer() {
  const byte = (/** @type {number} */ value) => `<0x${value.toString(16).toUpperCase().padStart(2, '0')}>`;
  const tokens = [
    '<unk>',
    '<s>',
    '</s>',
    ...Array.from({ length: 256 }, (_, i) => byte(i)),
    '\u2581',
    'a',
    'b',
    'ab',
    '\u2581a',
  ];
  const special = (/** @type {number} */ id) => ({
    id,
    content: tokens[id],
    special: true,
    normalized: false,
  });
  return {
    version: '1.0',
    added_tokens: [special(0), special(1), special(2)],
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '\u2581', prepend_scheme: 'first', split: false },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [
        ['a', 'b'],
        ['\u2581', 'a'],
      ],
    },
  };
}

const CHAT_TEMPLATE =
  "{% for message in messages %}{{ '<s>' + message['role'] + ': ' + message['content'] | trim + '</s>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<s>assistant: ' }}{% endif %}";

const LLAMA3_ROPE = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
};

/** Without a tokenizer, which costs most of the time of an input. */
export const PLAIN_BASES = [
  base(
    'llama',
    { architectures: ['LlamaForCausalLM'], tie_word_embeddings: true, rope_scaling: LLAMA3_ROPE },
    'F32',
    {
      files: {
        'generation_config.json': {
          do_sample: true,
          temperature: 0.7,
          top_k: 5,
          top_p: 0.9,
          eos_token_id: [2, 3],
        },
      },
    },
  ),
  base(
    'qwen2',
    {
      architectures: ['Qwen2ForCausalLM'],
      num_hidden_layers: 2,
      use_sliding_window: true,
      sliding_window: 4,
      layer_types: ['sliding_attention', 'full_attention'],
      partial_rotary_factor: 0.5,
    },
    'BF16',
  ),
  base(
    'qwen3',
    {
      architectures: ['Qwen3ForCausalLM'],
      attention_bias: true,
      rope_parameters: {
        rope_type: 'yarn',
        rope_theta: 1e4,
        factor: 4,
        original_max_position_embeddings: 64,
        mscale: 1,
      },
    },
    'F16',
  ),
  base(
    'mistral',
    { architectures: ['MistralForCausalLM'], model_type: 'mistral', sliding_window: 6 },
    'BF16',
    {
      shards: true,
      files: { 'generation_config.json': { max_new_tokens: 4, eos_token_id: 2 } },
    },
  ),
];

export const TEXT_BASES = [
  base('text', { architectures: ['LlamaForCausalLM'], vocab_size: 264 }, 'BF16', {
    files: {
      'tokenizer.json': sentencepieceTokenizer(),
      'tokenizer_config.json': {
        bos_token: '<s>',
        eos_token: { content: '</s>' },
        chat_template: CHAT_TEMPLATE,
      },
    },
  }),
  base('bytes', { architectures: ['LlamaForCausalLM'], vocab_size: 320, mlp_bias: true }, 'F32', {
    files: {
      'tokenizer.json': byteLevelTokenizer(320),
      'tokenizer_config.json': { bos_token: null, eos_token: '<|endoftext|>' },
      'chat_template.jinja': CHAT_TEMPLATE,
    },
  }),
];
