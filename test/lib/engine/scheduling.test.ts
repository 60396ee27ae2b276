import { describe, expect, it } from 'vitest';
import { FLOPS_PER_ROW } from './fake-native.js';
import { FakeTokenizer } from './fake-tokenizer.js';
import { answering, EOS, setUp, settle } from './setup.js';

/** `count` tokens that occur nowhere else. */
const block = (name: number, count = 4) => Array.from({ length: count }, () => name);
const statuses = (result: { usage: { blocks: { status: string }[] } }) =>
  result.usage.blocks.map(({ status }) => status);

/** Pages have 4 tokens; a request takes one page for query and answer if they are short. */
const short = { query: [1], maxTokens: 3 };

describe('reuse of blocks', () => {
  it('computes a block once, wherever it stands', async () => {
    const { engine, native } = setUp();
    const [a, b, c] = [block(10), block(11, 5), block(12)];
    expect(statuses(await engine.generate({ blocks: [a, b], ...short }).result())).toEqual(['miss', 'miss']);
    expect(statuses(await engine.generate({ blocks: [b, c, a], ...short }).result())).toEqual([
      'hit',
      'miss',
      'hit',
    ]);
    expect(native.submitted.map((batch) => batch.length)).toEqual([3, 2]);
    expect(native.submitted[1]?.at(-1)).toMatchObject({
      segments: [{ offset: 0 }, { offset: 5 }, { offset: 9 }],
      offset: 13,
    });
  });

  it('computes a block that occurs twice in a prompt once', async () => {
    const { engine, native } = setUp();
    const result = await engine.generate({ blocks: [block(10), block(10)], ...short }).result();
    expect(statuses(result)).toEqual(['miss', 'hit']);
    expect(result.usage.cachedTokens).toBe(4);
    const [encoding, final] = native.submitted[0] ?? [];
    expect(final?.segments).toEqual([
      { id: encoding?.id, offset: 0 },
      { id: encoding?.id, offset: 4 },
    ]);
  });

  it('does not count an empty block as work', async () => {
    const { engine, native } = setUp();
    const result = await engine.generate({ blocks: [[], block(10), []], ...short }).result();
    expect(statuses(result)).toEqual(['hit', 'miss', 'hit']);
    expect(result.usage.blocks.map(({ tokens }) => tokens)).toEqual([0, 4, 0]);
    expect(native.submitted[0]?.at(-1)?.segments).toHaveLength(1);
  });

  it('gives the same answer for hits and misses, in every mode; the modes differ', async () => {
    const { engine } = setUp();
    const blocks = [block(10, 3), block(11, 6), block(12, 2)];
    const answers = new Set<string>();
    for (const options of [
      { attention: 'block' },
      { attention: 'full' },
      { attention: 'block', sharedPrefix: true },
    ] as const) {
      const request = { blocks, query: [1, 2], maxTokens: 8, ...options };
      const cold = await engine.generate(request).result();
      const warm = await engine.generate(request).result();
      expect(statuses(warm)).toEqual(['hit', 'hit', 'hit']);
      expect(warm.tokens).toEqual(cold.tokens);
      answers.add(cold.tokens.join());
    }
    expect(answers.size).toBe(3);
  });

  it('in full mode reuses a common start', async () => {
    const { engine } = setUp();
    const [a, b, c] = [block(10), block(11), block(12)];
    const ask = async (blocks: number[][]) =>
      statuses(await engine.generate({ blocks, attention: 'full', ...short }).result());
    expect(await ask([a, b])).toEqual(['miss', 'miss']);
    expect(await ask([a, b, c])).toEqual(['hit', 'hit', 'miss']);
    expect(await ask([a, c, b])).toEqual(['hit', 'miss', 'miss']);
    expect(await ask([b, a])).toEqual(['miss', 'miss']);
  });

  it('keeps namespaces apart', async () => {
    const { engine } = setUp();
    const ask = async (namespace: string) =>
      statuses(await engine.generate({ blocks: [block(10)], namespace, ...short }).result());
    expect([await ask('a'), await ask('b'), await ask('a')]).toEqual([['miss'], ['miss'], ['hit']]);
  });

  it('tokenises a block once, and the query each time', async () => {
    const tokenizer = new FakeTokenizer();
    const { engine } = answering('x', { tokenizer });
    for (let time = 0; time < 2; time++) await engine.generate({ blocks: ['doc'], query: 'why' }).result();
    expect(tokenizer.encoded).toEqual(['doc', 'why', 'why']);
  });

  it('lets two requests that miss on the same block at once share one encoding', async () => {
    const { engine, native } = setUp({ running: false });
    const first = engine.generate({ blocks: [block(10), block(11)], ...short });
    const second = engine.generate({ blocks: [block(11), block(12)], ...short });
    await settle();
    expect(native.submitted.map((batch) => batch.length)).toEqual([3, 2]);
    native.drain();
    expect(statuses(await first.result())).toEqual(['miss', 'miss']);
    expect(statuses(await second.result())).toEqual(['hit', 'miss']);
    // The work counts once: for the request that missed.
    const rows = async (generation: typeof first) =>
      (await generation.result()).flops.executed.request / FLOPS_PER_ROW;
    expect([await rows(first), await rows(second)]).toEqual([9, 5]);
  });

  it('goes on with an encoding that another request waits for when the first one is aborted', async () => {
    const { engine, native } = setUp({ running: false });
    const first = engine.generate({ blocks: [block(10), block(11)], ...short });
    const second = engine.generate({ blocks: [block(11)], ...short });
    await settle();
    first.abort();
    // The final block, and the encoding that only it needed.
    const [own, shared, final] = native.submitted[0] ?? [];
    expect(native.aborts).toEqual([final?.id, own?.id]);
    native.drain();
    expect((await second.result()).finishReason).toBe('length');
    expect(native.releases).not.toContain(shared?.id);
    expect(engine.stats().cache).toMatchObject({ blocks: 1, bytes: 100 });
  });

  it('aborts a whole chain of encodings at once', async () => {
    const { engine, native } = setUp({ running: false });
    const generation = engine.generate({
      blocks: [10, 11, 12].map((n) => block(n)),
      attention: 'full',
      ...short,
    });
    await settle();
    generation.abort();
    expect(native.aborts).toEqual(native.submitted[0]?.map(({ id }) => id).reverse());
    native.step();
    expect(native.stats()).toMatchObject({ running: 0, freePages: 64 });
    expect(engine.stats().cache).toMatchObject({ blocks: 0, bytes: 0 });
  });

  it('computes a block anew that was aborted before', async () => {
    const { engine, native } = setUp({ running: false });
    const first = engine.generate({ blocks: [block(10)], ...short });
    await settle();
    first.abort();
    const second = engine.generate({ blocks: [block(10)], ...short });
    await settle();
    native.drain();
    expect(statuses(await second.result())).toEqual(['miss']);
  });

  it('fails all who wait for a block that cannot be encoded, and nobody else', async () => {
    const { engine, native } = setUp({ running: false });
    native.failing = (tokens) => tokens[0] === 10;
    const doomed = [
      engine.generate({ blocks: [block(10), block(11)], ...short }).result(),
      engine.generate({ blocks: [block(10)], ...short }).result(),
      engine.encode([block(10)]),
    ];
    const other = engine.generate({ blocks: [block(11)], ...short });
    await settle();
    native.drain();
    for (const result of doomed)
      await expect(result).rejects.toMatchObject({ code: 'OUT_OF_MEMORY', message: 'planted' });
    expect((await other.result()).finishReason).toBe('length');
    native.drain();
    native.failing = undefined;
    const again = engine.generate({ blocks: [block(10)], ...short });
    await settle();
    native.drain();
    expect(statuses(await again.result())).toEqual(['miss']);
  });
});

describe('admission', () => {
  it('evicts what nobody uses to make room, what is worth least first', async () => {
    const { engine } = setUp({ pages: 6 });
    const ask = async (...names: number[]) =>
      statuses(await engine.generate({ blocks: names.map((name) => block(name)), ...short }).result());
    await ask(10, 11);
    await ask(10);
    await ask(12, 13);
    // 10 was used twice; of 11, 12, 13 the oldest goes when a fifth block comes.
    await ask(14, 15);
    expect(engine.stats().cache).toMatchObject({ blocks: 5, evictions: 1 });
    expect(await ask(10)).toEqual(['hit']);
    expect(await ask(11)).toEqual(['miss']);
  });

  it('never evicts what the request itself needs', async () => {
    const { engine } = setUp({ pages: 4 });
    const ask = async (...names: number[]) =>
      statuses(await engine.generate({ blocks: names.map((name) => block(name)), ...short }).result());
    await ask(10, 11, 12);
    expect(await ask(10, 13, 12)).toEqual(['hit', 'miss', 'hit']);
    expect(await ask(10, 11, 12)).toEqual(['hit', 'miss', 'hit']);
  });

  it('does not evict when that would not help', async () => {
    const { engine, native } = setUp({ pages: 6, running: false });
    await Promise.all([engine.encode([block(10)]), settle().then(() => native.drain())]);
    const running = engine.generate({ blocks: [block(11), block(12)], query: [1], maxTokens: 7 });
    await settle();
    // One page is free and one can be had, two are needed.
    const waiting = engine.generate({ blocks: [block(13), block(14)], ...short });
    await settle();
    expect(engine.stats()).toMatchObject({ waiting: 1, cache: { blocks: 3, evictions: 0 } });
    native.drain();
    await running.result();
    native.drain();
    expect(statuses(await waiting.result())).toEqual(['miss', 'miss']);
  });

  it('waits for pages, first in, first out: a small request does not pass a large one', async () => {
    const { engine, native } = setUp({ pages: 4, running: false });
    const order: string[] = [];
    const ask = (name: string, pages: number) => {
      const generation = engine.generate({ query: [1], maxTokens: 4 * pages - 1 });
      generation.result().then(() => order.push(name));
      return generation;
    };
    ask('running', 3);
    await settle();
    ask('large', 4);
    await settle();
    ask('small', 1);
    await settle();
    // There is a free page, but it is not the small one's turn.
    expect(engine.stats()).toMatchObject({ running: 1, waiting: 2, cache: { freeBytes: 100 } });
    expect(native.submitted).toHaveLength(1);
    for (let turn = 0; turn < 100 && order.length < 3; turn++) {
      native.step();
      await settle();
    }
    expect(order).toEqual(['running', 'large', 'small']);
    expect(native.stats().freePages).toBe(4);
  });

  it('measures the time in the queue', async () => {
    const { engine, native } = setUp({ pages: 1, running: false });
    engine.generate(short);
    const waiting = engine.generate(short);
    await settle();
    await new Promise((resolve) => setTimeout(resolve, 20));
    native.drain();
    native.drain();
    const { timings } = await waiting.result();
    expect(timings.queue).toBeGreaterThan(18);
    expect(timings.firstToken).toBeGreaterThan(timings.queue);
  });

  it('lets a waiting request be aborted, and the next one take its turn', async () => {
    const { engine, native } = setUp({ pages: 2, running: false });
    const controller = new AbortController();
    const running = engine.generate({ query: [1], maxTokens: 3 });
    await settle();
    const waiting = engine.generate({ query: [1], maxTokens: 7, signal: controller.signal });
    await settle();
    const next = engine.generate({ query: [1], maxTokens: 3 });
    await settle();
    expect(engine.stats()).toMatchObject({ running: 1, waiting: 2 });
    controller.abort();
    await expect(waiting.result()).rejects.toMatchObject({ code: 'ABORTED' });
    expect(engine.stats()).toMatchObject({ running: 2, waiting: 0 });
    native.drain();
    await Promise.all([running.result(), next.result()]);
  });

  it('takes pages of an aborted request once the native engine has let go of them', async () => {
    const { engine, native } = setUp({ pages: 2, running: false });
    const first = engine.generate({ blocks: [block(10)], ...short });
    await settle();
    const second = engine.generate({ blocks: [block(11)], ...short });
    await settle();
    first.abort();
    expect(native.submitted).toHaveLength(1);
    native.step();
    expect(native.submitted).toHaveLength(2);
    native.drain();
    expect((await second.result()).finishReason).toBe('length');
  });

  it('refuses what can never fit', async () => {
    const { engine, native } = setUp({ pages: 4 });
    const blocks = [block(10), block(11), block(12)];
    const refused = engine.generate({ blocks, query: [1], maxTokens: 4 }).result();
    await expect(refused).rejects.toMatchObject({ code: 'CACHE_TOO_SMALL' });
    await expect(refused).rejects.toThrow(/5 pages .*500 bytes.* has 4/);
    // The same block twice takes its page once.
    const fits = engine.generate({ blocks: [...blocks, block(10)], query: [1], maxTokens: 3 });
    expect((await fits.result()).tokens).toHaveLength(3);
    expect(native.submitted).toHaveLength(1);
  });

  it('passes on an error of the native engine and goes on', async () => {
    const { engine, native } = setUp();
    await engine.encode([block(10)]);
    const submit = native.submit.bind(native);
    native.submit = () => {
      throw Object.assign(new Error('planted'), { code: 'UNSUPPORTED' });
    };
    await expect(engine.generate({ blocks: [block(10)], ...short }).result()).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: 'planted',
    });
    native.submit = submit;
    expect((await engine.generate({ blocks: [block(10)], ...short }).result()).finishReason).toBe('length');
    // The failed request left no pin behind.
    expect(await engine.delete({ namespace: '' })).toBe(1);
    expect(native.stats().freePages).toBe(64);
  });

  it('waits if the native engine finds no pages although the books say so, and fails if nothing runs', async () => {
    const { engine, native } = setUp({ running: false });
    const submit = native.submit.bind(native);
    const running = engine.generate(short);
    await settle();
    native.submit = () => {
      throw Object.assign(new Error('planted'), { code: 'OUT_OF_PAGES' });
    };
    const waiting = engine.generate(short);
    await settle();
    expect(engine.stats().waiting).toBe(1);
    native.drain();
    await running.result();
    await expect(waiting.result()).rejects.toMatchObject({ code: 'INTERNAL' });
    native.submit = submit;
  });

  it('serves many requests over a small pool, all to their end, with the answers of a large one', async () => {
    const roomy = setUp({ pages: 10_000 });
    const tight = setUp({ pages: 24 });
    const request = (n: number) => ({
      blocks: [block(10 + (n % 7), 1 + (n % 9)), block(20 + (n % 5), 6), block(30 + (n % 3), 3)],
      query: [1, n],
      maxTokens: 1 + (n % 6),
      attention: n % 2 === 0 ? ('block' as const) : ('full' as const),
      sharedPrefix: n % 3 === 0,
      stopTokens: [EOS],
    });
    const run = (engine: typeof tight.engine) =>
      Promise.all(
        Array.from({ length: 120 }, (_, n) => {
          const generation = engine.generate(request(n));
          if (n % 11 === 0) setTimeout(() => generation.abort(), n % 4);
          return generation.result();
        }),
      );
    const [expected, results] = [await run(roomy.engine), await run(tight.engine)];
    for (const [n, result] of results.entries()) {
      if (n % 11 !== 0) expect(result.tokens).toEqual(expected[n]?.tokens);
    }
    await settle();
    expect(tight.engine.stats()).toMatchObject({ running: 0, waiting: 0 });
    await tight.engine.delete({ namespace: '' });
    expect(tight.native.stats().freePages).toBe(24);
    expect(tight.engine.stats().cache).toMatchObject({ blocks: 0, bytes: 0 });
  });
});
