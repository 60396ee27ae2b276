/**
 * Opens tokenizers in the one worker thread that all of them share. Two folders with the same tokenizer.json share one
 * tokenizer; it is freed when the last handle is closed.
 */
import { BlockAttentionError } from '../../errors.js';
import type {
  OpenTokenizerOptions,
  StreamDecoder,
  TextInput,
  TokenizerHandle,
  TokenizerSource,
} from '../types.js';
import type { TemplateRequest, TokenizerInfo, WorkerRequest } from './messages.js';
import { createStreamDecoder } from './stream-decoder.js';
import { type TokenizerJob, TokenizerWorker } from './worker-client.js';

const DEFAULT_TIME_LIMIT = 60_000;

/** Text of one request to the worker, UTF-16 units: some tens of milliseconds of work. */
const REQUEST_UNITS = 32_768;

interface SharedTokenizer {
  path: string;
  info: TokenizerInfo;
  handles: number;
}

const worker = new TokenizerWorker();
/** By digest. */
const shared = new Map<string, SharedTokenizer>();

/**
 * Loads a tokenizer. IO or MODEL_FORMAT if its file cannot be read or is malformed, UNSUPPORTED if it is of a kind that
 * is not supported, TOKENIZER_MISMATCH if it has ids beyond the model's vocabulary, TIMEOUT, ABORTED.
 */
export async function openTokenizer(
  source: TokenizerSource,
  options: OpenTokenizerOptions,
): Promise<TokenizerHandle> {
  const timeLimit = checkTimeLimit(options.timeLimit ?? DEFAULT_TIME_LIMIT);
  const { path } = source;
  const [response] = await worker.run([{ kind: 'open', path, vocabSize: options.vocabSize }], {
    timeLimit,
    signal: options.signal,
  }).promise;
  if (response?.kind !== 'opened') throw unexpected();
  const { digest } = response.info;
  const entry = shared.get(digest) ?? { path, info: response.info, handles: 0 };
  shared.set(digest, entry);
  entry.handles += 1;
  return new SharedHandle(entry, timeLimit);
}

/**
 * The texts that a chat template makes, one for each context. MODEL_FORMAT if it cannot be parsed, INVALID_ARGUMENT if it
 * refuses a context, TIMEOUT if it ran for longer than `timeLimit` ms, OUT_OF_MEMORY, ABORTED.
 */
export async function renderTemplate(
  request: TemplateRequest,
  options: { timeLimit: number; signal?: AbortSignal | undefined },
): Promise<string[]> {
  const [response] = await worker.run([{ kind: 'render', ...request }], options).promise;
  if (response?.kind !== 'rendered') throw unexpected();
  return response.texts;
}

class SharedHandle implements TokenizerHandle {
  readonly digest: string;
  readonly size: number;
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly #entry: SharedTokenizer;
  readonly #timeLimit: number;
  readonly #jobs = new Set<TokenizerJob>();
  #closed = false;

  constructor(entry: SharedTokenizer, timeLimit: number) {
    this.#entry = entry;
    this.#timeLimit = timeLimit;
    this.digest = entry.info.digest;
    this.size = entry.info.size;
    this.specialTokens = entry.info.specialTokens;
  }

  async encode(
    inputs: readonly TextInput[],
    options?: { signal?: AbortSignal | undefined },
  ): Promise<Int32Array[]> {
    if (this.#closed) throw closed();
    for (const input of inputs) checkInput(input);
    if (inputs.length === 0) return [];
    const { path } = this.#entry;
    const requests = inRequests(inputs).map(
      (part): WorkerRequest => ({ kind: 'encode', path, digest: this.digest, inputs: part }),
    );
    const job = worker.run(requests, { timeLimit: this.#timeLimit, signal: options?.signal });
    this.#jobs.add(job);
    try {
      return (await job.promise).flatMap((response) => {
        if (response.kind !== 'encoded') throw unexpected();
        return response.tokens;
      });
    } finally {
      this.#jobs.delete(job);
    }
  }

  streamDecoder(): StreamDecoder {
    return createStreamDecoder(this.#entry.info.vocabulary, this.#entry.info.decoder);
  }

  decode(tokens: ArrayLike<number>): string {
    const decoder = this.streamDecoder();
    return decoder.push(tokens) + decoder.end();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const job of this.#jobs) job.cancel(closed());
    await release(this.#entry);
  }
}

async function release(entry: SharedTokenizer): Promise<void> {
  entry.handles -= 1;
  if (entry.handles > 0) return;
  const { digest } = entry.info;
  shared.delete(digest);
  if (shared.size === 0 && (await worker.stop())) return;
  if (!worker.alive) return;
  // If it fails, the worker has ended, and the tokenizer with it.
  await worker
    .run([{ kind: 'close', digest }], { timeLimit: DEFAULT_TIME_LIMIT })
    .promise.catch(() => undefined);
}

/** Cuts a batch so that other jobs get a turn in between. */
function inRequests(inputs: readonly TextInput[]): TextInput[][] {
  const requests: TextInput[][] = [];
  let units = Number.POSITIVE_INFINITY;
  for (const input of inputs) {
    const length = unitsOf(input);
    const last = requests.at(-1);
    if (last === undefined || units + length > REQUEST_UNITS) {
      requests.push([input]);
      units = length;
    } else {
      last.push(input);
      units += length;
    }
  }
  return requests;
}

function unitsOf(input: TextInput): number {
  return typeof input === 'string'
    ? input.length
    : input.parts.reduce((sum, part) => sum + part.text.length, 0);
}

/** Callers without types reach this too. */
function checkInput(input: unknown): void {
  if (typeof input === 'string') return;
  const parts = typeof input === 'object' && input !== null && 'parts' in input ? input.parts : undefined;
  const isPart = (part: unknown) =>
    typeof part === 'object' && part !== null && 'text' in part && typeof part.text === 'string';
  if (Array.isArray(parts) && parts.every(isPart)) return;
  throw new BlockAttentionError(
    'INVALID_ARGUMENT',
    'Text to tokenise must be a string or {parts: [{text, special?}]}.',
  );
}

function checkTimeLimit(timeLimit: number): number {
  // setTimeout counts in 31 bits.
  if (timeLimit > 0 && timeLimit < 2 ** 31) return timeLimit;
  throw new BlockAttentionError(
    'INVALID_ARGUMENT',
    `timeLimit is ${timeLimit}, expected milliseconds from 0 to 2^31.`,
  );
}

function closed(): BlockAttentionError {
  return new BlockAttentionError('CLOSED', 'The tokenizer was closed.');
}

function unexpected(): BlockAttentionError {
  return new BlockAttentionError('INTERNAL', 'The tokenizer worker answered another request.');
}
