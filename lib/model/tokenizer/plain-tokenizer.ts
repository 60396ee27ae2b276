/**
 * A tokenizer for text that nobody vouches for: it cannot produce a special token, whatever the text spells.
 *
 * The library is @huggingface/tokenizers: it is the official one in plain JavaScript (no binary for each platform), and
 * over the vocabularies tried it gives the ids of the reference. It is several times slower than the native one, but it
 * runs in a worker thread, and every text is tokenised once. What it lacks, like the native one, is a way to read special
 * tokens as plain text. So the file that it is given has none: special tokens are taken out of the added tokens, and out
 * of the BPE model (its vocabulary and the merges that spell one), where some models list them too.
 *
 * Added tokens that are not special (Qwen's <tool_call>, Gemma's runs of newlines) are still recognised in plain text, as
 * in the reference: they are text.
 */
import { Tokenizer } from '@huggingface/tokenizers';
import { BlockAttentionError } from '../../errors.js';
import type { BpeModel, TokenizerJson } from './tokenizer-json.js';
import { withWordSplit } from './word-split.js';

/** Marks the renamed unknown token: half a surrogate pair, which no well-formed text contains. */
const UNSPELLABLE = '\ud800';
const LONE_SURROGATE = /\p{Surrogate}/gu;

type Json = Readonly<Record<string, unknown>>;

/** What is used of the library's class. */
interface LibraryTokenizer {
  model: unknown;
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
}

export class PlainTokenizer {
  readonly #file: string;
  readonly #first: LibraryTokenizer;
  /** For text that does not begin its block; the same unless the tokenizer treats a beginning in its own way. */
  readonly #later: LibraryTokenizer;

  /** @param tokenizer Is taken over: its vocabulary loses the special tokens. */
  constructor(tokenizer: TokenizerJson, file: string) {
    this.#file = file;
    const json = withoutSpecialTokens(tokenizer);
    this.#first = build(json, file);
    this.#later = this.#first;
    const preTokenizer = withoutFirstPrefix(json.pre_tokenizer);
    if (preTokenizer !== json.pre_tokenizer) {
      const empty = { type: 'BPE', vocab: {}, merges: [], unk_token: null };
      this.#later = build({ ...json, model: empty, pre_tokenizer: preTokenizer }, file);
      // The model is the large part, and the same.
      this.#later.model = this.#first.model;
    }
  }

  /** Token ids of `text`, which stands at the beginning of its block or not. */
  encode(text: string, isFirst: boolean): number[] {
    const tokenizer = isFirst ? this.#first : this.#later;
    // A lone surrogate cannot be written as UTF-8.
    const { ids } = this.#encode(tokenizer, text.replace(LONE_SURROGATE, '\ufffd'));
    // A character without a token, in a model without an unknown token, has no id: the reference leaves it out.
    return ids.filter((id) => id !== undefined);
  }

  #encode(tokenizer: LibraryTokenizer, text: string): { ids: (number | undefined)[] } {
    try {
      return tokenizer.encode(text, { add_special_tokens: false });
    } catch (error) {
      throw unusable(this.#file, error);
    }
  }
}

function build(json: Json, file: string): LibraryTokenizer {
  try {
    return new Tokenizer(json, {});
  } catch (error) {
    throw unusable(file, error);
  }
}

/** What the library does not understand shows when it is made, or only with a text. */
function unusable(file: string, error: unknown): BlockAttentionError {
  const cause = error instanceof Error ? error.message : String(error);
  return new BlockAttentionError('UNSUPPORTED', `${file}: the tokenizer cannot be used: ${cause}`, {
    cause: error,
  });
}

function withoutSpecialMerges(merges: BpeModel['merges'], special: ReadonlySet<string>): BpeModel['merges'] {
  const longest = Math.max(0, ...[...special].map((token) => token.length));
  // Half a million pairs: most are told apart by their length.
  return merges.filter(([left, right]) => left.length + right.length > longest || !special.has(left + right));
}

/** What the library is given, in the form of tokenizer.json. */
function withoutSpecialTokens(tokenizer: TokenizerJson): Json & { pre_tokenizer: unknown } {
  const { model, addedTokens } = tokenizer;
  const special = new Set(addedTokens.filter((token) => token.special).map((token) => token.content));
  const { unkToken } = model;
  const isUnkSpecial = unkToken !== undefined && special.has(unkToken);
  const unkId = unkToken === undefined ? undefined : model.vocab[unkToken];
  const plainUnk = isUnkSpecial ? UNSPELLABLE + unkToken : unkToken;
  const { vocab } = model;
  for (const token of special) delete vocab[token];
  if (plainUnk !== undefined && unkId !== undefined) vocab[plainUnk] = unkId;
  return {
    normalizer: tokenizer.normalizer ?? null,
    pre_tokenizer: withWordSplit(tokenizer.preTokenizer, model) ?? null,
    post_processor: null,
    decoder: null,
    added_tokens: addedTokens
      .filter((token) => !token.special)
      .map(({ singleWord, ...token }) => ({ ...token, single_word: singleWord })),
    model: {
      type: 'BPE',
      vocab,
      merges: withoutSpecialMerges(model.merges, special),
      unk_token: plainUnk ?? null,
      fuse_unk: model.fuseUnk,
      byte_fallback: model.byteFallback,
      ignore_merges: model.ignoreMerges,
    },
  };
}

/** The pre-tokenizer for later text: where a space is put before the first word alone, none is put. */
function withoutFirstPrefix(preTokenizer: unknown): unknown {
  if (typeof preTokenizer !== 'object' || preTokenizer === null) return preTokenizer;
  const { type, prepend_scheme: scheme, pretokenizers } = preTokenizer as Json;
  if (type === 'Metaspace' && scheme === 'first') return { ...preTokenizer, prepend_scheme: 'never' };
  if (type === 'Sequence' && Array.isArray(pretokenizers)) {
    const steps = pretokenizers.map(withoutFirstPrefix);
    if (steps.some((step, i) => step !== pretokenizers[i])) return { ...preTokenizer, pretokenizers: steps };
  }
  return preTokenizer;
}
