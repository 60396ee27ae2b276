/** What a generation gives back. */
import type { BlockKey } from '../cache/key.js';
import type { Flops } from './flops.js';
import type { BlockStatus } from './job.js';

export interface TokenLogprob {
  token: number;
  /** Natural logarithm of the probability in the raw distribution, before temperature and penalties. */
  logprob: number;
}

/** A piece of an answer. */
export interface GenerationPart {
  /**
   * Text that is now certain: '' while a character is unfinished or the text may become a stop string, and always ''
   * for a model without tokenizer. The texts of all parts together are the result's text.
   */
  text: string;
  /** One token; none in a part that only brings text that was held back. */
  tokens: number[];
  /** If log-probabilities were asked for: of each of `tokens`. */
  logprobs?: number[];
  /** If log-probabilities were asked for: for each of `tokens`, the likeliest tokens, likeliest first. */
  topLogprobs?: TokenLogprob[][];
}

export interface BlockUsage {
  tokens: number;
  /**
   * hit: its KV states were there, or being computed for somebody else, or for the same block earlier in this prompt;
   * miss: they were computed for this request.
   */
  status: BlockStatus;
  /** Names the block in `engine.delete`. */
  key: BlockKey;
}

export interface Usage {
  /** Blocks and query. */
  promptTokens: number;
  /**
   * Tokens that were not computed for this request: of blocks that were hits, and of the query where an answer of
   * `generateMany` has it from another one.
   */
  cachedTokens: number;
  completionTokens: number;
  /** One for each block in front of the query. */
  blocks: BlockUsage[];
}

/** Milliseconds. */
export interface Timings {
  /** Waiting for pages of the cache. */
  queue: number;
  tokenize: number;
  /** From the first row of the first missed block to the last row of the last one; 0 if all were hits. */
  encode: number;
  /** From `generate()` to the first token: queue, tokenising and encoding included. Undefined without a token. */
  firstToken: number | undefined;
  /** For each token after the first, the time since the one before it. */
  perToken: number[];
}

export interface GenerationResult {
  /** The answer, without special tokens; '' for a model without tokenizer. */
  text: string;
  /** The answer's token ids, with the end token if one ended it. */
  tokens: number[];
  /** If asked for: one for each of `tokens`. */
  logprobs?: number[];
  /** If asked for: for each of `tokens`, the likeliest tokens, likeliest first. */
  topLogprobs?: TokenLogprob[][];
  /** stop: an end token, a stop token or a stop string; length: maxTokens; aborted: `abort()`, or a reader that left. */
  finishReason: 'stop' | 'length' | 'aborted';
  /** If there is anything to say: what was done with the prompt otherwise than may be expected, for a person. */
  notes?: string[];
  usage: Usage;
  timings: Timings;
  /** Floating-point operations up to the first token. */
  flops: Flops;
}
