/**
 * A native engine without a model, for tests of everything above it. It keeps pages and sequences as strictly as the real
 * one is documented to (and throws where that would forgive), computes one step whenever `step()` is called, or by itself,
 * and draws tokens that depend on everything the final block sees: on each block's tokens, its offset, and what it saw
 * itself. So a wrong plan gives another answer.
 */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { BlockAttentionError } from '#lib/errors.js';
import {
  type NativeEngine,
  type NativeEngineInfo,
  type NativeEvent,
  type NativeSequence,
  type NativeStats,
  nativeNow,
} from '#lib/native.js';

/** Floating-point operations that the fake says it spends on a row. */
export const FLOPS_PER_ROW = 1000;

export interface FakeOptions {
  pages?: number;
  pageTokens?: number;
  /** Steps are computed by themselves, one a turn of the event loop; otherwise only `step()` does. */
  running?: boolean;
  vocabSize?: number;
  /** The answer to a prompt (all its tokens), if it is not to be a hash. */
  answer?: (prompt: number[]) => number[];
  /** Rows that one sequence advances in a step. */
  rowsPerStep?: number;
}

class Pages {
  free: number;
  constructor(total: number) {
    this.free = total;
  }
}

class FakeSequence {
  readonly pages: number;
  /** The id, running sequences that see it or are it, and forks that wait for it. */
  holders = 2;
  rows = 0;
  /** Rows of steps before the one that runs. */
  computed = 0;
  copied = 0;
  readonly drawn: number[] = [];
  aborted = false;
  released = false;
  finished = false;
  failed = false;
  startedAt = 0;

  constructor(
    readonly spec: NativeSequence,
    readonly segments: readonly { block: FakeSequence; offset: number }[],
    pageTokens: number,
    /** Until the fork has begun. */
    public source: FakeSequence | undefined,
  ) {
    if (source !== undefined) source.holders += 1;
    this.pages = Math.ceil((spec.tokens.length + (spec.generation?.maxTokens ?? 0)) / pageTokens);
    for (const { block } of segments) block.holders += 1;
  }

  get complete(): boolean {
    return this.rows >= this.spec.tokens.length;
  }

  /** Names all that the KV states of this block depend on. */
  get content(): string {
    const seen = this.segments.map(({ block, offset }) => `${block.content}@${this.spec.offset - offset}`);
    return createHash('sha256')
      .update(JSON.stringify([seen, [...this.spec.tokens]]))
      .digest('hex');
  }

  hasPromptOf(other: FakeSequence): boolean {
    const promptOf = ({ spec, segments }: FakeSequence) => ({
      offset: spec.offset,
      tokens: spec.tokens,
      segments: segments.map(({ block, offset }) => [block.spec.id, offset]),
    });
    return isDeepStrictEqual(promptOf(this), promptOf(other));
  }

  get prompt(): number[] {
    return [...this.segments.flatMap(({ block }) => [...block.spec.tokens]), ...this.spec.tokens];
  }
}

export class FakeNative implements NativeEngine {
  readonly info: NativeEngineInfo;
  readonly submitted: NativeSequence[][] = [];
  readonly aborts: number[] = [];
  readonly releases: number[] = [];
  closed = false;
  /** Blocks of these tokens fail. */
  failing: ((tokens: Int32Array) => boolean) | undefined;
  readonly #options: Required<Omit<FakeOptions, 'answer'>> & Pick<FakeOptions, 'answer'>;
  readonly #onEvents: (events: NativeEvent[]) => void;
  readonly #pages: Pages;
  readonly #ids = new Map<number, FakeSequence>();
  #active: FakeSequence[] = [];
  #steps = 0;
  #rows = 0;
  #scheduled = false;

  constructor(options: FakeOptions, onEvents: (events: NativeEvent[]) => void) {
    this.#options = {
      pages: 64,
      pageTokens: 4,
      running: true,
      vocabSize: 512,
      rowsPerStep: 1000,
      ...options,
    };
    this.#onEvents = onEvents;
    this.#pages = new Pages(this.#options.pages);
    this.info = {
      device: 'fake',
      numerics: 'fake',
      deviceProblem: '',
      kvDtype: 'bf16',
      pageTokens: this.#options.pageTokens,
      pageBytes: 100,
      pages: this.#options.pages,
      weightBytes: 5000,
    };
  }

  submit(sequences: NativeSequence[]): void {
    this.#checkOpen();
    const batch = new Map<number, FakeSequence>();
    for (const spec of sequences) {
      if (this.#ids.has(spec.id) || batch.has(spec.id)) throw new Error(`id ${spec.id} is in use`);
      if (spec.tokens.length === 0) throw new Error('a sequence without tokens');
      let end = 0;
      const segments = spec.segments.map(({ id, offset }) => {
        const block = batch.get(id) ?? this.#ids.get(id);
        if (block === undefined) throw new Error(`sequence ${spec.id} sees ${id}, which does not exist`);
        if (offset < end) throw new Error('segments overlap');
        end = offset + block.spec.tokens.length;
        return { block, offset };
      });
      if (spec.offset !== end)
        throw new Error(`sequence ${spec.id} at ${spec.offset}, its segments end at ${end}`);
      const sourceOf = (id: number) => batch.get(id) ?? this.#ids.get(id);
      const source = spec.forkOf === undefined ? undefined : sourceOf(spec.forkOf);
      const sequence = new FakeSequence(spec, segments, this.#options.pageTokens, source);
      if (spec.forkOf !== undefined && !source?.hasPromptOf(sequence))
        throw new Error(`sequence ${spec.id} cannot be a fork of ${spec.forkOf}`);
      batch.set(spec.id, sequence);
    }
    const needed = [...batch.values()].reduce((sum, sequence) => sum + sequence.pages, 0);
    if (needed > this.#pages.free) {
      for (const { segments, source } of batch.values()) {
        for (const { block } of segments) block.holders -= 1;
        if (source !== undefined) source.holders -= 1;
      }
      throw new BlockAttentionError('OUT_OF_PAGES', `${needed} pages wanted, ${this.#pages.free} free`);
    }
    this.#pages.free -= needed;
    for (const [id, sequence] of batch) this.#ids.set(id, sequence);
    this.#active.push(...batch.values());
    this.submitted.push(sequences);
    this.#schedule();
  }

  abort(id: number): void {
    this.#checkOpen();
    this.#known(id).aborted = true;
    this.aborts.push(id);
    this.#schedule();
  }

  release(id: number): void {
    this.#checkOpen();
    const sequence = this.#known(id);
    sequence.released = true;
    if (!sequence.finished) sequence.aborted = true;
    this.#ids.delete(id);
    this.releases.push(id);
    this.#drop(sequence);
    this.#schedule();
  }

  stats(): NativeStats {
    this.#checkOpen();
    return {
      freePages: this.#pages.free,
      running: this.#active.length,
      steps: this.#steps,
      rows: this.#rows,
      externalBytes: 0,
    };
  }

  async close(): Promise<void> {
    this.closed = true;
    const events = this.#active
      .filter((s) => !s.released)
      .map((s): NativeEvent => ({ id: s.spec.id, finish: 'aborted' }));
    this.#active = [];
    await new Promise((resolve) => setImmediate(resolve));
    if (events.length > 0) this.#onEvents(events);
  }

  /** Computes a step and reports it. */
  step(): void {
    const events: NativeEvent[] = [];
    for (const sequence of this.#active) {
      if (sequence.segments.some(({ block }) => block.failed)) sequence.failed = true;
      if (sequence.aborted || sequence.failed) {
        sequence.failed = true;
        const error = { code: 'ABORTED', message: 'a block that this sequence sees was aborted' };
        this.#finish(sequence, events, sequence.aborted ? { finish: 'aborted' } : { finish: 'error', error });
      }
    }
    this.#forgetFinished();
    this.#steps += 1;
    for (const sequence of this.#active) this.#advance(sequence, events);
    for (const sequence of this.#active) sequence.computed = sequence.rows;
    this.#forgetFinished();
    if (events.length > 0 && !this.closed) this.#onEvents(events);
  }

  /** Steps until nothing is left to compute. */
  drain(): void {
    while (this.#active.length > 0) this.step();
  }

  get active(): number {
    return this.#active.length;
  }

  #advance(sequence: FakeSequence, events: NativeEvent[]): void {
    if (!sequence.segments.every(({ block }) => block.complete)) return;
    const { spec, source } = sequence;
    if (source !== undefined) {
      const most = spec.tokens.length - 1;
      if (source.computed < most && !source.failed) return;
      sequence.copied = Math.min(source.computed, most);
      sequence.rows = sequence.copied;
      this.#dropSource(sequence);
    }
    if (this.failing?.(spec.tokens)) {
      sequence.failed = true;
      this.#finish(sequence, events, {
        finish: 'error',
        error: { code: 'OUT_OF_MEMORY', message: 'planted' },
      });
      return;
    }
    if (sequence.rows === sequence.copied) sequence.startedAt = nativeNow();
    const prompt = spec.tokens.length;
    const before = sequence.rows;
    sequence.rows = Math.min(prompt, before + this.#options.rowsPerStep);
    this.#rows += Math.max(1, sequence.rows - before);
    if (sequence.rows < prompt) return;
    const first = {
      startedAt: sequence.startedAt,
      finishedAt: nativeNow(),
      flops: FLOPS_PER_ROW * (prompt - sequence.copied),
      copiedTokens: sequence.copied,
    };
    if (spec.generation === undefined) {
      this.#finish(sequence, events, { finish: 'encoded', ...first });
      return;
    }
    const { stopTokens, maxTokens, sampling } = spec.generation;
    const token = this.#draw(sequence);
    sequence.drawn.push(token);
    const event: NativeEvent = {
      id: spec.id,
      tokens: Int32Array.of(token),
      times: Float64Array.of(nativeNow()),
      ...(sequence.drawn.length === 1 ? first : {}),
    };
    if (sampling.topLogprobs >= 0) {
      event.logprobs = Float32Array.of(-0.1 * sequence.drawn.length);
      const width = Array.from({ length: sampling.topLogprobs }, (_, place) => place);
      event.topTokens = Int32Array.from(width);
      event.topLogprobs = Float32Array.from(width.map((place) => -0.1 * sequence.drawn.length - place));
    }
    if (stopTokens.includes(token)) this.#finish(sequence, events, { ...event, finish: 'stop' });
    else if (sequence.drawn.length === maxTokens)
      this.#finish(sequence, events, { ...event, finish: 'length' });
    else events.push(event);
  }

  #draw(sequence: FakeSequence): number {
    const { answer, vocabSize } = this.#options;
    const position = sequence.drawn.length;
    if (answer !== undefined) return answer(sequence.prompt)[position] ?? 0;
    const seen = sequence.segments.map(({ block, offset }) => `${block.content}@${offset}`);
    const hash = createHash('sha256').update(
      JSON.stringify([seen, [...sequence.spec.tokens], sequence.drawn]),
    );
    return hash.digest().readUInt32LE() % vocabSize;
  }

  #finish(sequence: FakeSequence, events: NativeEvent[], event: Omit<NativeEvent, 'id'>): void {
    sequence.finished = true;
    if (!sequence.released) events.push({ id: sequence.spec.id, ...event });
    for (const { block } of sequence.segments) this.#drop(block);
    this.#dropSource(sequence);
    this.#drop(sequence);
  }

  #forgetFinished(): void {
    this.#active = this.#active.filter((sequence) => !sequence.finished);
  }

  #dropSource(sequence: FakeSequence): void {
    const { source } = sequence;
    sequence.source = undefined;
    if (source !== undefined) this.#drop(source);
  }

  #drop(sequence: FakeSequence): void {
    sequence.holders -= 1;
    if (sequence.holders === 0) this.#pages.free += sequence.pages;
  }

  #known(id: number): FakeSequence {
    const sequence = this.#ids.get(id);
    if (sequence === undefined) throw new Error(`id ${id} is not known`);
    return sequence;
  }

  #checkOpen(): void {
    if (this.closed) throw new BlockAttentionError('CLOSED', 'the engine is closed');
  }

  #schedule(): void {
    if (!this.#options.running || this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (this.closed) return;
      this.step();
      if (this.#active.length > 0) this.#schedule();
    });
  }
}
