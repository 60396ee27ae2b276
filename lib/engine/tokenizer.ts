/** The tokenizer of a model folder without the model: what a document becomes, for counting and for checks. */
import { join, resolve } from 'node:path';
import { BlockAttentionError } from '../errors.js';
import { fileExists } from '../model/files.js';
import { openTokenizer } from '../model/tokenizer/handle.js';
import type { TextInput, TokenizerHandle } from '../model/types.js';
import { checkArray, checkFields, checkInteger, checkSignal, checkString, optional } from './checks.js';

export interface TokenizerOptions {
  /** Longest time, ms, to compute on loading or on one call of `encode`; 60 000 unless said. */
  timeLimit?: number | undefined;
  /** Ends loading; it then rejects with ABORTED. */
  signal?: AbortSignal | undefined;
}

const FIELDS = ['timeLimit', 'signal'] as const satisfies readonly (keyof TokenizerOptions)[];

export class Tokenizer {
  readonly #handle: TokenizerHandle;

  /**
   * Loads tokenizer.json of a model folder; nothing else in it needs to be there. Rejects with TOKENIZER_MISSING if there
   * is none, IO, MODEL_FORMAT, UNSUPPORTED, INVALID_ARGUMENT, TIMEOUT, ABORTED.
   */
  static async load(path: string, options: TokenizerOptions = {}): Promise<Tokenizer> {
    checkFields(options, 'options', FIELDS);
    const file = join(resolve(checkString(path, 'path')), 'tokenizer.json');
    const timeLimit = optional(options.timeLimit, undefined, (value) =>
      checkInteger(value, 'timeLimit', { min: 1, max: 2 ** 31 - 1 }),
    );
    const signal = optional(options.signal, undefined, (value) => checkSignal(value, 'signal'));
    if (!(await fileExists(file))) {
      throw new BlockAttentionError('TOKENIZER_MISSING', `there is no ${file}`);
    }
    // Whether it fits a model is for the loading of the model to say.
    const vocabSize = Number.POSITIVE_INFINITY;
    return new Tokenizer(await openTokenizer({ path: file }, { vocabSize, timeLimit, signal }));
  }

  /** Use `Tokenizer.load()`. */
  constructor(handle: TokenizerHandle) {
    this.#handle = handle;
  }

  /**
   * Token ids of each text, as the engine tokenises a block: each on its own, without BOS, and without special tokens
   * except in parts that are marked special. Rejects with INVALID_ARGUMENT, TIMEOUT, ABORTED or CLOSED.
   */
  async encode(
    texts: readonly TextInput[],
    options?: { signal?: AbortSignal | undefined },
  ): Promise<Int32Array[]> {
    checkArray(texts, 'texts');
    return this.#handle.encode(texts, options);
  }

  /** The text of all tokens; special tokens and ids without a token are left out. */
  decode(tokens: ArrayLike<number>): string {
    return this.#handle.decode(tokens);
  }

  /** Frees it; calls of `encode` under way reject with CLOSED. */
  close(): Promise<void> {
    return this.#handle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
