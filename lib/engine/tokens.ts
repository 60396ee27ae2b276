/** From what a caller gives to token ids of the model's vocabulary. */
import { BlockAttentionError } from '../errors.js';
import { TokenMemo, textDigest } from '../model/tokenizer/memo.js';
import type { BlockInput, TextInput, TokenizerHandle } from '../model/types.js';
import { isTokenIds } from './inputs.js';
import { checkToken } from './sampling.js';

export interface NamedInput {
  /** For error messages, e.g. "blocks[3]". */
  name: string;
  input: BlockInput;
  /** Texts that will come again; a query will not. */
  remember: boolean;
}

const MEMO_BYTES = 16 << 20;

export class TokenSource {
  readonly #tokenizer: TokenizerHandle | undefined;
  readonly #vocabSize: number;
  readonly #memo = new TokenMemo(MEMO_BYTES);

  constructor(tokenizer: TokenizerHandle | undefined, vocabSize: number) {
    this.#tokenizer = tokenizer;
    this.#vocabSize = vocabSize;
  }

  /** Token ids of each input, each tokenised on its own. */
  async tokens(inputs: readonly NamedInput[], signal?: AbortSignal): Promise<Int32Array[]> {
    const results = new Map<NamedInput, Int32Array>();
    const unknown: { named: NamedInput; text: TextInput; digest: string }[] = [];
    for (const named of inputs) {
      if (isTokenIds(named.input)) {
        results.set(named, this.#checkedIds(named.input, named.name));
        continue;
      }
      const digest = textDigest(named.input);
      const known = this.#memo.get(digest);
      if (known !== undefined) results.set(named, known);
      else unknown.push({ named, text: named.input, digest });
    }
    if (unknown.length > 0) {
      const tokenizer = this.#need(unknown[0]?.named.name ?? '');
      const encoded = await tokenizer.encode(
        unknown.map(({ text }) => text),
        { signal },
      );
      for (const [index, { named, digest }] of unknown.entries()) {
        const tokens = encoded[index] ?? new Int32Array();
        results.set(named, tokens);
        if (named.remember) this.#memo.set(digest, tokens);
      }
    }
    return inputs.map((named) => results.get(named) ?? new Int32Array());
  }

  #need(name: string): TokenizerHandle {
    if (this.#tokenizer !== undefined) return this.#tokenizer;
    throw new BlockAttentionError(
      'TOKENIZER_MISSING',
      `${name} is text, but the model folder has no tokenizer.json; give token ids`,
    );
  }

  /** A copy: the caller may go on to use what it gave. */
  #checkedIds(ids: Int32Array | readonly number[], name: string): Int32Array {
    const vocabSize = this.#vocabSize;
    const checked = new Int32Array(ids.length);
    for (let index = 0; index < checked.length; index++) {
      const id: unknown = ids[index];
      // There may be a million: a name for each, in case that it is wrong, would take longest of all.
      const isToken = typeof id === 'number' && id >>> 0 === id && id < vocabSize;
      checked[index] = isToken ? id : checkToken(id, `${name}[${index}]`, vocabSize);
    }
    return checked;
  }
}
