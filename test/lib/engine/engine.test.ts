import { describe, expect, it } from 'vitest';
import { FakeTokenizer } from './fake-tokenizer.js';
import { answering, CONFIG, setUp, settle } from './setup.js';

const block = (name: number, count = 4) => Array.from({ length: count }, () => name);
const short = { query: [1], maxTokens: 3 };
const statuses = (blocks: { status: string }[]) => blocks.map(({ status }) => status);

describe('encode', () => {
  it('warms blocks for later requests', async () => {
    const { engine, native } = setUp();
    const warmed = await engine.encode([block(10), block(11)]);
    expect(warmed).toMatchObject([
      { tokens: 4, status: 'miss' },
      { tokens: 4, status: 'miss' },
    ]);
    const result = await engine.generate({ blocks: [block(11), block(12), block(10)], ...short }).result();
    expect(statuses(result.usage.blocks)).toEqual(['hit', 'miss', 'hit']);
    expect(result.usage.blocks[2]?.key).toBe(warmed[0]?.key);
    expect(statuses(await engine.encode([block(10), block(12), block(10)]))).toEqual(['hit', 'hit', 'hit']);
    expect(native.submitted).toHaveLength(2);
  });

  it('warms what the same options will ask for', async () => {
    const { engine } = setUp();
    for (const options of [{ attention: 'full' }, { sharedPrefix: true }, { namespace: 'n' }] as const) {
      const blocks = [block(10), block(11), block(12)];
      await engine.encode(blocks, options);
      expect(
        statuses((await engine.generate({ blocks, ...options, ...short }).result()).usage.blocks),
      ).toEqual(['hit', 'hit', 'hit']);
    }
  });

  it('warms documents of the reference layout', async () => {
    const config = { ...CONFIG, maxPositions: 2000 };
    const { engine } = answering('x', { pages: 1000, config });
    const documents = [{ title: 'T', text: 'one' }, { text: 'two' }];
    expect(statuses(await engine.encode({ documents }))).toEqual(['miss', 'miss', 'miss']);
    const result = await engine.generate({ documents: [...documents].reverse(), query: 'q' }).result();
    expect(statuses(result.usage.blocks)).toEqual(['hit', 'hit', 'hit']);
  });

  it('takes a thousand blocks in small bites, and lets requests in between', async () => {
    const { engine, native } = setUp({ pages: 1100, vocabSize: 4096 });
    const blocks = Array.from({ length: 1000 }, (_, index) => [index % 512, index >> 9, 3]);
    const encoding = engine.encode(blocks, { sharedPrefix: true });
    const request = engine.generate(short);
    await request.result();
    expect(native.submitted.length).toBeLessThan(10);
    expect(statuses(await encoding).every((status) => status === 'miss')).toBe(true);
    expect(native.submitted.length).toBeGreaterThan(15);
    expect(engine.stats().cache.blocks).toBe(1000);
  });

  it('waits for pages in the queue', async () => {
    const { engine, native } = setUp({ pages: 2, running: false });
    const running = engine.generate({ query: [1], maxTokens: 7 });
    await settle();
    const encoding = engine.encode([block(10)]);
    await settle();
    expect(engine.stats().waiting).toBe(1);
    native.drain();
    await running.result();
    native.drain();
    expect(statuses(await encoding)).toEqual(['miss']);
  });

  it('can be aborted, before and while it runs', async () => {
    const { engine, native } = setUp({ running: false });
    await expect(engine.encode([block(10)], { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ABORTED',
    });
    const controller = new AbortController();
    const encoding = engine.encode([block(10)], { signal: controller.signal });
    await settle();
    controller.abort();
    await expect(encoding).rejects.toMatchObject({ code: 'ABORTED' });
    native.drain();
    expect(native.stats().freePages).toBe(64);
  });

  it.each([
    [[block(10, 201)], undefined, 'PROMPT_TOO_LONG'],
    [[block(10, 150), block(11, 150)], { attention: 'full' }, 'PROMPT_TOO_LONG'],
    [[[512]], undefined, 'TOKEN_OUT_OF_RANGE'],
    [['text'], undefined, 'TOKENIZER_MISSING'],
    ['text', undefined, 'INVALID_ARGUMENT'],
    [[block(10)], { attention: 'none' }, 'INVALID_ARGUMENT'],
    [[block(10)], { maxTokens: 3 }, 'INVALID_ARGUMENT'],
    [{ documents: [{}] }, undefined, 'INVALID_ARGUMENT'],
    [[1, 2, 3].map((n) => block(n, 100)), undefined, 'CACHE_TOO_SMALL'],
  ])('refuses wrong arguments: %#', async (blocks, options, code) => {
    const { engine } = setUp();
    const encoding = engine.encode(
      blocks as Parameters<typeof engine.encode>[0],
      options as Parameters<typeof engine.encode>[1],
    );
    await expect(encoding).rejects.toMatchObject({ code });
  });

  it('does not take many long blocks for one long prompt', async () => {
    const { engine } = setUp({ pages: 200 });
    expect(await engine.encode([1, 2, 3].map((n) => block(n, 150)))).toHaveLength(3);
  });
});

describe('delete', () => {
  it('removes by key', async () => {
    const { engine } = setUp();
    const [first] = await engine.encode([block(10), block(11)]);
    expect(await engine.delete({ keys: [first?.key ?? '', 'unknown'] })).toBe(1);
    expect(statuses(await engine.encode([block(10), block(11)]))).toEqual(['miss', 'hit']);
  });

  it('removes a namespace', async () => {
    const { engine } = setUp();
    for (const namespace of ['a', 'b']) await engine.encode([block(10), block(11)], { namespace });
    expect(await engine.delete({ namespace: 'a' })).toBe(2);
    expect(statuses(await engine.encode([block(10)], { namespace: 'b' }))).toEqual(['hit']);
  });

  it('removes a content in every context, with all that saw it', async () => {
    const { engine } = setUp();
    const [a, b, c] = [block(10), block(11), block(12)];
    await engine.encode([a, b, c], { attention: 'full' });
    await engine.encode([c, b], { attention: 'full' });
    await engine.encode([b]);
    await engine.encode([b], { namespace: 'other' });
    // Of a, ab, abc, c, cb and b.
    expect(await engine.delete({ blocks: [b] })).toBe(4);
    expect(statuses(await engine.encode([a, b, c], { attention: 'full' }))).toEqual(['hit', 'miss', 'miss']);
    expect(statuses(await engine.encode([c]))).toEqual(['hit']);
    expect(statuses(await engine.encode([b], { namespace: 'other' }))).toEqual(['hit']);
  });

  it('removes documents, and leaves the system text', async () => {
    const { engine } = answering('x', { pages: 1000, config: { ...CONFIG, maxPositions: 2000 } });
    const documents = [{ text: 'one' }, { text: 'two' }];
    await engine.encode({ documents });
    expect(await engine.delete({ documents: [{ text: 'one' }] })).toBe(1);
    expect(statuses(await engine.encode({ documents }))).toEqual(['hit', 'miss', 'hit']);
  });

  it('lets a request that uses a block end', async () => {
    const { engine, native } = setUp({ running: false });
    const generation = engine.generate({ blocks: [block(10)], ...short });
    await settle();
    native.step();
    expect(await engine.delete({ namespace: '' })).toBe(1);
    expect(engine.stats().cache).toMatchObject({ blocks: 0, bytes: 100 });
    native.drain();
    expect((await generation.result()).tokens).toHaveLength(3);
    expect(engine.stats().cache).toMatchObject({ bytes: 0 });
    expect(native.stats().freePages).toBe(64);
  });

  it.each([
    [{}],
    [undefined],
    [{ keys: ['a'], namespace: 'n' }],
    [{ keys: [1] }],
    [{ blocks: [], documents: [] }],
    [{ key: 'a' }],
  ])('refuses %j', async (target) => {
    const { engine } = setUp();
    const deletion = engine.delete(target as Parameters<typeof engine.delete>[0]);
    await expect(deletion).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

describe('stats', () => {
  it('tell what is held and what was reused', async () => {
    const { engine, native } = setUp();
    await engine.generate({ blocks: [block(10), block(11, 5)], ...short }).result();
    await engine.generate({ blocks: [block(10)], ...short }).result();
    expect(engine.stats()).toEqual({
      device: 'fake',
      running: 0,
      waiting: 0,
      steps: native.stats().steps,
      rows: native.stats().rows,
      weightBytes: 5000,
      cache: {
        blocks: 2,
        bytes: 300,
        freeBytes: 6100,
        capacityBytes: 6400,
        hits: 1,
        misses: 2,
        evictions: 0,
      },
    });
    expect(engine.device).toBe('fake');
    expect(engine.model).toEqual({
      architecture: 'LlamaForCausalLM',
      vocabSize: 512,
      maxPositions: 200,
      hasTokenizer: false,
    });
  });
});

describe('close', () => {
  it('fails what runs, waits and is being tokenised, and frees everything', async () => {
    const tokenizer = new FakeTokenizer();
    const { engine, native } = answering('Hello', { tokenizer, pages: 2, running: false });
    const running = engine.generate({ query: 'q', maxTokens: 7 });
    await settle();
    const waiting = engine.generate({ query: 'q', maxTokens: 7 });
    const encoding = engine.encode([block(10)]);
    await settle();
    tokenizer.gate = new Promise((resolve) => setTimeout(resolve, 10));
    const tokenising = engine.generate({ query: 'new text' });
    native.step();
    const closing = engine.close();
    for (const work of [running.result(), waiting.result(), encoding, tokenising.result()]) {
      await expect(work).rejects.toMatchObject({ code: 'CLOSED' });
    }
    await closing;
    expect([native.closed, tokenizer.closed]).toEqual([true, true]);
  });

  it('is idempotent', async () => {
    const { engine } = setUp();
    await Promise.all([engine.close(), engine.close()]);
    await engine.close();
    await engine.close({ drain: true });
    await engine[Symbol.asyncDispose]();
  });

  it('refuses use afterwards', async () => {
    const { engine } = setUp();
    await engine.close();
    await expect(engine.generate(short).result()).rejects.toMatchObject({ code: 'CLOSED' });
    await expect(engine.encode([block(10)])).rejects.toMatchObject({ code: 'CLOSED' });
    await expect(engine.delete({ namespace: '' })).rejects.toMatchObject({ code: 'CLOSED' });
    expect(() => engine.stats()).toThrow(expect.objectContaining({ code: 'CLOSED' }));
  });

  it('leaves finished generations readable, and their abort() harmless', async () => {
    const { engine } = answering('Hi');
    const generation = engine.generate({ query: 'q' });
    const aborted = engine.generate({ query: 'q' });
    await generation.result();
    await engine.close();
    generation.abort();
    aborted.abort();
    const texts: string[] = [];
    for await (const part of generation) texts.push(part.text);
    expect(texts.join('')).toBe('Hi');
  });

  it('with drain lets what was asked for end, and takes nothing new', async () => {
    const { engine, native } = answering('Hello', { pages: 3 });
    const results = [1, 2, 3].map(() => engine.generate({ query: 'q', maxTokens: 7 }).result());
    const encoding = engine.encode(['doc']);
    const closing = engine.close({ drain: true });
    await expect(engine.generate({ query: 'q' }).result()).rejects.toMatchObject({ code: 'CLOSED' });
    for (const result of results) expect((await result).text).toBe('Hello');
    expect(statuses(await encoding)).toEqual(['miss']);
    await closing;
    expect(native.closed).toBe(true);
  });

  it('without drain ends a draining close', async () => {
    const { engine } = answering('Hello', { running: false });
    const generation = engine.generate({ query: 'q' });
    await settle();
    const draining = engine.close({ drain: true });
    await engine.close();
    await draining;
    await expect(generation.result()).rejects.toMatchObject({ code: 'CLOSED' });
  });
});
