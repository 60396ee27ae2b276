/**
 * `format: 'chat'`: a conversation in the layout of the model's own chat template, cut into blocks.
 *
 * The template is rendered with sentinels (strings that nobody can guess) in place of the documents, of the messages and
 * of the date, so that what it printed itself, which is trusted, is told apart from what it was given, which never makes a
 * special token. Earlier turns are blocks, documents are blocks, and the last user message is the final block. Most
 * templates ignore `documents`: then these go into the last user message, in the reference layout.
 */
import { randomBytes } from 'node:crypto';
import { BlockAttentionError } from '../errors.js';
import { cutIntoBlocks, type ChatContents } from './chat-cut.js';
import { findSlots, pieceText, type Piece, sentinels, type Sentinels } from './chat-slots.js';
import type { ChatTemplate } from './chat-template.js';
import { type ReferenceDocument, TAG } from './reference-format.js';
import type { TemplateRequest } from './tokenizer/messages.js';
import type { TextInput } from './types.js';

export const CHAT_ROLES = ['system', 'user', 'assistant'] as const;

export interface ChatMessage {
  role: (typeof CHAT_ROLES)[number];
  content: string;
}

export interface ChatPrompt {
  /** What was said before, in order. */
  earlier: readonly ChatMessage[];
  documents: readonly ReferenceDocument[];
  /** The last user message. */
  query: string;
  /** What a template prints as today's date. */
  dateString: string | undefined;
  /** Begin with the literal text `[Block-Attention]`. */
  tag: boolean;
}

export interface ChatBlocks {
  blocks: TextInput[];
  query: TextInput;
  /** What was done otherwise than the caller may expect. */
  notes: string[];
}

/** Runs a template; `renderTemplate` of tokenizer/handle.ts. */
export type RenderTemplate = (
  request: TemplateRequest,
  options: { timeLimit: number; signal?: AbortSignal | undefined },
) => Promise<string[]>;

/** The date that Llama's template prints where there is no clock. */
export const DEFAULT_DATE = '26 Jul 2024';

/** ms; real templates take some. */
const TIME_LIMIT = 10_000;

/** Shapes of conversations whose rendering is remembered. */
const MAX_REMEMBERED = 64;

type Context = Readonly<Record<string, unknown>>;

/** What a template makes of conversations of one shape: these roles, so many documents (all with a title). */
interface Layouts {
  /** With the documents handed to the template; undefined without documents. */
  documents: Piece[] | undefined;
  /** Two documents: where one ends and the next begins. */
  pair: Piece[] | undefined;
  plain: Piece[];
}

export class ChatFormat {
  readonly #template: ChatTemplate;
  readonly #render: RenderTemplate;
  readonly #timeLimit: number;
  readonly #sentinels: Sentinels = sentinels(randomBytes(16).toString('hex'));
  readonly #layouts = new Map<string, Layouts>();

  /** @param options.timeLimit ms that a rendering may take. */
  constructor(template: ChatTemplate, render: RenderTemplate, options: { timeLimit?: number } = {}) {
    this.#template = template;
    this.#render = render;
    this.#timeLimit = options.timeLimit ?? TIME_LIMIT;
  }

  /**
   * Rejects with INVALID_ARGUMENT if the template refuses the messages, UNSUPPORTED if it does not end with the last user
   * message, MODEL_FORMAT, TIMEOUT, ABORTED.
   */
  async blocks(prompt: ChatPrompt, signal?: AbortSignal): Promise<ChatBlocks> {
    const { earlier, documents } = prompt;
    const layouts = await this.#layoutsOf(prompt, signal);
    const { layout, inside } = this.#choose(layouts, documents);
    const notes: string[] = [];
    if (documents.length > 0 && !inside) {
      notes.push(
        'the chat template does not print documents: they are in the last user message, in the reference layout',
      );
    }
    const contents = {
      earlier: await this.#contents(prompt, layout, inside, notes, signal),
      documents,
      query: prompt.query,
      dateString: prompt.dateString ?? DEFAULT_DATE,
    } satisfies ChatContents;
    const printed = new Set(layout.map((piece) => (piece.kind === 'message' ? piece.index : -1)));
    const missing = earlier.findIndex((_, index) => !printed.has(index));
    if (missing >= 0) notes.push(`the chat template does not print messages[${missing}]`);
    if (prompt.dateString === undefined && layout.some((piece) => piece.kind === 'date'))
      notes.push(`the chat template prints a date: it is ${DEFAULT_DATE} unless dateString says otherwise`);
    const documentsInQuery = documents.length > 0 && !inside;
    const cut = cutIntoBlocks(documentsInQuery ? layout.map(behindDocuments) : layout, contents, {
      documentsInQuery,
      pair: layouts.pair ?? layout,
      specialTokens: Object.values(this.#template.specialTokens),
      eosToken: this.#template.specialTokens.eos_token,
    });
    if (prompt.tag) (cut.blocks[0] ?? cut.query).unshift({ text: TAG });
    return { blocks: cut.blocks.map((parts) => ({ parts })), query: { parts: cut.query }, notes };
  }

  /** Renders with sentinels for everything; texts have no part in it, so it is done once for each shape. */
  async #layoutsOf(prompt: ChatPrompt, signal: AbortSignal | undefined): Promise<Layouts> {
    const { earlier, documents } = prompt;
    const key = JSON.stringify([earlier.map(({ role }) => role), documents.length]);
    const known = this.#layouts.get(key);
    if (known !== undefined) return known;
    const { message } = this.#sentinels;
    const messages = earlier.map(({ role }, index) => ({ role, content: message(index) }));
    const counts = documents.length === 0 ? [0] : [0, documents.length];
    // One document does not show where the next one would begin.
    if (documents.length === 1) counts.push(2);
    const contexts = counts.map((count) => this.#context(messages, count));
    const [plain = [], inside, pair] = (await this.#texts(contexts, signal)).map((text) =>
      findSlots(text, this.#sentinels),
    );
    const layouts = { plain, documents: inside, pair };
    if (this.#layouts.size >= MAX_REMEMBERED) this.#layouts.clear();
    this.#layouts.set(key, layouts);
    return layouts;
  }

  #choose(layouts: Layouts, documents: readonly ReferenceDocument[]): { layout: Piece[]; inside: boolean } {
    const inside = layouts.documents !== undefined && printsAll(layouts.documents, documents);
    const layout = inside && layouts.documents !== undefined ? layouts.documents : layouts.plain;
    const last = layout.findLast((piece) => piece.kind !== 'literal' && piece.kind !== 'date');
    if (last?.kind !== 'query' || layout.filter((piece) => piece.kind === 'query').length !== 1) {
      throw new BlockAttentionError(
        'UNSUPPORTED',
        `${this.#template.file}: the chat template does not print the last user message once, behind everything else`,
      );
    }
    return { layout, inside };
  }

  /**
   * What stands for each earlier message in the prompt. Templates may look into a message (those of reasoning models leave
   * earlier thoughts out), which a sentinel does not show: so it is compared with the rendering of the real messages.
   */
  async #contents(
    prompt: ChatPrompt,
    layout: Piece[],
    inside: boolean,
    notes: string[],
    signal: AbortSignal | undefined,
  ): Promise<string[]> {
    const given = prompt.earlier.map(({ content }) => content);
    if (given.length === 0) return given;
    const context = this.#context(prompt.earlier, inside ? prompt.documents.length : 0);
    const [real] = await this.#texts([context], signal);
    const withContents = (contents: readonly string[]) =>
      layout.map((piece) => pieceText(piece, contents)).join('');
    if (withContents(given) === real) return given;
    const thoughtless = prompt.earlier.map(({ role, content }) =>
      role === 'assistant' ? withoutThoughts(content) : content,
    );
    if (withContents(thoughtless) === real) return thoughtless;
    notes.push('the chat template treats some messages by what they say: they are in the prompt as they are');
    return given;
  }

  /** The variables that transformers sets. */
  #context(earlier: readonly ChatMessage[], documents: number): Context {
    const { query, title, text, date } = this.#sentinels;
    return {
      ...this.#template.specialTokens,
      messages: [...earlier, { role: 'user', content: query }],
      tools: null,
      documents:
        documents === 0
          ? null
          : Array.from({ length: documents }, (_, index) => ({ title: title(index), text: text(index) })),
      add_generation_prompt: true,
      date_string: date,
    };
  }

  async #texts(contexts: Context[], signal: AbortSignal | undefined): Promise<string[]> {
    const { file, source } = this.#template;
    const timeLimit = this.#timeLimit;
    try {
      return await this.#render(
        { file, source, date: this.#sentinels.date, contexts },
        { timeLimit, signal },
      );
    } catch (error) {
      if (!(error instanceof BlockAttentionError) || error.code !== 'TIMEOUT') throw error;
      const message = `The chat template of ${file} ran for longer than the limit of ${timeLimit} ms.`;
      throw new BlockAttentionError('TIMEOUT', message, { cause: error });
    }
  }
}

/** Every title and text once, in order, in front of the last user message; titles only if there are any. */
function printsAll(layout: readonly Piece[], documents: readonly ReferenceDocument[]): boolean {
  const end = layout.findIndex((piece) => piece.kind === 'query');
  const indices = (kind: 'title' | 'text') =>
    layout.slice(0, Math.max(end, 0)).flatMap((piece) => (piece.kind === kind ? [piece.index] : []));
  const isEvery = (found: readonly number[]) =>
    found.length === documents.length && found.every((index, i) => index === i);
  const titles = indices('title');
  const needsTitles = documents.some(({ title }) => title !== undefined);
  return isEvery(indices('text')) && (isEvery(titles) || (titles.length === 0 && !needsTitles));
}

/** What the template strips from the beginning of the message then is not the question's. */
function behindDocuments(piece: Piece): Piece {
  return piece.kind === 'query' ? { ...piece, trimStart: false } : piece;
}

/** As the templates of reasoning models do it with earlier answers. */
function withoutThoughts(content: string): string {
  const end = content.lastIndexOf('</think>');
  return end < 0 ? content : content.slice(end + '</think>'.length).replace(/^\n+/, '');
}
