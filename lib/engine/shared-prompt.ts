/** The prompt of one generation, or of several answers to it: resolved, tokenised and planned once. */
import type { KeyScheme } from '../cache/key.js';
import type { ChatFormat } from '../model/chat-format.js';
import { nativeNow } from '../native.js';
import { type Plan, planBlocks } from './blocks.js';
import { emptyQuery, resolvePrompt } from './prompt.js';
import type { CheckedRequest } from './request.js';
import type { TokenSource } from './tokens.js';

export interface PromptContext {
  tokens: TokenSource;
  /** Undefined: the model has no chat template. */
  chat: ChatFormat | undefined;
  keys: KeyScheme;
}

export interface PlannedPrompt {
  /** This prompt's alone: jobs of one plan are answers to one prompt. */
  plan: Plan;
  /** Tokens of the final block, at least one. */
  query: Int32Array;
  notes: readonly string[];
  tokenizedAt: number;
}

export class SharedPrompt {
  readonly #context: PromptContext;
  readonly #stop = new AbortController();
  #users: number;
  #planned: Promise<PlannedPrompt> | undefined;

  /** Each of `users` calls `leave()` once. */
  constructor(context: PromptContext, users: number) {
    this.#context = context;
    this.#users = users;
  }

  /** The requests of all users have the same prompt. */
  planned(request: CheckedRequest): Promise<PlannedPrompt> {
    this.#planned ??= this.#plan(request);
    return this.#planned;
  }

  /** A user is over. Without any, nothing is tokenised any more. */
  leave(): void {
    this.#users -= 1;
    if (this.#users === 0) this.#stop.abort();
  }

  async #plan({ prompt, options }: CheckedRequest): Promise<PlannedPrompt> {
    const { tokens, chat, keys } = this.#context;
    const { signal } = this.#stop;
    const { blocks, query, notes = [] } = await resolvePrompt(prompt, chat, signal);
    const inputs = blocks.map((input, index) => ({ name: `blocks[${index}]`, input, remember: true }));
    const final = { name: 'query', input: query, remember: false };
    const encoded = await tokens.tokens([...inputs, final], signal);
    const tokenizedAt = nativeNow();
    const queryTokens = encoded.pop() ?? new Int32Array();
    if (queryTokens.length === 0) throw emptyQuery('has no tokens');
    return { plan: planBlocks(encoded, options, keys), query: queryTokens, notes, tokenizedAt };
  }
}
