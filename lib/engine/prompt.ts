/**
 * The ways to give a prompt: blocks, documents in a known layout, a conversation, or plain text. Each becomes blocks and a
 * final block.
 */
import { BlockAttentionError } from '../errors.js';
import { CHAT_ROLES, type ChatFormat, type ChatMessage, type ChatPrompt } from '../model/chat-format.js';
import { type ReferenceDocument, referenceBlocks, TAG } from '../model/reference-format.js';
import { segment } from '../model/segment.js';
import type { BlockInput } from '../model/types.js';
import {
  checkArray,
  checkBoolean,
  checkChoice,
  checkFields,
  checkString,
  type Fields,
  invalid,
  optional,
} from './checks.js';
import { checkInput, checkInputs, isTokenIds } from './inputs.js';

export interface PromptOptions {
  /** The blocks in front of the query, each tokenised on its own, without BOS. None unless given. */
  blocks?: readonly BlockInput[] | undefined;
  /** In place of `blocks`: documents, put into the layout that `format` names. */
  documents?: readonly ReferenceDocument[] | undefined;
  /**
   * In place of `blocks`: a conversation, put into the layout of the model's own chat template. Earlier messages are
   * blocks, and the last one, of the user, is the final block; or leave it out and give it as `query`. Texts of messages
   * never become special tokens.
   */
  messages?: readonly ChatMessage[] | undefined;
  /**
   * In place of `blocks` and `query`: plain text, cut at the first of these that it has: "\n\n", "---", "===", "\n\t", "\n";
   * the shortest pieces are merged until there are fewer than 15, and the last one is the final block.
   */
  prompt?: string | undefined;
  /**
   * 'reference' (the default with `documents`): the layout of the Block-Attention models; `query` is then the question.
   * 'chat' (the default with `messages`): the model's own chat template. If it does not print documents, they are put into
   * the last user message in the reference layout, and the result's `notes` say so. 'plain': the default with `prompt`.
   */
  format?: 'reference' | 'chat' | 'plain' | undefined;
  /** With a `format`: begin with the text "[Block-Attention]", as in the training of those models. false unless said. */
  tag?: boolean | undefined;
  /**
   * With format 'chat': what a template prints as today's date, "26 Jul 2024" unless said. It is never the clock's: the
   * date stands in a block, which then would be another one every day.
   */
  dateString?: string | undefined;
}

export interface PromptInputs {
  blocks: readonly BlockInput[];
  query: BlockInput;
  /** What was done otherwise than the caller may expect. */
  notes?: readonly string[];
}

/** A prompt that is checked; what a chat template makes of it is not known yet. */
export type CheckedPrompt = PromptInputs | { chat: ChatPrompt };

export const PROMPT_FIELDS = [
  'blocks',
  'documents',
  'messages',
  'prompt',
  'format',
  'tag',
  'dateString',
] as const satisfies readonly (keyof PromptOptions)[];

const FORMATS = ['reference', 'chat', 'plain'] as const;

/** Formats that a source of the prompt can have; the first is its default. */
const FORMATS_OF = {
  blocks: [],
  documents: ['reference', 'chat'],
  messages: ['chat'],
  prompt: ['plain'],
} as const satisfies Record<string, readonly (typeof FORMATS)[number][]>;

const MAX_DATE_LENGTH = 100;

export function checkPrompt(fields: Fields): CheckedPrompt {
  switch (checkFormat(fields)) {
    case 'reference':
      return referenceBlocks({
        documents: checkDocuments(fields.documents),
        query: checkString(checkQuery(fields.query), 'query (with documents)'),
        tag: checkTag(fields),
      });
    case 'chat':
      return { chat: chatPrompt(fields) };
    case 'plain':
      return plainPrompt(fields);
    case undefined:
      return {
        blocks: optional(fields.blocks, [], (value) => checkInputs(value, 'blocks')),
        query: checkQuery(fields.query),
      };
  }
}

/** A prompt without a query: an array of blocks, or an object as `PromptOptions` has it. */
export function checkPromptBlocks(value: unknown): CheckedPrompt {
  // Any question will do: it is in the final block alone.
  const query = '-';
  if (Array.isArray(value)) return { blocks: checkInputs(value, 'blocks'), query };
  const fields = checkFields(value, 'blocks', PROMPT_FIELDS);
  const hasQuery = fields.prompt !== undefined || lastRole(fields.messages) === 'user';
  return checkPrompt(hasQuery ? fields : { ...fields, query });
}

/** What the model's chat template makes of it, if it is for it. */
export async function resolvePrompt(
  prompt: CheckedPrompt,
  chat: ChatFormat | undefined,
  signal: AbortSignal | undefined,
): Promise<PromptInputs> {
  if (!('chat' in prompt)) return prompt;
  if (chat === undefined) {
    throw new BlockAttentionError(
      'UNSUPPORTED',
      'format "chat" needs a chat template, and the model folder has none, or no tokenizer; use blocks or documents',
    );
  }
  return chat.blocks(prompt.chat, signal);
}

/** Undefined: blocks, as they are. */
function checkFormat(fields: Fields): (typeof FORMATS)[number] | undefined {
  const sources = (['blocks', 'messages', 'prompt', 'documents'] as const).filter(
    (name) => fields[name] !== undefined,
  );
  const [source = 'blocks', other] = sources;
  if (other !== undefined && !(source === 'messages' && other === 'documents' && sources.length === 2)) {
    throw new BlockAttentionError(
      'INVALID_ARGUMENT',
      `give either ${sources.join(' or ')}, not both; only messages and documents go together`,
    );
  }
  const allowed: readonly (typeof FORMATS)[number][] = FORMATS_OF[source];
  const format = optional(fields.format, allowed[0], (value) => checkChoice(value, 'format', FORMATS));
  const needs = (name: string, what: string) =>
    new BlockAttentionError('INVALID_ARGUMENT', `${name} needs ${what}`);
  if (format !== undefined && !allowed.includes(format)) {
    const wanted = Object.entries(FORMATS_OF).filter(([, formats]) =>
      formats.some((name) => name === format),
    );
    throw needs(`format "${format}"`, wanted.map(([name]) => name).join(' or '));
  }
  if (fields.tag !== undefined && format === undefined) throw needs('tag', 'documents, messages or prompt');
  if (fields.dateString !== undefined && format !== 'chat') throw needs('dateString', 'format "chat"');
  return format;
}

function checkTag(fields: Fields): boolean {
  return optional(fields.tag, false, (value) => checkBoolean(value, 'tag'));
}

function plainPrompt(fields: Fields): PromptInputs {
  if (fields.query !== undefined)
    throw new BlockAttentionError('INVALID_ARGUMENT', 'query has no place beside prompt, whose end it is');
  const prompt = checkString(fields.prompt, 'prompt');
  if (prompt === '') throw emptyQuery('is missing: prompt is empty');
  return segment(checkTag(fields) ? TAG + prompt : prompt);
}

function chatPrompt(fields: Fields): ChatPrompt {
  const messages = optional(fields.messages, [], checkMessages);
  const isLast = fields.query === undefined && messages.at(-1)?.role === 'user';
  const query = isLast ? messages.pop()?.content : fields.query;
  return {
    earlier: messages,
    documents: optional(fields.documents, [], checkDocuments),
    query: checkString(checkQuery(query), 'query (with format "chat")'),
    dateString: optional(fields.dateString, undefined, checkDate),
    tag: checkTag(fields),
  };
}

function checkMessages(value: unknown): ChatMessage[] {
  return checkArray(value, 'messages').map((entry, index) => {
    const name = `messages[${index}]`;
    const message = checkFields(entry, name, ['role', 'content']);
    return {
      // The template prints it, and what it prints is trusted.
      role: checkChoice(message.role, `${name}.role`, CHAT_ROLES),
      content: checkString(message.content, `${name}.content`),
    };
  });
}

function checkDate(value: unknown): string {
  const date = checkString(value, 'dateString');
  if (date.length <= MAX_DATE_LENGTH) return date;
  throw invalid('dateString', `a string of at most ${MAX_DATE_LENGTH} characters`, value);
}

function lastRole(messages: unknown): unknown {
  const last: unknown = Array.isArray(messages) ? messages.at(-1) : undefined;
  return typeof last === 'object' && last !== null && 'role' in last ? last.role : undefined;
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
