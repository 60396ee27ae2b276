import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockCache } from '#lib/cache/block-cache.js';
import type { CachedBlock } from '#lib/cache/cached-block.js';

/** An owner that remembers what it was told. */
function recorder() {
  const aborted: number[] = [];
  const released: number[] = [];
  return {
    aborted,
    released,
    owner: { abort: (id: number) => void aborted.push(id), release: (id: number) => void released.push(id) },
  };
}

const tokensOf = (key: string) => Int32Array.from(Buffer.from(key));

function setUp() {
  const record = recorder();
  const cache = new BlockCache(record.owner);
  let ids = 0;
  const insert = (key: string, options: { pages?: number; cost?: number; context?: CachedBlock[] } = {}) =>
    cache.insert({
      key,
      content: key,
      seen: [],
      namespace: '',
      tokens: tokensOf(key),
      id: ids++,
      pages: options.pages ?? 1,
      cost: options.cost ?? 1,
      context: options.context ?? [],
    });
  const insertReady = (key: string, options?: { pages?: number; cost?: number }) => {
    const block = insert(key, options);
    cache.ended(block.id, true);
    cache.unpin(block);
    return block;
  };
  return { ...record, cache, insert, insertReady };
}

describe('block cache', () => {
  it('finds a block before it is ready, so that two requests share one encoding', () => {
    const { cache, insert, aborted } = setUp();
    const block = insert('a');
    expect(cache.find('a', tokensOf('a'))).toBe(block);
    cache.pin(block);
    cache.hit(block);
    cache.unpin(block);
    expect(aborted).toEqual([]);
    expect(cache.ended(block.id, true)).toBe(block);
    expect(cache.stats()).toMatchObject({ hits: 1, misses: 1, blocks: 1, evictablePages: 0 });
    cache.unpin(block);
    expect(cache.stats()).toMatchObject({ evictablePages: 1 });
  });

  it('does not take a hash for an identity', () => {
    const { cache, insertReady, released } = setUp();
    const block = insertReady('a');
    expect(cache.find('a', tokensOf('b'))).toBeUndefined();
    const other = cache.insert({ ...block, tokens: tokensOf('b'), id: 77 });
    expect(released).toEqual([block.id]);
    expect(cache.find('a', tokensOf('b'))).toBe(other);
  });

  it('aborts an encoding that nobody waits for, with the blocks that only it needed', () => {
    const { cache, insert, aborted, released } = setUp();
    const system = insert('s');
    const document = insert('d', { context: [system] });
    const shared = insert('x');
    cache.pin(shared);
    for (const block of [document, system, shared]) cache.unpin(block);
    expect(aborted).toEqual([document.id, system.id]);
    expect(cache.find('d', tokensOf('d'))).toBeUndefined();
    expect(cache.find('x', tokensOf('x'))).toBe(shared);
    expect(released).toEqual([]);
    expect(cache.ended(document.id, false)).toBeUndefined();
    // It may have been computed before the abort came through.
    expect(cache.ended(system.id, true)).toBeUndefined();
    expect(released).toEqual([document.id, system.id]);
    expect(cache.stats().pages).toBe(1);
  });

  it('keeps what an encoding sees until it is ready', () => {
    const { cache, insert, insertReady } = setUp();
    const system = insertReady('s');
    const document = insert('d', { context: [system] });
    expect(cache.evict()).toBe(false);
    cache.ended(document.id, true);
    expect(cache.evict()).toBe(true);
    expect(cache.find('s', tokensOf('s'))).toBeUndefined();
  });

  it('forgets a block whose encoding failed, and survives its users', () => {
    const { cache, insert, released } = setUp();
    const block = insert('a');
    expect(cache.ended(block.id, false)).toBe(block);
    expect(released).toEqual([block.id]);
    expect(cache.find('a', tokensOf('a'))).toBeUndefined();
    cache.unpin(block);
    expect(released).toEqual([block.id]);
    expect(cache.stats()).toMatchObject({ pages: 0, blocks: 0 });
  });

  it('deletes at once what nobody uses, and the rest with its last user', () => {
    const { cache, insert, insertReady, released } = setUp();
    const idle = insertReady('a');
    const used = insert('b');
    cache.ended(used.id, true);
    const kept = insertReady('c');
    expect(cache.delete((block) => block.key !== 'c')).toBe(2);
    expect(released).toEqual([idle.id]);
    expect(cache.find('b', tokensOf('b'))).toBeUndefined();
    cache.unpin(used);
    expect(released).toEqual([idle.id, used.id]);
    expect(cache.find('c', tokensOf('c'))).toBe(kept);
  });

  it('evicts by uses times cost over size, and ages', () => {
    const { cache, insertReady, released } = setUp();
    const cheap = insertReady('cheap', { cost: 10, pages: 10 });
    const dear = insertReady('dear', { cost: 100, pages: 10 });
    const popular = insertReady('popular', { cost: 20, pages: 10 });
    for (let use = 0; use < 6; use++) {
      cache.pin(popular);
      cache.hit(popular);
      cache.unpin(popular);
    }
    cache.evict();
    expect(released).toEqual([cheap.id]);
    cache.evict();
    expect(released).toEqual([cheap.id, dear.id]);
    // The age is 10 now: a newcomer worth 5 outlives the block that was worth 14 long ago.
    const newcomer = insertReady('newcomer', { cost: 50, pages: 10 });
    cache.evict();
    expect(released).toEqual([cheap.id, dear.id, popular.id]);
    cache.evict();
    expect(released.at(-1)).toBe(newcomer.id);
    expect(cache.evict()).toBe(false);
    expect(cache.stats()).toEqual({
      blocks: 0,
      pages: 0,
      evictablePages: 0,
      hits: 6,
      misses: 4,
      evictions: 4,
    });
  });
});

/** What the cache should hold, kept the simplest way: one list, everything recomputed by looking at all of it. */
class ModelBlock {
  state: 'encoding' | 'ready' | 'abandoned' | 'gone' = 'encoding';
  listed = true;
  uses = 1;
  worth = 0;
  rested = 0;
  /** Jobs, and encodings of other blocks. */
  readonly users: (number | ModelBlock)[] = [];
  constructor(
    readonly real: CachedBlock,
    readonly context: ModelBlock[],
  ) {}
}

class Model {
  readonly blocks: ModelBlock[] = [];
  readonly aborted: number[] = [];
  readonly released: number[] = [];
  age = 0;
  rests = 0;

  listed(key: string): ModelBlock | undefined {
    return this.blocks.find((block) => block.listed && block.real.key === key);
  }

  evictable(): ModelBlock[] {
    return this.blocks
      .filter((block) => block.listed && block.state === 'ready' && block.users.length === 0)
      .sort((a, b) => a.worth - b.worth || a.rested - b.rested);
  }

  leave(block: ModelBlock, user: number | ModelBlock): void {
    block.users.splice(block.users.indexOf(user), 1);
    if (block.users.length > 0) return;
    if (block.state === 'ready') {
      if (!block.listed) this.release(block);
      block.worth = this.age + (block.uses * block.real.cost) / block.real.pages;
      block.rested = this.rests++;
    } else if (block.state === 'encoding') {
      block.state = 'abandoned';
      block.listed = false;
      this.aborted.push(block.real.id);
      for (const seen of block.context) this.leave(seen, block);
    }
  }

  release(block: ModelBlock): void {
    block.state = 'gone';
    block.listed = false;
    this.released.push(block.real.id);
  }
}

type Step =
  | { request: string[]; chain: boolean; namespace: string }
  | { done: number }
  | { ended: number; encoded: boolean }
  | { delete: string }
  | { clear: string }
  | 'evict';

const key = fc.constantFrom('a', 'b', 'c', 'd', 'e');
/** Tenants: what one of them has, the other never finds. */
const namespace = fc.constantFrom('one', 'two');
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      request: fc.uniqueArray(key, { minLength: 1, maxLength: 4 }),
      chain: fc.boolean(),
      namespace,
    }),
  },
  { weight: 3, arbitrary: fc.record({ done: fc.nat(9) }) },
  { weight: 5, arbitrary: fc.record({ ended: fc.nat(9), encoded: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ delete: key }) },
  { weight: 1, arbitrary: fc.record({ clear: namespace }) },
  { weight: 2, arbitrary: fc.constant<Step>('evict') },
);

class Run {
  readonly record = recorder();
  readonly cache = new BlockCache(this.record.owner);
  readonly model = new Model();
  readonly jobs = new Map<number, ModelBlock[]>();
  ids = 0;

  apply(step: Step): void {
    if (step === 'evict') this.evict();
    else if ('request' in step) this.request(step.request, step.chain, step.namespace);
    else if ('done' in step) this.done([...this.jobs.keys()][step.done]);
    else if ('delete' in step) this.delete((block) => block.content === step.delete);
    else if ('clear' in step) this.delete((block) => block.namespace === step.clear);
    else this.ended(this.unfinished()[step.ended], step.encoded);
  }

  unfinished(): ModelBlock[] {
    return this.model.blocks.filter((block) => block.state === 'encoding' || block.state === 'abandoned');
  }

  request(letters: string[], chain: boolean, namespace: string): void {
    const job = this.ids++;
    const used: ModelBlock[] = [];
    for (const [index, letter] of letters.entries()) {
      const name = `${namespace}/${chain ? letters.slice(0, index + 1).join('') : letter}`;
      let block = this.model.listed(name);
      const found = this.cache.find(name, tokensOf(name));
      expect(found).toBe(block?.real);
      if (block !== undefined && found !== undefined) {
        this.cache.pin(found);
        this.cache.hit(found);
        block.uses += 1;
      } else {
        const context = chain ? [...used] : [];
        const weight = name.charCodeAt(name.length - 1) - 96;
        block = new ModelBlock(
          this.cache.insert({
            key: name,
            content: letter,
            seen: [],
            namespace,
            tokens: tokensOf(name),
            id: this.ids++,
            pages: 1 + (weight % 3),
            cost: weight * weight,
            context: context.map((seen) => seen.real),
          }),
          context,
        );
        for (const seen of context) seen.users.push(block);
        this.model.blocks.push(block);
      }
      block.users.push(job);
      used.push(block);
    }
    this.jobs.set(job, used);
  }

  done(job: number | undefined): void {
    if (job === undefined) return;
    for (const block of (this.jobs.get(job) ?? []).toReversed()) {
      this.cache.unpin(block.real);
      this.model.leave(block, job);
    }
    this.jobs.delete(job);
  }

  ended(block: ModelBlock | undefined, encoded: boolean): void {
    if (block === undefined) return;
    const awaited = block.state === 'encoding';
    expect(this.cache.ended(block.real.id, encoded)).toBe(awaited ? block.real : undefined);
    if (awaited && encoded) block.state = 'ready';
    else this.model.release(block);
    if (awaited) for (const seen of block.context) this.model.leave(seen, block);
  }

  delete(isCondemned: (block: CachedBlock) => boolean): void {
    const condemned = this.model.blocks.filter((block) => block.listed && isCondemned(block.real));
    expect(this.cache.delete(isCondemned)).toBe(condemned.length);
    for (const block of condemned) {
      if (this.model.evictable().includes(block)) this.model.release(block);
      block.listed = false;
    }
  }

  evict(): void {
    const victim = this.model.evictable()[0];
    expect(this.cache.evict()).toBe(victim !== undefined);
    if (victim === undefined) return;
    this.model.age = victim.worth;
    this.model.release(victim);
  }

  check(): void {
    expect(this.record.aborted).toEqual(this.model.aborted);
    expect(this.record.released).toEqual(this.model.released);
    expect(new Set(this.record.released).size).toBe(this.record.released.length);
    const pages = (blocks: ModelBlock[]) => blocks.reduce((sum, block) => sum + block.real.pages, 0);
    expect(this.cache.stats()).toMatchObject({
      blocks: this.model.blocks.filter((block) => block.listed).length,
      pages: pages(this.model.blocks.filter((block) => block.state !== 'gone')),
      evictablePages: pages(this.model.evictable()),
    });
  }
}

describe('block cache against a simple model', () => {
  // On a failure fast-check prints the seed, and the shortest history that fails.
  it('agrees after every step of any history, and gives everything back in the end', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const run = new Run();
        for (const step of steps) {
          run.apply(step);
          run.check();
        }
        for (const job of [...run.jobs.keys()]) run.done(job);
        for (const block of run.unfinished()) run.ended(block, true);
        while (run.model.evictable().length > 0) run.evict();
        run.check();
        expect(run.cache.stats()).toMatchObject({ pages: 0, blocks: 0 });
        expect(run.record.released.length).toBe(run.model.blocks.length);
      }),
      { numRuns: 500 },
    );
  });
});
