/**
 * The main thread's side of the tokenizer worker. Jobs take turns, one request at a time, so that a long batch holds no
 * short one up for longer than one request; the running request is known, so a time limit or a crash hits its job alone:
 * the worker is replaced, and the others go on in the new one. While nothing is under way, the worker does not keep the
 * process alive.
 */
import { type ResourceLimits, Worker } from 'node:worker_threads';
import { BlockAttentionError } from '../../errors.js';
import type { WorkerRequest, WorkerResponse } from './messages.js';

export interface JobOptions {
  /** ms that the worker may compute on this job; waiting for its turn does not count. */
  timeLimit: number;
  signal?: AbortSignal | undefined;
}

/** Work for the worker, under way or waiting. */
export interface TokenizerJob {
  /** One response for each request, in order. Rejects with the first failure, TIMEOUT, ABORTED or `cancel`'s error. */
  readonly promise: Promise<WorkerResponse[]>;
  cancel(error: BlockAttentionError): void;
}

interface Running {
  job: Job;
  timer: NodeJS.Timeout;
  startedAt: number;
}

class Job implements TokenizerJob {
  readonly requests: readonly WorkerRequest[];
  readonly responses: WorkerResponse[] = [];
  readonly promise: Promise<WorkerResponse[]>;
  timeLeft: number;
  readonly timeLimit: number;
  settled = false;
  #resolve: (responses: WorkerResponse[]) => void = () => undefined;
  #reject: (error: BlockAttentionError) => void = () => undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.cancel(new BlockAttentionError('ABORTED', 'Tokenising was aborted.'));

  constructor(requests: readonly WorkerRequest[], options: JobOptions) {
    this.requests = requests;
    this.timeLeft = options.timeLimit;
    this.timeLimit = options.timeLimit;
    this.#signal = options.signal;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (this.#signal?.aborted) this.#onAbort();
  }

  next(): WorkerRequest | undefined {
    return this.settled ? undefined : this.requests[this.responses.length];
  }

  take(response: WorkerResponse): void {
    if (this.settled) return;
    if (response.kind === 'failed') {
      this.cancel(new BlockAttentionError(response.code, response.message));
      return;
    }
    this.responses.push(response);
    if (this.responses.length < this.requests.length) return;
    this.#settle();
    this.#resolve(this.responses);
  }

  cancel(error: BlockAttentionError): void {
    if (this.settled) return;
    this.#settle();
    this.#reject(error);
  }

  #settle(): void {
    this.settled = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}

export class TokenizerWorker {
  #worker: Worker | undefined;
  #running: Running | undefined;
  readonly #waiting: Job[] = [];
  readonly #entry: URL;
  readonly #resourceLimits: ResourceLimits;

  /**
   * @param entry The program of the thread.
   * @param resourceLimits Of its heap; Node's defaults unless said.
   */
  constructor(entry = new URL('./worker.js', import.meta.url), resourceLimits: ResourceLimits = {}) {
    this.#entry = entry;
    this.#resourceLimits = resourceLimits;
  }

  /** Whether there is a thread, and so tokenizers in it. */
  get alive(): boolean {
    return this.#worker !== undefined;
  }

  run(requests: readonly WorkerRequest[], options: JobOptions): TokenizerJob {
    const job = new Job(requests, options);
    this.#waiting.push(job);
    this.#pump();
    return job;
  }

  /** Ends the thread, unless somebody waits for it: then false. The next job starts a new one. */
  async stop(): Promise<boolean> {
    const jobs = this.#running === undefined ? this.#waiting : [this.#running.job, ...this.#waiting];
    if (jobs.some((job) => !job.settled)) return false;
    const worker = this.#worker;
    this.#worker = undefined;
    this.#endRunning();
    this.#waiting.length = 0;
    await worker?.terminate();
    return true;
  }

  #pump(): void {
    if (this.#running !== undefined) return;
    for (let job = this.#waiting.shift(); job !== undefined; job = this.#waiting.shift()) {
      const request = job.next();
      if (request === undefined) continue;
      this.#start(job, request);
      return;
    }
    this.#worker?.unref();
  }

  #start(job: Job, request: WorkerRequest): void {
    const worker = this.#worker ?? this.#spawn();
    worker.ref();
    const timer = setTimeout(() => this.#onTimeLimit(job), Math.max(job.timeLeft, 0));
    this.#running = { job, timer, startedAt: performance.now() };
    worker.postMessage(request);
  }

  #spawn(): Worker {
    // Options of this process (loaders, inspectors) are not for this thread.
    const worker = new Worker(this.#entry, {
      execArgv: [],
      name: 'tokenizer',
      resourceLimits: this.#resourceLimits,
    });
    worker.on('message', (response: WorkerResponse) => this.#onResponse(worker, response));
    worker.on('error', (error) => this.#onDeath(worker, error));
    worker.on('exit', () => this.#onDeath(worker, undefined));
    this.#worker = worker;
    return worker;
  }

  #onResponse(worker: Worker, response: WorkerResponse): void {
    if (this.#worker !== worker) return;
    const job = this.#endRunning();
    if (job !== undefined) {
      job.take(response);
      if (job.next() !== undefined) this.#waiting.push(job);
    }
    this.#pump();
  }

  #onTimeLimit(job: Job): void {
    job.cancel(
      new BlockAttentionError(
        'TIMEOUT',
        `The tokenizer computed for longer than the limit of ${job.timeLimit} ms.`,
      ),
    );
    const worker = this.#worker;
    this.#worker = undefined;
    this.#endRunning();
    // It cannot be interrupted otherwise; nothing waits for its end.
    void worker?.terminate();
    this.#pump();
  }

  #onDeath(worker: Worker, error: Error | undefined): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    const outOfMemory = error !== undefined && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY';
    this.#endRunning()?.cancel(
      new BlockAttentionError(
        outOfMemory ? 'OUT_OF_MEMORY' : 'INTERNAL',
        `The tokenizer worker ended: ${error?.message ?? 'it exited'}.`,
        { cause: error },
      ),
    );
    this.#pump();
  }

  #endRunning(): Job | undefined {
    const running = this.#running;
    if (running === undefined) return undefined;
    this.#running = undefined;
    clearTimeout(running.timer);
    running.job.timeLeft -= performance.now() - running.startedAt;
    return running.job;
  }
}
