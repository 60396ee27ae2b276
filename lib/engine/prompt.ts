/** The ways to give a prompt: blocks, or documents in a known layout. Either way it becomes blocks and a final block. */
import { BlockAttentionError } from '../errors.js';
import { type ReferenceDocument, referenceBlocks } from '../model/reference-format.js';
import type { BlockInput } from '../model/types.js';
import {
  checkArray,
  checkBoolean,
  checkChoice,
  checkFields,
  checkString,
  type Fields,
  optional,
} from './checks.js';
import { checkInput, checkInputs, isTokenIds } from './inputs.js';

export interface PromptOptions {
  /** The blocks in front of the query, each tokenised on its own, without BOS. None unless given. */
  blocks?: readonly BlockInput[] | undefined;
  /** In place of `blocks`: documents, put into the layout that `format` names. */
  documents?: readonly ReferenceDocument[] | undefined;
  /** 'reference' (the default with `documents`): the layout of the Block-Attention models; `query` is then the question. */
  format?: 'reference' | undefined;
  /** With `documents`: begin with the text "[Block-Attention]", as in the training of those models. false unless said. */
  tag?: boolean | undefined;
}

export interface PromptInputs {
  blocks: readonly BlockInput[];
  query: BlockInput;
}

export const PROMPT_FIELDS = [
  'blocks',
  'documents',
  'format',
  'tag',
] as const satisfies readonly (keyof PromptOptions)[];

export function promptInputs(fields: Fields): PromptInputs {
  if (fields.documents !== undefined) return fromDocuments(fields);
  for (const name of ['format', 'tag'] as const) {
    if (fields[name] !== undefined)
      throw new BlockAttentionError('INVALID_ARGUMENT', `${name} needs documents`);
  }
  return {
    blocks: optional(fields.blocks, [], (value) => checkInputs(value, 'blocks')),
    query: checkQuery(fields.query),
  };
}

/** The blocks of a prompt without a query: an array of blocks, or an object as `PromptOptions` has it. */
export function promptBlocks(value: unknown): readonly BlockInput[] {
  if (Array.isArray(value)) return checkInputs(value, 'blocks');
  const fields = checkFields(value, 'blocks', PROMPT_FIELDS);
  // Any question will do: it is in the final block alone.
  return promptInputs({ ...fields, query: '-' }).blocks;
}

function fromDocuments(fields: Fields): PromptInputs {
  if (fields.blocks !== undefined) {
    throw new BlockAttentionError('INVALID_ARGUMENT', 'give either blocks or documents, not both');
  }
  optional(fields.format, 'reference', (value) => checkChoice(value, 'format', ['reference'] as const));
  return referenceBlocks({
    documents: checkDocuments(fields.documents),
    query: checkString(checkQuery(fields.query), 'query (with documents)'),
    tag: optional(fields.tag, false, (value) => checkBoolean(value, 'tag')),
  });
}

export function checkDocuments(value: unknown): ReferenceDocument[] {
  return checkArray(value, 'documents').map((entry, index) => {
    const name = `documents[${index}]`;
    const document = checkFields(entry, name, ['title', 'text']);
    return {
      title: optional(document.title, undefined, (title) => checkString(title, `${name}.title`)),
      text: checkString(document.text, `${name}.text`),
    };
  });
}

function checkQuery(value: unknown): BlockInput {
  if (value === undefined) throw emptyQuery('is missing');
  const query = checkInput(value, 'query');
  if (query === '' || (isTokenIds(query) && query.length === 0)) throw emptyQuery('is empty');
  return query;
}

export function emptyQuery(what: string): BlockAttentionError {
  return new BlockAttentionError('EMPTY_QUERY', `query ${what}; the final block needs at least one token`);
}
