/**
 * The parts of tokenizer.json that this package looks at itself, checked: the BPE model and the added tokens. Only BPE is
 * supported: the tokenizers of all supported architectures are BPE, also those converted from sentencepiece.
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
}

export interface TokenizerJson {
  /** The whole file; its other parts are left to the tokenizer library. */
  raw: Readonly<Record<string, unknown>>;
  /** `raw.model`. */
  model: Readonly<Record<string, unknown>>;
  vocab: ReadonlyMap<string, number>;
  /** Pairs in order of rank. */
  merges: readonly (readonly [string, string])[];
  unkToken: string | undefined;
  addedTokens: readonly AddedToken[];
}

const MAX_ID = 2 ** 24;

export function readTokenizerJson(json: unknown, file: string): TokenizerJson {
  const fields = new Fields(file, json);
  const model = fields.object('model');
  if (model === undefined) throw fields.missing('model');
  const type = model.string('type') ?? (model.has('merges') ? 'BPE' : 'unknown');
  if (type !== 'BPE') throw model.unsupported('type', 'the tokenizer must be BPE.');
  for (const name of ['continuing_subword_prefix', 'end_of_word_suffix']) {
    if ((model.string(name) ?? '') !== '') throw model.unsupported(name, 'it must be empty.');
  }
  return {
    raw: asRecord(json),
    model: asRecord(fields.raw('model')),
    vocab: readVocabulary(model),
    merges: readMerges(model),
    unkToken: model.string('unk_token'),
    addedTokens: readAddedTokens(fields),
  };
}

function readVocabulary(model: Fields): Map<string, number> {
  const entries = Object.entries(asRecord(model.raw('vocab')));
  if (entries.length === 0) throw model.wrong('vocab', 'token ids by spelling');
  return new Map(
    entries.map(([token, id]) => {
      if (!isId(id))
        throw new BlockAttentionError(
          'MODEL_FORMAT',
          `${model.file}: token ${quote(token)} has id ${quote(id)}.`,
        );
      return [token, id];
    }),
  );
}

/** Older files write a pair as one string with a space between. */
function readMerges(model: Fields): [string, string][] {
  const merges = model.raw('merges');
  if (!Array.isArray(merges)) throw model.wrong('merges', 'a list of pairs');
  return merges.map((merge: unknown) => {
    const pair: unknown[] = typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? merge : [];
    const [left, right] = pair;
    if (pair.length !== 2 || typeof left !== 'string' || typeof right !== 'string') {
      throw new BlockAttentionError(
        'MODEL_FORMAT',
        `${model.file}: ${quote(merge)} in model.merges is not a pair of tokens.`,
      );
    }
    return [left, right];
  });
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
    };
  });
}

function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_ID;
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}
