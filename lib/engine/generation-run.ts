/** The life of one generation: check, tokenise, plan, wait for admission, turn native events into parts and a result. */
import { BlockAttentionError, toBlockAttentionError } from '../errors.js';
import type { GenerationDefaults, ModelConfig, TokenizerHandle } from '../model/types.js';
import { type NativeEvent, nativeNow } from '../native.js';
import { AnswerText } from './answer-text.js';
import type { Plan } from './blocks.js';
import { blockCost, executedFlops, paperFlops } from './flops.js';
import { Generation } from './generation.js';
import type { BlockStatus, Job, JobUser } from './job.js';
import { PartBuffer } from './parts.js';
import { type CheckedRequest, checkRequest } from './request.js';
import type { GenerationPart, GenerationResult } from './result.js';
import type { Scheduler } from './scheduler.js';
import type { PromptContext, SharedPrompt } from './shared-prompt.js';
import { TokenTrace } from './token-trace.js';
import { blockUsages, cachedTokens } from './usage.js';

/** What runs of one engine share. */
export interface RunContext extends PromptContext {
  config: ModelConfig;
  defaults: GenerationDefaults;
  tokenizer: TokenizerHandle | undefined;
  scheduler: Scheduler;
  /** Throws CLOSED once the engine takes up nothing new. */
  checkOpen: () => void;
}

export class GenerationRun implements JobUser {
  readonly generation: Generation;
  readonly #context: RunContext;
  readonly #prompt: SharedPrompt;
  readonly #parts = new PartBuffer<GenerationPart>();
  readonly #startedAt = nativeNow();
  readonly #trace: TokenTrace;
  #settle: { resolve(result: GenerationResult): void; reject(error: BlockAttentionError): void } | undefined;
  #over = false;
  #forgetSignal: (() => void) | undefined;

  #answer: AnswerText | undefined;
  #job: Job | undefined;
  #notes: readonly string[] = [];
  #plan: Plan | undefined;
  #queryTokens = 0;
  #statuses: readonly BlockStatus[] = [];
  #tokenizedAt: number | undefined;
  #queuedAt: number | undefined;
  #admittedAt: number | undefined;
  #encoding: { begin: number; end: number } | undefined;
  #executed = 0;
  #copiedTokens = 0;

  constructor(request: unknown, prompt: SharedPrompt, context: RunContext) {
    this.#context = context;
    this.#prompt = prompt;
    this.#trace = new TokenTrace(this.#startedAt);
    const result = new Promise<GenerationResult>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.generation = new Generation(this.#parts, result, () => this.#end('aborted'));
    this.#start(request).catch((error: unknown) => this.failed(toBlockAttentionError(error)));
  }

  admitted(statuses: readonly BlockStatus[], at: number): void {
    this.#statuses = statuses;
    this.#admittedAt = at;
  }

  encoded(event: NativeEvent): void {
    this.#executed += event.flops ?? 0;
    const begin = event.startedAt ?? 0;
    const end = event.finishedAt ?? begin;
    const sofar = this.#encoding ?? { begin, end };
    this.#encoding = { begin: Math.min(sofar.begin, begin), end: Math.max(sofar.end, end) };
  }

  generated(event: NativeEvent): void {
    if (this.#over) return;
    this.#executed += event.flops ?? 0;
    this.#copiedTokens += event.copiedTokens ?? 0;
    const tokens = event.tokens ?? new Int32Array();
    for (const [index, token] of tokens.entries()) {
      const logprobs = this.#trace.add(event, index);
      // The token that ends an answer is not part of its text.
      const ends = event.finish === 'stop' && index === tokens.length - 1;
      const { text, stopped } = (ends ? undefined : this.#answer?.push(token)) ?? {
        text: '',
        stopped: false,
      };
      this.#push({ text, tokens: [token], ...logprobs });
      if (stopped) {
        this.#end('stop');
        return;
      }
    }
    if (event.finish === 'stop' || event.finish === 'length' || event.finish === 'aborted')
      this.#end(event.finish);
  }

  ready(): void {
    throw new BlockAttentionError('INTERNAL', 'A generation ended without its final block.');
  }

  failed(error: BlockAttentionError): void {
    if (this.#over) return;
    this.#stop();
    this.#parts.end(error);
    this.#settle?.reject(error);
  }

  async #start(request: unknown): Promise<void> {
    const { config, defaults, tokenizer, scheduler, checkOpen } = this.#context;
    checkOpen();
    const checked = checkRequest(request, {
      vocabSize: config.native.vocabSize,
      hasTokenizer: tokenizer !== undefined,
      defaults,
    });
    this.#watch(checked.options.signal);

    const { plan, query, notes, tokenizedAt } = await this.#prompt.planned(checked);
    if (this.#over) return;
    this.#tokenizedAt = tokenizedAt;
    this.#notes = notes;
    this.#plan = plan;
    this.#queryTokens = query.length;
    const maxTokens = Math.min(
      checked.maxTokens,
      roomBehind(plan.length + query.length, config.maxPositions),
    );
    this.#answer = new AnswerText(tokenizer?.streamDecoder(), checked.stop);
    this.#job = {
      plan,
      cost: blockCost(config.native),
      final: { tokens: query, generation: nativeParams(checked, plan, maxTokens) },
      user: this,
    };
    this.#queuedAt = nativeNow();
    scheduler.enqueue(this.#job);
  }

  #watch(signal: AbortSignal | undefined): void {
    if (signal === undefined) return;
    const abort = () =>
      this.failed(new BlockAttentionError('ABORTED', 'The request was aborted.', { cause: signal.reason }));
    if (signal.aborted) {
      abort();
      return;
    }
    signal.addEventListener('abort', abort, { once: true });
    this.#forgetSignal = () => signal.removeEventListener('abort', abort);
  }

  #push(part: GenerationPart): void {
    this.#parts.push(part);
    this.#trace.text += part.text;
  }

  #end(finishReason: GenerationResult['finishReason']): void {
    if (this.#over) return;
    const rest = this.#answer?.end().text ?? '';
    if (rest !== '') this.#push({ text: rest, tokens: [] });
    this.#stop();
    this.#parts.end();
    this.#settle?.resolve(this.#result(finishReason));
  }

  /** From here on nothing that happens counts. */
  #stop(): void {
    this.#over = true;
    this.#forgetSignal?.();
    this.#prompt.leave();
    if (this.#job !== undefined) this.#context.scheduler.cancel(this.#job);
  }

  #result(finishReason: GenerationResult['finishReason']): GenerationResult {
    const { config } = this.#context;
    const { text, tokens, logprobs, topLogprobs, firstToken, perToken } = this.#trace;
    const now = nativeNow();
    const blocks = blockUsages(this.#plan, this.#statuses);
    const cached = cachedTokens(blocks) + this.#copiedTokens;
    const promptTokens = (this.#plan?.length ?? 0) + this.#queryTokens;
    return {
      text,
      tokens,
      ...(logprobs === undefined ? {} : { logprobs }),
      ...(topLogprobs === undefined ? {} : { topLogprobs }),
      finishReason,
      ...(this.#notes.length === 0 ? {} : { notes: [...this.#notes] }),
      usage: { promptTokens, cachedTokens: cached, completionTokens: tokens.length, blocks },
      timings: {
        queue: (this.#admittedAt ?? now) - (this.#queuedAt ?? now),
        tokenize: (this.#tokenizedAt ?? now) - this.#startedAt,
        encode: this.#encoding === undefined ? 0 : this.#encoding.end - this.#encoding.begin,
        firstToken,
        perToken,
      },
      flops: {
        paper: {
          request: paperFlops(config, promptTokens - cached),
          full: paperFlops(config, promptTokens),
        },
        executed: {
          request: this.#executed,
          full:
            promptTokens === 0
              ? 0
              : executedFlops(config.native, { begin: 0, rows: promptTokens, output: true }),
        },
      },
    };
  }
}

/** How many tokens the model's context has room for behind the prompt. */
function roomBehind(promptTokens: number, maxPositions: number): number {
  if (promptTokens + 1 <= maxPositions) return maxPositions - promptTokens;
  throw new BlockAttentionError(
    'PROMPT_TOO_LONG',
    `The prompt has ${promptTokens} tokens; the model's context of ${maxPositions} positions has no room for it and one more`,
  );
}

function nativeParams(request: CheckedRequest, plan: Plan, maxTokens: number) {
  // The repetition penalty alone looks at the prompt.
  const needed = request.sampling.repetitionPenalty !== 1;
  const history = new Int32Array(needed ? plan.length : 0);
  if (needed) for (const block of plan.blocks) history.set(block.tokens, block.offset);
  return { maxTokens, stopTokens: request.stopTokens, sampling: request.sampling, history };
}
