/**
 * What a model folder holds, and the tokenizer, as the engine sees them. The other files of lib/model fill these in.
 */
import type { ChatTemplate } from './chat-template.js';
import type { DType, NativeModelConfig, NativeTensor } from '../native.js';

/** Values of config.json's `architectures` that are supported. */
export const ARCHITECTURES = [
  'LlamaForCausalLM',
  'MistralForCausalLM',
  'Qwen2ForCausalLM',
  'Qwen3ForCausalLM',
] as const;

export type Architecture = (typeof ARCHITECTURES)[number];

/** config.json, of transformers 4 or 5, checked. */
export interface ModelConfig {
  architecture: Architecture;
  native: NativeModelConfig;
  /** Most positions (prompt and answer) that the model was made for. */
  maxPositions: number;
  /** The type the weights are declared to have; each tensor is kept in its own. */
  dtype: DType;
  /** Projections with a bias. */
  attentionBias: 'none' | 'qkv' | 'qkvo';
  mlpBias: boolean;
  /** As config.json says; `GenerationDefaults.eosTokenIds` is what ends an answer. */
  eosTokenIds: readonly number[];
  bosTokenId: number | undefined;
}

/** Where the weights lie; see `NativeWeights`. */
export interface WeightsIndex {
  /** Absolute paths. */
  files: string[];
  tensors: NativeTensor[];
}

/** How a token is drawn unless a request says otherwise. 0 or 1 switch a rule off, as noted. */
export interface SamplingDefaults {
  /** 0: greedy. */
  temperature: number;
  /** 0: off. */
  topK: number;
  /** 1: off. */
  topP: number;
  /** 0: off. */
  minP: number;
  /** 1: off. */
  repetitionPenalty: number;
}

/** generation_config.json. */
export interface GenerationDefaults {
  /** Any of them ends an answer: the ids of generation_config.json and those of config.json together. */
  eosTokenIds: readonly number[];
  sampling: SamplingDefaults;
  /** Which of `sampling` the file named; the others have neutral values. */
  given: readonly (keyof SamplingDefaults)[];
}

/** A tokenizer that has not been loaded yet. */
export interface TokenizerSource {
  /** Absolute path of tokenizer.json. */
  path: string;
}

export interface ModelFolder {
  /** Absolute. */
  path: string;
  config: ModelConfig;
  weights: WeightsIndex;
  generation: GenerationDefaults;
  /** Undefined without tokenizer.json: such a model works with token ids alone. */
  tokenizer: TokenizerSource | undefined;
  chatTemplate: ChatTemplate | undefined;
}

/** A stretch of a block's text. */
export interface TextPart {
  text: string;
  /** True: spellings of special tokens inside `text` are special tokens. False unless said: they are plain text. */
  special?: boolean;
}

/**
 * Text to tokenise. A string is plain text: whatever it contains, it never becomes a special token. In `parts`, special
 * tokens are recognised inside the parts marked special, and the text between two of them is tokenised as one run
 * across the borders of parts.
 */
export type TextInput = string | { parts: readonly TextPart[] };

/** A block or a query as a caller gives it: text, or token ids. */
export type BlockInput = TextInput | Int32Array | readonly number[];

/** Turns the tokens of one answer into text, piece by piece. */
export interface StreamDecoder {
  /** The text that these tokens complete; '' while a character is unfinished. */
  push(tokens: ArrayLike<number>): string;
  /** What is left at the end: an unfinished character becomes U+FFFD. The decoder then begins anew. */
  end(): string;
}

/** A loaded tokenizer. The work is done in a worker thread, except for decoding. */
export interface TokenizerHandle {
  /** SHA-256 of tokenizer.json, hexadecimal. */
  readonly digest: string;
  /** One more than the largest id that it can produce. */
  readonly size: number;
  /** Spelling to id of all special tokens. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /**
   * Token ids of each input, each tokenised on its own, without BOS. Rejects with ABORTED if `signal` fired, TIMEOUT if
   * the worker computed for longer than the time limit, CLOSED after `close()`.
   */
  encode(inputs: readonly TextInput[], options?: { signal?: AbortSignal | undefined }): Promise<Int32Array[]>;
  streamDecoder(): StreamDecoder;
  /** The text of all tokens; special tokens and ids without a token are left out. */
  decode(tokens: ArrayLike<number>): string;
  /** Frees the tokenizer in the worker; calls of `encode` under way reject with CLOSED. */
  close(): Promise<void>;
}

export interface OpenTokenizerOptions {
  /** The model's vocabulary: TOKENIZER_MISMATCH if the tokenizer has ids beyond it. */
  vocabSize: number;
  /** Longest time, ms, that the worker may compute on loading or on one `encode` call. 60 000 unless said. */
  timeLimit?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** `openTokenizer` of lib/model/tokenizer/handle.ts. */
export type OpenTokenizer = (
  source: TokenizerSource,
  options: OpenTokenizerOptions,
) => Promise<TokenizerHandle>;
