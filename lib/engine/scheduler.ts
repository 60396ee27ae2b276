/**
 * Admission: which request is handed to the native engine when, with which blocks from the cache. Requests wait in one
 * queue, first in, first out: the head waits until its pages are there, and nobody passes it, so that nobody starves. The
 * blocks that a request misses and its final block are submitted in one call; from then on the native engine orders the
 * work, and reports come in as events.
 *
 * Look-up and submission happen in one go, without a turn of the event loop in between: two requests that miss on the same
 * block share one encoding, since the second finds the first one's block, ready or not.
 */
import type { BlockCache } from '../cache/block-cache.js';
import type { CachedBlock } from '../cache/cached-block.js';
import type { BlockKey } from '../cache/key.js';
import { BlockAttentionError, toBlockAttentionError } from '../errors.js';
import { type NativeEngine, type NativeEvent, type NativeSequence, nativeNow } from '../native.js';
import type { Plan, PlannedBlock } from './blocks.js';
import { forkSource, type Running } from './fork.js';
import type { BlockStatus, FinalBlock, Job } from './job.js';
import { encodingOf, finalOf, idOf } from './sequences.js';

interface ActiveJob extends Running {
  readonly job: Job;
  /** Ids of blocks that are not ready yet. */
  readonly pending: Set<number>;
  /** Ids of blocks that this job missed on. */
  readonly missed: ReadonlySet<number>;
}

/** What the cache knows of a plan's blocks; those found are pinned. */
interface LookUp {
  found: Map<BlockKey, CachedBlock>;
  missing: Map<BlockKey, PlannedBlock>;
  statuses: BlockStatus[];
}

/**
 * Schedulers whose native engine computes. Nothing else need hold them: a caller may have kept no more than a promise of
 * an answer, which does not hold what will settle it.
 */
const computing = new Set<Scheduler>();

export class Scheduler {
  readonly #native: NativeEngine;
  readonly #cache: BlockCache;
  /** Jobs that wait. A Set keeps the order of arrival and lets any job leave. */
  readonly #queue = new Set<Job>();
  readonly #active = new Map<Job, ActiveJob>();
  /** Ids of final blocks; undefined: the job was cancelled, and only the last event is awaited. */
  readonly #finals = new Map<number, ActiveJob | undefined>();
  /** Who waits for a block that is being encoded. */
  readonly #waiters = new Map<number, Set<ActiveJob>>();
  /** Native ids whose last event has not come. */
  readonly #unfinished = new Set<number>();
  #nextId = 0;
  #closed = false;

  constructor(native: NativeEngine, cache: BlockCache) {
    this.#native = native;
    this.#cache = cache;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  get running(): number {
    return this.#active.size;
  }

  /** Throws CACHE_TOO_SMALL if the job can never run. */
  enqueue(job: Job): void {
    if (this.#closed) throw new BlockAttentionError('CLOSED', 'The engine is closed.');
    this.checkFits(job.plan, job.final);
    this.#queue.add(job);
    this.#pump();
  }

  /** Throws CACHE_TOO_SMALL if the whole cache has not enough pages. */
  checkFits(plan: Plan, final: FinalBlock | undefined): void {
    const { pages, pageTokens, pageBytes } = this.#native.info;
    const needed = this.#pagesOf(new Map(plan.blocks.map((block) => [block.key, block])), final);
    if (needed <= pages) return;
    throw new BlockAttentionError(
      'CACHE_TOO_SMALL',
      `This needs ${needed} pages of ${pageTokens} tokens for its blocks, its query and maxTokens ` +
        `(${needed * pageBytes} bytes), the cache has ${pages}; raise cacheBytes, or lower maxTokens`,
    );
  }

  /** Ends a job, waiting or running, without a word to its user. */
  cancel(job: Job): void {
    const active = this.#active.get(job);
    if (active !== undefined) {
      this.#abandon(active);
    } else if (!this.#queue.delete(job)) {
      return;
    }
    this.#pump();
  }

  onEvents(events: readonly NativeEvent[]): void {
    if (this.#closed) return;
    let ended = false;
    for (const event of events) {
      if (event.finish !== undefined) {
        this.#unfinished.delete(event.id);
        if (this.#unfinished.size === 0) computing.delete(this);
        ended = true;
      }
      // A user may close the engine on hearing its news.
      if (!this.#closed) this.#onEvent(event);
    }
    if (ended) this.#pump();
  }

  /** Fails all jobs; from now on nothing is told to the native engine. */
  close(error: BlockAttentionError): void {
    this.#closed = true;
    computing.delete(this);
    const jobs = [...this.#queue, ...this.#active.keys()];
    this.#queue.clear();
    this.#active.clear();
    for (const job of jobs) job.user.failed(error);
  }

  #onEvent(event: NativeEvent): void {
    if (this.#finals.has(event.id)) {
      this.#finalNews(event, this.#finals.get(event.id));
    } else if (
      event.finish !== undefined &&
      this.#cache.ended(event.id, event.finish === 'encoded') !== undefined
    ) {
      this.#blockEnded(event);
    }
  }

  #finalNews(event: NativeEvent, active: ActiveJob | undefined): void {
    if (event.finish !== undefined) {
      this.#finals.delete(event.id);
      this.#native.release(event.id);
      if (active !== undefined) this.#leave(active);
    }
    if (event.finish === 'error') active?.job.user.failed(errorOf(event));
    else active?.job.user.generated(event);
  }

  #blockEnded(event: NativeEvent): void {
    const waiters = this.#waiters.get(event.id) ?? [];
    this.#waiters.delete(event.id);
    for (const active of waiters) {
      active.pending.delete(event.id);
      if (event.finish !== 'encoded') {
        this.#abandon(active);
        active.job.user.failed(errorOf(event));
        continue;
      }
      if (active.missed.has(event.id)) active.job.user.encoded(event);
      this.#finishEncoding(active);
    }
  }

  /** Ends a job that the native engine works on. */
  #abandon(active: ActiveJob): void {
    if (active.finalId !== undefined) {
      this.#finals.set(active.finalId, undefined);
      this.#native.abort(active.finalId);
    }
    this.#leave(active);
  }

  #finishEncoding(active: ActiveJob): void {
    if (active.finalId !== undefined || active.pending.size > 0 || !this.#active.has(active.job)) return;
    this.#leave(active);
    active.job.user.ready();
  }

  /** The job is over as far as the cache is concerned. */
  #leave(active: ActiveJob): void {
    this.#active.delete(active.job);
    for (const id of active.pending) {
      const waiters = this.#waiters.get(id);
      waiters?.delete(active);
      if (waiters?.size === 0) this.#waiters.delete(id);
    }
    for (const block of active.blocks) this.#cache.unpin(block);
  }

  #pump(): void {
    for (const job of this.#queue) {
      if (this.#closed) return;
      try {
        if (!this.#admit(job)) return;
      } catch (error) {
        this.#queue.delete(job);
        job.user.failed(toBlockAttentionError(error));
      }
    }
  }

  /** False: the pages are not there yet. */
  #admit(job: Job): boolean {
    const lookUp = this.#lookUp(job.plan);
    const ids = new Map<BlockKey, number>();
    for (const [key, block] of lookUp.found) ids.set(key, block.id);
    for (const key of lookUp.missing.keys()) ids.set(key, this.#nextId++);
    const finalId = job.final === undefined ? undefined : this.#nextId++;
    const sequences = [...lookUp.missing.values()].map((block) => encodingOf(block, job.plan, ids));
    if (job.final !== undefined && finalId !== undefined) {
      const forkOf = forkSource(job.plan, ids, this.#active.values());
      sequences.push(finalOf(job.plan, job.final, { id: finalId, forkOf }, ids));
    }

    // What is submitted is computed at once, whatever holds up this thread meanwhile.
    const at = nativeNow();
    let submitted = false;
    try {
      submitted = this.#submit(sequences, this.#pagesOf(lookUp.missing, job.final));
    } finally {
      if (!submitted) for (const block of lookUp.found.values()) this.#cache.unpin(block);
    }
    if (!submitted) return false;
    this.#queue.delete(job);
    this.#activate(job, { ...lookUp, at }, ids, finalId);
    return true;
  }

  #lookUp(plan: Plan): LookUp {
    const found = new Map<BlockKey, CachedBlock>();
    const missing = new Map<BlockKey, PlannedBlock>();
    const statuses = plan.blocks.map((block): BlockStatus => {
      // There is nothing to compute for an empty block, nor for the second one of two equal blocks.
      if (block.tokens.length === 0 || found.has(block.key) || missing.has(block.key)) return 'hit';
      const cached = this.#cache.find(block.key, block.tokens);
      if (cached === undefined) {
        missing.set(block.key, block);
        return 'miss';
      }
      this.#cache.pin(cached);
      found.set(block.key, cached);
      return 'hit';
    });
    return { found, missing, statuses };
  }

  #pagesOf(blocks: ReadonlyMap<BlockKey, PlannedBlock>, final: FinalBlock | undefined): number {
    let pages = 0;
    for (const block of blocks.values()) pages += this.#pagesFor(block.tokens.length);
    return final === undefined
      ? pages
      : pages + this.#pagesFor(final.tokens.length + final.generation.maxTokens);
  }

  #pagesFor(tokens: number): number {
    return Math.ceil(tokens / this.#native.info.pageTokens);
  }

  /** Makes room and submits. False: there is not enough room while others run. */
  #submit(sequences: NativeSequence[], pages: number): boolean {
    if (sequences.length === 0) return true;
    if (this.#makeRoom(pages)) {
      try {
        this.#native.submit(sequences);
        for (const { id } of sequences) this.#unfinished.add(id);
        computing.add(this);
        return true;
      } catch (error) {
        if (toBlockAttentionError(error).code !== 'OUT_OF_PAGES') throw error;
      }
    }
    // Whatever runs will end and give pages back. If nothing runs, waiting would be for ever.
    if (this.#unfinished.size > 0) return false;
    throw new BlockAttentionError('INTERNAL', `Nothing runs, and yet ${pages} pages cannot be had.`);
  }

  #makeRoom(pages: number): boolean {
    const free = () => this.#native.stats().freePages;
    // If eviction cannot help, what is cached had better stay.
    if (free() + this.#cache.evictablePages < pages) return false;
    while (free() < pages) {
      if (!this.#cache.evict()) return false;
    }
    return true;
  }

  #activate(
    job: Job,
    lookUp: LookUp & { at: number },
    ids: ReadonlyMap<BlockKey, number>,
    finalId: number | undefined,
  ): void {
    const { found, missing, statuses, at } = lookUp;
    const blocks = new Map(found);
    for (const [key, block] of missing) {
      blocks.set(
        key,
        this.#cache.insert({
          key,
          content: block.content,
          seen: block.seen,
          namespace: job.plan.namespace,
          tokens: block.tokens,
          id: idOf(ids, key),
          pages: this.#pagesFor(block.tokens.length),
          cost: job.cost(block),
          context: block.context.flatMap(({ index }) => blocks.get(job.plan.blocks[index]?.key ?? '') ?? []),
        }),
      );
    }
    for (const [index, block] of job.plan.blocks.entries()) {
      const cached = blocks.get(block.key);
      if (statuses[index] === 'hit' && cached !== undefined) this.#cache.hit(cached);
    }

    const active: ActiveJob = {
      job,
      blocks: [...blocks.values()],
      pending: new Set(
        [...blocks.values()].filter((block) => block.state !== 'ready').map((block) => block.id),
      ),
      missed: new Set([...missing.keys()].map((key) => idOf(ids, key))),
      finalId,
    };
    this.#active.set(job, active);
    if (finalId !== undefined) this.#finals.set(finalId, active);
    for (const id of active.pending) {
      const waiters = this.#waiters.get(id);
      if (waiters === undefined) this.#waiters.set(id, new Set([active]));
      else waiters.add(active);
    }
    job.user.admitted(statuses, at);
    this.#finishEncoding(active);
  }
}

function errorOf(event: NativeEvent): BlockAttentionError {
  const { code, message } = event.error ?? {
    code: 'INTERNAL',
    message: `a sequence ended with "${event.finish}"`,
  };
  return toBlockAttentionError(Object.assign(new Error(message), { code }));
}
