// The same weights for llama.cpp: a model folder of safetensors as a GGUF file.
import { open } from 'node:fs/promises';
import { loadModelFolder } from '#lib/model/folder.js';
import { tensorBytes, writeGguf } from '../common/gguf.mjs';
import { quantizeQ8 } from './q8_0.mjs';

/** @import { FileHandle } from 'node:fs/promises' */
/** @import { NativeTensor } from '#lib/native.js' */
/** @import { Architecture, ModelConfig } from '#lib/model/types.js' */
/** @import { GgufTensor, Value } from '../common/gguf.mjs' */

/** @typedef {'bf16' | 'int8'} WeightType */

/** Types of matrices, and the number of `general.file_type`. */
const WEIGHT_TYPES = /** @type {const} */ ({
  bf16: { type: 'BF16', fileType: 32 },
  int8: { type: 'Q8_0', fileType: 7 },
});

/**
 * llama.cpp's names of the architectures. Its "llama" rotates neighbours (2i, 2i + 1), ours and its "qwen3" halves
 * (i, i + d/2): the rows of q and k are put in the other order, so that the same pairs are rotated.
 *
 * @type {Partial<Record<Architecture, { name: string, pairsOfNeighbours: boolean }>>}
 */
const ARCHITECTURES = {
  LlamaForCausalLM: { name: 'llama', pairsOfNeighbours: true },
  Qwen3ForCausalLM: { name: 'qwen3', pairsOfNeighbours: false },
};

/** @type {Record<string, string>} */
const LAYER_NAMES = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

/** @type {Record<string, string>} */
const OTHER_NAMES = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
};

/**
 * @param {string} folder bf16 weights, plain RoPE
 * @param {string} path
 * @param {WeightType} weights
 * @returns {Promise<{ fileBytes: number, stepBytes: number }>} stepBytes: weights that one step of decoding reads
 */
export async function writeGgufModel(folder, path, weights) {
  const { config, weights: stored } = await loadModelFolder(folder);
  const architecture = ARCHITECTURES[config.architecture];
  if (architecture === undefined)
    throw new RangeError(`no GGUF of the architecture ${config.architecture} is written here`);
  const other = stored.tensors.find(({ dtype }) => dtype !== 'bf16');
  if (other !== undefined) throw new RangeError(`${other.name} is ${other.dtype}: only bf16 is taken over`);

  const sources = new Map(stored.tensors.map((tensor) => [ggufName(tensor.name), tensor]));
  const { type, fileType } = WEIGHT_TYPES[weights];
  /** @type {GgufTensor[]} */
  const tensors = [...sources].map(([name, { shape }]) => ({
    name,
    shape,
    type: shape.length === 1 ? 'F32' : type,
  }));
  const metadata = new Map([...metadataOf(config, architecture.name, fileType), ...tokenizerOf(config)]);
  const files = await Promise.all(stored.files.map((file) => open(file)));
  try {
    const fileBytes = await writeGguf(path, metadata, tensors, ({ name, type }) => {
      const source = /** @type {NativeTensor} */ (sources.get(name));
      const file = /** @type {FileHandle} */ (files[source.file]);
      const permuted = architecture.pairsOfNeighbours && /\.attn_[qk]\.weight$/.test(name);
      return convert(rowsOf(file, source, permuted ? config.native.headDim : undefined), type);
    });
    const read = tensors.filter(
      ({ name }) => config.native.tieWordEmbeddings || name !== 'token_embd.weight',
    );
    return { fileBytes, stepBytes: read.reduce((sum, tensor) => sum + tensorBytes(tensor), 0) };
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}

/** @param {string} name of transformers, e.g. "model.layers.0.self_attn.q_proj.weight" */
export function ggufName(name) {
  const stem = name.replace(/\.weight$/, '');
  const [, layer, part = ''] = /^model\.layers\.(\d+)\.(.+)$/.exec(stem) ?? [];
  const found = layer === undefined ? OTHER_NAMES[stem] : LAYER_NAMES[part];
  if (found === undefined) throw new RangeError(`${name}: no name of llama.cpp is known for it`);
  return layer === undefined ? `${found}.weight` : `blk.${layer}.${found}.weight`;
}

/**
 * @param {ModelConfig} config
 * @param {string} name
 * @param {number} fileType
 * @returns {[string, Value][]}
 */
function metadataOf({ native, maxPositions }, name, fileType) {
  /** @param {number} value @returns {Value} */
  const u32 = (value) => ({ type: 'u32', value });
  /** @param {number} value @returns {Value} */
  const f32 = (value) => ({ type: 'f32', value });
  return [
    ['general.architecture', { type: 'string', value: name }],
    ['general.name', { type: 'string', value: 'random weights' }],
    ['general.file_type', u32(fileType)],
    ['general.quantization_version', u32(2)],
    [`${name}.vocab_size`, u32(native.vocabSize)],
    [`${name}.context_length`, u32(maxPositions)],
    [`${name}.embedding_length`, u32(native.hiddenSize)],
    [`${name}.feed_forward_length`, u32(native.intermediateSize)],
    [`${name}.block_count`, u32(native.numLayers)],
    [`${name}.attention.head_count`, u32(native.numHeads)],
    [`${name}.attention.head_count_kv`, u32(native.numKvHeads)],
    [`${name}.attention.key_length`, u32(native.headDim)],
    [`${name}.attention.value_length`, u32(native.headDim)],
    [`${name}.attention.layer_norm_rms_epsilon`, f32(native.rmsNormEps)],
    [`${name}.rope.dimension_count`, u32(2 * native.invFreq.length)],
    [`${name}.rope.freq_base`, f32(ropeBase(native.invFreq))],
  ];
}

/** @param {readonly number[]} invFreq */
function ropeBase(invFreq) {
  const base = Math.round((invFreq[1] ?? 1) ** -invFreq.length);
  const plain = invFreq.every((value, i) => Math.abs(value * base ** (i / invFreq.length) - 1) < 1e-5);
  if (!plain) throw new RangeError('only plain RoPE is taken over');
  return base;
}

/**
 * A tokenizer of made-up tokens: llama.cpp wants one, though all prompts come as token ids. Like SentencePiece's it has
 * an unknown token, begin and end, and a token for each byte, as far as there is room.
 *
 * @param {ModelConfig} config
 * @returns {[string, Value][]}
 */
function tokenizerOf({ native: { vocabSize } }) {
  const [NORMAL, UNKNOWN, CONTROL, BYTE] = [1, 2, 3, 6];
  const special = [
    { text: '<unk>', type: UNKNOWN },
    { text: '<s>', type: CONTROL },
    { text: '</s>', type: CONTROL },
    ...Array.from({ length: 256 }, (_, byte) => ({
      text: `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
      type: BYTE,
    })),
  ];
  const tokens = Array.from(
    { length: vocabSize },
    (_, id) => special[id] ?? { text: `token${id}`, type: NORMAL },
  );
  return [
    ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
    ['tokenizer.ggml.tokens', { type: 'strings', value: tokens.map(({ text }) => text) }],
    ['tokenizer.ggml.scores', { type: 'f32s', value: tokens.map((_, id) => -id) }],
    ['tokenizer.ggml.token_type', { type: 'i32s', value: tokens.map(({ type }) => type) }],
    ['tokenizer.ggml.unknown_token_id', { type: 'u32', value: 0 }],
    ['tokenizer.ggml.bos_token_id', { type: 'u32', value: 1 }],
    ['tokenizer.ggml.eos_token_id', { type: 'u32', value: 2 }],
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: false }],
    ['tokenizer.ggml.add_eos_token', { type: 'bool', value: false }],
  ];
}

/**
 * A tensor's bf16 values, some rows at a time.
 *
 * @param {FileHandle} file
 * @param {NativeTensor} tensor
 * @param {number | undefined} headDim given: the rows of each head are put in the order of `neighbours`
 * @returns {AsyncGenerator<Uint16Array>}
 */
async function* rowsOf(file, { shape, offset, bytes }, headDim) {
  const rowBytes = 2 * (shape.at(-1) ?? 1);
  const chunkRows = headDim ?? Math.max(1, Math.floor((1 << 20) / rowBytes));
  for (let at = 0; at < bytes; at += chunkRows * rowBytes) {
    const chunk = Buffer.alloc(Math.min(chunkRows * rowBytes, bytes - at));
    for (let done = 0; done < chunk.length; ) {
      const { bytesRead } = await file.read(chunk, done, chunk.length - done, offset + at + done);
      if (bytesRead === 0) throw new RangeError('the file of weights ends too early');
      done += bytesRead;
    }
    const values = new Uint16Array(chunk.buffer, chunk.byteOffset, chunk.length / 2);
    yield headDim === undefined ? values : neighbours(values, headDim);
  }
}

/**
 * Rows 0..d-1 of a head, whose pairs are (i, i + d/2), in the order in which the pairs are neighbours: 0, d/2, 1, d/2 + 1, ….
 *
 * @param {Uint16Array} head
 * @param {number} headDim d
 */
export function neighbours(head, headDim) {
  const columns = head.length / headDim;
  const result = new Uint16Array(head.length);
  for (let row = 0; row < headDim; row++) {
    const from = Math.floor(row / 2) + (row % 2) * (headDim / 2);
    result.set(head.subarray(from * columns, (from + 1) * columns), row * columns);
  }
  return result;
}

/**
 * @param {AsyncIterable<Uint16Array>} pieces of bf16 values
 * @param {GgufTensor['type']} type
 * @returns {AsyncGenerator<Uint8Array>}
 */
async function* convert(pieces, type) {
  for await (const piece of pieces) {
    if (type === 'BF16') yield new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
    else {
      const floats = widen(piece);
      yield type === 'F32' ? new Uint8Array(floats.buffer) : quantizeQ8(floats);
    }
  }
}

/** @param {Uint16Array} values bf16, the upper halves of float32 */
function widen(values) {
  const words = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) words[i] = /** @type {number} */ (values[i]) << 16;
  return new Float32Array(words.buffer);
}
