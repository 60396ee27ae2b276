/**
 * tokenizer.json, as far as it is used, checked: the BPE model and the added tokens; normalizer, pre-tokenizer and decoder
 * are read elsewhere. Only BPE is supported: the tokenizers of all supported architectures are BPE, also those that were
 * converted from sentencepiece. `truncation`, `padding` and `post_processor` (which adds BOS) are left out on purpose.
 */
import { BlockAttentionError } from '../../errors.js';
import { Fields, quote } from '../fields.js';

/** A token that is recognised by its spelling, before the text is split. */
export interface AddedToken {
  id: number;
  content: string;
  /** Controls the model, and is not part of any text. */
  special: boolean;
  /** Swallows the white space before it. */
  lstrip: boolean;
  /** Swallows the white space behind it. */
  rstrip: boolean;
  /** Counts only where no word character touches it. */
  singleWord: boolean;
  /** Recognised in the normalized text. */
  normalized: boolean;
}

/** Vocabulary and merges are large and not copied: they are the objects that the JSON was parsed into. */
export interface BpeModel {
  /** Spelling to id. */
  vocab: Record<string, number>;
  /** In order of rank. */
  merges: readonly (readonly [string, string])[];
  unkToken: string | undefined;
  fuseUnk: boolean;
  byteFallback: boolean;
  ignoreMerges: boolean;
}

export interface TokenizerJson {
  model: BpeModel;
  addedTokens: readonly AddedToken[];
  normalizer: unknown;
  preTokenizer: unknown;
  decoder: unknown;
}

const MAX_ID = 2 ** 24;

export function readTokenizerJson(json: unknown, file: string): TokenizerJson {
  const fields = new Fields(file, json);
  const model = fields.object('model');
  if (model === undefined) throw fields.missing('model');
  return {
    model: readModel(model),
    addedTokens: readAddedTokens(fields),
    normalizer: fields.raw('normalizer'),
    preTokenizer: fields.raw('pre_tokenizer'),
    decoder: fields.raw('decoder'),
  };
}

function readModel(model: Fields): BpeModel {
  const type = model.string('type') ?? (model.has('merges') ? 'BPE' : 'unknown');
  if (type !== 'BPE') throw model.unsupported('type', 'the tokenizer must be BPE.');
  for (const name of ['continuing_subword_prefix', 'end_of_word_suffix']) {
    if ((model.string(name) ?? '') !== '') throw model.unsupported(name, 'it must be empty.');
  }
  const vocab = model.raw('vocab');
  if (!isVocabulary(vocab)) throw model.wrong('vocab', `integers from 0 to ${MAX_ID} by spelling`);
  return {
    vocab,
    merges: readMerges(model),
    unkToken: model.string('unk_token'),
    fuseUnk: model.boolean('fuse_unk', false),
    byteFallback: model.boolean('byte_fallback', false),
    ignoreMerges: model.boolean('ignore_merges', false),
  };
}

function readMerges(model: Fields): [string, string][] {
  const merges = model.raw('merges');
  if (!Array.isArray(merges)) throw model.wrong('merges', 'a list of pairs');
  // Older files write a pair as one string with a space between.
  const isOld = typeof merges[0] === 'string';
  const pairs: unknown[] = isOld
    ? merges.map((merge: unknown) => (typeof merge === 'string' ? merge.split(' ') : merge))
    : merges;
  if (pairs.every(isPair)) return pairs;
  const wrong = quote(pairs.find((pair) => !isPair(pair)));
  throw new BlockAttentionError(
    'MODEL_FORMAT',
    `${model.file}: ${wrong} in model.merges is not a pair of tokens.`,
  );
}

function readAddedTokens(fields: Fields): AddedToken[] {
  const list = fields.raw('added_tokens') ?? [];
  if (!Array.isArray(list)) throw fields.wrong('added_tokens', 'a list');
  return list.map((entry: unknown, index) => {
    const token = new Fields(fields.file, entry, `added_tokens[${index}].`);
    const content = token.string('content');
    if (content === undefined || content === '') throw token.wrong('content', 'text');
    return {
      id: token.integer('id', { min: 0, max: MAX_ID }),
      content,
      special: token.boolean('special', false),
      lstrip: token.boolean('lstrip', false),
      rstrip: token.boolean('rstrip', false),
      singleWord: token.boolean('single_word', false),
      normalized: token.boolean('normalized', true),
    };
  });
}

function isVocabulary(value: unknown): value is Record<string, number> {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every(isId)
  );
}

function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_ID;
}

function isPair(value: unknown): value is [string, string] {
  return (
    Array.isArray(value) && value.length === 2 && typeof value[0] === 'string' && typeof value[1] === 'string'
  );
}
