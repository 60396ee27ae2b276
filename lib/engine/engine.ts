/** The public engine: one model in memory, its cache of blocks, and the requests that run on it. */
import { randomUUID } from 'node:crypto';
import { BlockCache } from '../cache/block-cache.js';
import type { CachedBlock } from '../cache/cached-block.js';
import { type BlockKey, KeyScheme } from '../cache/key.js';
import { BlockAttentionError } from '../errors.js';
import { ChatFormat } from '../model/chat-format.js';
import { renderTemplate } from '../model/tokenizer/handle.js';
import type { BlockInput, TokenizerHandle } from '../model/types.js';
import type { NativeEngine, WeightsCacheReport } from '../native.js';
import { type Plan, planBlocks } from './blocks.js';
import { checkInteger } from './checks.js';
import { checkDeletion, type DeleteTarget } from './deletion.js';
import { encodePlan } from './encode-run.js';
import type { Generation } from './generation.js';
import { GenerationRun, type RunContext } from './generation-run.js';
import { type EngineParts, loadParts, randomParts } from './load.js';
import type { LoadOptions, RandomOptions } from './load-options.js';
import { checkPromptBlocks, type PromptOptions, resolvePrompt } from './prompt.js';
import { checkBlockOptions, type EncodeOptions, type GenerateRequest } from './request.js';
import type { BlockUsage } from './result.js';
import { Scheduler } from './scheduler.js';
import { SharedPrompt } from './shared-prompt.js';
import { type EngineStats, engineStats } from './stats.js';
import { TokenSource } from './tokens.js';

export interface ModelInfo {
  /** As config.json names it, e.g. "LlamaForCausalLM". */
  architecture: string;
  vocabSize: number;
  /** Most tokens of a prompt and its answer together. */
  maxPositions: number;
  /** False: blocks and queries are token ids, and answers have no text. */
  hasTokenizer: boolean;
}

export interface CloseOptions {
  /** Let what was asked for end first. false unless said: it fails with CLOSED. */
  drain?: boolean | undefined;
}

/** Closes tokenizers whose engine was dropped without close(). Registered with what running generations hold, too. */
const abandonedTokenizers = new FinalizationRegistry<TokenizerHandle>((tokenizer) => void tokenizer.close());

const MOST_ANSWERS = 1024;

/** Most blocks of one admission of `encode`. */
const ENCODE_BLOCKS = 64;

export class Engine {
  readonly model: ModelInfo;
  /** What computes, e.g. "cpu avx2, 2 threads". */
  readonly device: string;
  /** Why device 'auto' did not take a GPU, e.g. "no NVIDIA driver was found"; undefined if it did, or was not asked. */
  readonly deviceProblem: string | undefined;
  /** With the option `weightsCache`: whether the weights came out of the folder, or are in it now, or why not. */
  readonly weightsCache: WeightsCacheReport | undefined;
  readonly #native: NativeEngine;
  readonly #cache: BlockCache;
  readonly #context: RunContext;
  /** Work that has not ended. */
  readonly #underWay = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;
  #draining: Promise<void> | undefined;

  /**
   * Loads a Hugging Face model folder: config.json, safetensors, and tokenizer.json if there is one.
   *
   * Rejects with a BlockAttentionError: IO, MODEL_FORMAT, UNSUPPORTED, TOKENIZER_MISMATCH, INVALID_ARGUMENT,
   * OUT_OF_MEMORY, ABORTED, NATIVE_UNAVAILABLE.
   */
  static async load(path: string, options?: LoadOptions): Promise<Engine> {
    return new Engine(await loadParts(path, options));
  }

  /**
   * A model of a published shape, e.g. "smollm2-135m", or of the config.json in a folder, with random weights: as fast as
   * the real one, but its answers are noise. For timing; on a GPU the weights are made there. It has no tokenizer: blocks
   * and queries are token ids.
   */
  static async random(shape: string, options?: RandomOptions): Promise<Engine> {
    return new Engine(await randomParts(shape, options));
  }

  /** Use `Engine.load()` or `Engine.random()`. */
  constructor(parts: EngineParts) {
    const { native, config, defaults, tokenizer } = parts;
    this.#native = native;
    this.#cache = new BlockCache({ abort: (id) => native.abort(id), release: (id) => native.release(id) });
    const scheduler = new Scheduler(native, this.#cache);
    parts.events.deliver = weakListener(scheduler);
    this.#context = {
      config,
      defaults,
      tokenizer,
      tokens: new TokenSource(tokenizer, config.native.vocabSize),
      chat:
        tokenizer === undefined || parts.chatTemplate === undefined
          ? undefined
          : new ChatFormat(parts.chatTemplate, renderTemplate),
      keys: new KeyScheme({
        modelId: randomUUID(),
        kvLayout: `${native.info.kvDtype} pages of ${native.info.pageTokens}`,
        numerics: native.info.numerics,
        invFreq: config.native.invFreq,
        ropeAttentionFactor: config.native.ropeAttentionFactor,
      }),
      scheduler,
      checkOpen: () => this.#checkOpen(),
    };
    if (tokenizer !== undefined) abandonedTokenizers.register(this.#context, tokenizer);
    this.device = native.info.device;
    this.deviceProblem = native.info.deviceProblem || undefined;
    this.weightsCache = native.info.weightsCache;
    this.model = {
      architecture: config.architecture,
      vocabSize: config.native.vocabSize,
      maxPositions: config.maxPositions,
      hasTokenizer: tokenizer !== undefined,
    };
  }

  /**
   * Answers a query over blocks. Returns at once; a wrong request, too, fails through the generation: when it is
   * iterated, and in `result()`. Any number of generations may run at once: they share the steps of the model.
   */
  generate(request: GenerateRequest): Generation {
    return this.#answer(request, new SharedPrompt(this.#context, 1));
  }

  /**
   * Several answers to one prompt: generation i is that of `generate()` with the seed `seed + i` (a random one unless
   * given), streams and ends on its own. The prompt is tokenised once and computed once: whatever is admitted while another
   * one runs begins as a copy of its KV states. Greedy answers are all the same. Throws INVALID_ARGUMENT if `n` is not a
   * number from 1 to 1024; a wrong request fails through each generation.
   */
  generateMany(request: GenerateRequest, n: number): Generation[] {
    const count = checkInteger(n, 'n', { min: 1, max: MOST_ANSWERS });
    const seed = request?.seed ?? Math.floor(Math.random() * (Number.MAX_SAFE_INTEGER - count));
    const prompt = new SharedPrompt(this.#context, count);
    return Array.from({ length: count }, (_, i) => this.#answer({ ...request, seed: seed + i }, prompt));
  }

  /**
   * Encodes blocks ahead of time, so that requests that use them are hits. Resolves when all are ready, with how each
   * was come by. Give the same blocks and options as the requests will: with `attention: 'full'` or `sharedPrefix`, what
   * stands in front of a block is part of its identity. `{documents}` encodes the layout's system text as well.
   */
  encode(blocks: readonly BlockInput[] | PromptOptions, options?: EncodeOptions): Promise<BlockUsage[]> {
    return this.#track(this.#encode(blocks, options));
  }

  /**
   * Removes blocks from the cache: those of these `keys` (see `usage.blocks`), of a `namespace`, or, for `blocks` or
   * `documents`, those of the same content in whatever context, and all blocks that saw that content. Blocks in use go
   * when their last user is done. Resolves to the number of blocks removed.
   */
  async delete(target: DeleteTarget): Promise<number> {
    this.#checkOpen();
    const deletion = checkDeletion(target);
    if (deletion.kind === 'keys') return this.#cache.delete((block) => deletion.keys.has(block.key));
    if (deletion.kind === 'namespace')
      return this.#cache.delete((block) => block.namespace === deletion.namespace);
    const tokens = await this.#tokensOf(deletion.blocks);
    this.#checkOpen();
    const { keys } = this.#context;
    const plan = planBlocks(
      tokens,
      { attention: 'block', sharedPrefix: false, namespace: deletion.namespace },
      keys,
    );
    const contents = new Set<BlockKey>(plan.blocks.map((block) => block.content));
    const concerns = (block: CachedBlock) =>
      contents.has(block.content) || block.seen.some((content) => contents.has(content));
    return this.#cache.delete(concerns);
  }

  /** Throws CLOSED after `close()`. */
  stats(): EngineStats {
    this.#checkOpen();
    return engineStats(this.#native, this.#cache, this.#context.scheduler);
  }

  /**
   * Ends all work and frees the memory. What runs or waits fails with CLOSED, unless `drain` lets it end first. May be
   * called again: without `drain`, a draining close stops waiting.
   */
  close(options?: CloseOptions): Promise<void> {
    if (options?.drain !== true) return this.#closeNow();
    this.#draining ??= this.#drain();
    return this.#draining;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #answer(request: GenerateRequest, prompt: SharedPrompt): Generation {
    const run = new GenerationRun(request, prompt, this.#context);
    this.#track(run.generation.result());
    return run.generation;
  }

  async #encode(
    blocks: readonly BlockInput[] | PromptOptions,
    options: EncodeOptions | undefined,
  ): Promise<BlockUsage[]> {
    this.#checkOpen();
    const checked = checkBlockOptions(options ?? {});
    const { config, chat, keys, scheduler } = this.#context;
    const prompt = await resolvePrompt(checkPromptBlocks(blocks), chat, checked.signal);
    const tokens = await this.#tokensOf(prompt.blocks, checked.signal);
    const plan = planBlocks(tokens, checked, keys);
    checkBlockLengths(plan, config.maxPositions);
    scheduler.checkFits(plan, undefined);
    const limits = {
      // In full mode every block sees all before it: any cut would drag them all along.
      blocks: checked.attention === 'full' ? Number.POSITIVE_INFINITY : ENCODE_BLOCKS,
      tokens:
        checked.attention === 'full'
          ? Number.POSITIVE_INFINITY
          : (this.#native.info.pages * this.#native.info.pageTokens) / 4,
    };
    return encodePlan(plan, config.native, scheduler, limits, checked.signal);
  }

  #tokensOf(blocks: readonly BlockInput[], signal?: AbortSignal): Promise<Int32Array[]> {
    const inputs = blocks.map((input, index) => ({ name: `blocks[${index}]`, input, remember: true }));
    return this.#context.tokens.tokens(inputs, signal);
  }

  #track<Result>(work: Promise<Result>): Promise<Result> {
    this.#underWay.add(work);
    const forget = () => this.#underWay.delete(work);
    work.then(forget, forget);
    return work;
  }

  #checkOpen(): void {
    if (this.#closing !== undefined || this.#draining !== undefined) throw closedError();
  }

  async #drain(): Promise<void> {
    await Promise.allSettled(this.#underWay);
    await this.#closeNow();
  }

  #closeNow(): Promise<void> {
    this.#closing ??= this.#shutDown();
    return this.#closing;
  }

  async #shutDown(): Promise<void> {
    const { scheduler, tokenizer } = this.#context;
    scheduler.close(closedError());
    await Promise.all([this.#native.close(), tokenizer?.close()]);
  }
}

/**
 * The addon holds its listener for as long as it lives: if that held the scheduler, and so the native engine, an engine that
 * is dropped without close() could never be collected. While it computes, the scheduler holds itself. (A function of its
 * own, since a closure holds whatever its neighbours do.)
 */
function weakListener(scheduler: Scheduler): EngineParts['events']['deliver'] {
  const listener = new WeakRef(scheduler);
  return (events) => listener.deref()?.onEvents(events);
}

function checkBlockLengths(plan: Plan, maxPositions: number): void {
  for (const [index, { encodeOffset, tokens }] of plan.blocks.entries()) {
    const end = encodeOffset + tokens.length;
    if (end <= maxPositions) continue;
    throw new BlockAttentionError(
      'PROMPT_TOO_LONG',
      `blocks[${index}] ends at token ${end} with what it sees, the model's context has ${maxPositions} positions`,
    );
  }
}

function closedError(): BlockAttentionError {
  return new BlockAttentionError('CLOSED', 'The engine is closed.');
}
