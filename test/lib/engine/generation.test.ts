import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import type { GenerationPart } from '#lib/engine/result.js';
import { FLOPS_PER_ROW } from './fake-native.js';
import { FakeTokenizer } from './fake-tokenizer.js';
import { answering, EOS, setUp, settle } from './setup.js';

const parts = async (generation: AsyncIterable<GenerationPart>) => {
  const list: GenerationPart[] = [];
  for await (const part of generation) list.push(part);
  return list;
};

describe('a generation', () => {
  it('streams its parts and gives the whole', async () => {
    const { engine } = answering('Hello');
    const generation = engine.generate({ blocks: ['one', 'two!'], query: 'q' });
    const list = await parts(generation);
    expect(list.map((part) => part.text)).toEqual(['H', 'e', 'l', 'l', 'o', '']);
    expect(list.flatMap((part) => part.tokens)).toEqual([...Buffer.from('Hello'), EOS]);
    expect(await generation.result()).toMatchObject({
      text: 'Hello',
      tokens: [...Buffer.from('Hello'), EOS],
      finishReason: 'stop',
      usage: {
        promptTokens: 8,
        cachedTokens: 0,
        completionTokens: 6,
        blocks: [
          { tokens: 3, status: 'miss' },
          { tokens: 4, status: 'miss' },
        ],
      },
    });
  });

  it('goes on without a reader, and gives a late or second reader everything', async () => {
    const { engine } = answering('Hi');
    const generation = engine.generate({ query: 'q' });
    await generation.result();
    expect((await parts(generation)).map((part) => part.text)).toEqual(['H', 'i', '']);
    expect((await parts(generation)).map((part) => part.text)).toEqual(['H', 'i', '']);
  });

  it('has no text without a tokenizer', async () => {
    const { engine } = setUp({ answer: () => [7, 8, EOS] });
    const result = await engine.generate({ blocks: [[1, 2], Int32Array.of(3)], query: [4] }).result();
    expect(result).toMatchObject({ text: '', tokens: [7, 8, EOS], finishReason: 'stop' });
    expect('logprobs' in result).toBe(false);
  });

  it('ends at maxTokens', async () => {
    const { engine } = answering('Hello');
    expect(await engine.generate({ query: 'q', maxTokens: 3 }).result()).toMatchObject({
      text: 'Hel',
      finishReason: 'length',
    });
  });

  it('cuts maxTokens down to what the context has room for', async () => {
    const { engine, native } = answering('Hello');
    // 200 positions.
    const result = await engine.generate({ blocks: [new Array(190).fill(1)], query: '1234567' }).result();
    expect(native.submitted[0]?.at(-1)?.generation?.maxTokens).toBe(3);
    expect(result).toMatchObject({ text: 'Hel', finishReason: 'length' });
  });

  it('ends at the own stop tokens of a request, without their text', async () => {
    const { engine } = answering('Hello');
    const stopTokens = ['l'.charCodeAt(0)];
    expect(await engine.generate({ query: 'q', stopTokens }).result()).toMatchObject({
      text: 'He',
      tokens: [...Buffer.from('Hel')],
      finishReason: 'stop',
    });
  });

  it('goes on behind the end token if asked to', async () => {
    const { engine } = setUp({ answer: () => [7, EOS, 8, 9] });
    const result = await engine.generate({ query: [1], ignoreEos: true, maxTokens: 4 }).result();
    expect(result).toMatchObject({ tokens: [7, EOS, 8, 9], finishReason: 'length' });
  });

  it('keeps characters whole', async () => {
    const { engine } = answering('naïve 🧪!');
    const generation = engine.generate({ query: 'q' });
    const texts = (await parts(generation)).map((part) => part.text);
    expect(texts).toEqual(['n', 'a', '', 'ï', 'v', 'e', ' ', '', '', '', '🧪', '!', '']);
  });

  it('gives out an unfinished character at the end', async () => {
    const { engine } = answering('aï');
    const generation = engine.generate({ query: 'q', maxTokens: 2 });
    const list = await parts(generation);
    expect(list.map((part) => [part.text, part.tokens.length])).toEqual([
      ['a', 1],
      ['', 1],
      ['\ufffd', 0],
    ]);
    expect((await generation.result()).text).toBe('a\ufffd');
  });

  it('ends in front of a stop string that is spread over tokens, and stops the work', async () => {
    const { engine, native } = answering('one STOP two');
    const generation = engine.generate({ query: 'q', stop: ['STOP', 'xyz'] });
    const texts = (await parts(generation)).map((part) => part.text);
    expect(texts).toEqual(['o', 'n', 'e', ' ', '', '', '', '']);
    expect(await generation.result()).toMatchObject({
      text: 'one ',
      tokens: [...Buffer.from('one STOP')],
      finishReason: 'stop',
    });
    expect(native.aborts).toHaveLength(1);
    await settle();
    expect(native.stats()).toMatchObject({ running: 0, freePages: 64 });
  });

  it('gives out what looked like the beginning of a stop string', async () => {
    const { engine } = answering('a STO');
    expect(await engine.generate({ query: 'q', stop: 'STOP' }).result()).toMatchObject({ text: 'a STO' });
  });

  it('reports log-probabilities for each token', async () => {
    const { engine } = answering('Hi');
    const generation = engine.generate({ query: 'q', logprobs: 2 });
    const [first] = await parts(generation);
    const top = (index: number) => [
      { token: 0, logprob: Math.fround(-0.1 * index) },
      { token: 1, logprob: Math.fround(-0.1 * index - 1) },
    ];
    expect(first).toEqual({ text: 'H', tokens: [72], logprobs: [Math.fround(-0.1)], topLogprobs: [top(1)] });
    const result = await generation.result();
    expect(result.logprobs).toEqual([1, 2, 3].map((index) => Math.fround(-0.1 * index)));
    expect(result.topLogprobs).toEqual([1, 2, 3].map(top));
    expect(JSON.parse(JSON.stringify(result.logprobs))).toEqual(result.logprobs);
  });

  it('reports the drawn token alone for logprobs 0', async () => {
    const { engine } = answering('H');
    const result = await engine.generate({ query: 'q', logprobs: 0 }).result();
    expect(result.logprobs).toHaveLength(2);
    expect(result.topLogprobs).toEqual([[], []]);
  });

  it('measures times', async () => {
    const tokenizer = new FakeTokenizer();
    const { engine } = answering('Hello', { tokenizer });
    const generation = engine.generate({ blocks: ['abc'], query: 'q' });
    const { timings } = await generation.result();
    expect(timings.tokenize).toBeGreaterThan(0);
    expect(timings.queue).toBeGreaterThanOrEqual(0);
    expect(timings.firstToken).toBeGreaterThanOrEqual(timings.tokenize + timings.queue + timings.encode);
    expect(timings.encode).toBeGreaterThan(0);
    expect(timings.perToken).toHaveLength(5);
    for (const time of timings.perToken) expect(time).toBeGreaterThanOrEqual(0);
  });

  it('counts operations: encodes on a miss, and the final block up to its first token', async () => {
    const { engine } = answering('Hello');
    const request = { blocks: ['abcd', 'xy'], query: 'que' };
    const cold = await engine.generate(request).result();
    const warm = await engine.generate(request).result();
    expect(cold.flops.executed.request).toBe(FLOPS_PER_ROW * 9);
    expect(warm.flops.executed.request).toBe(FLOPS_PER_ROW * 3);
    expect(warm.flops.executed.full).toBe(cold.flops.executed.full);
    expect(cold.flops.paper.request).toBe(cold.flops.paper.full);
    expect(warm.flops.paper.request / warm.flops.paper.full).toBeCloseTo(3 / 9);
  });

  it('gives the prompt to the repetition penalty, and to nothing else', async () => {
    const { engine, native } = answering('x');
    await engine.generate({ blocks: ['ab', '', 'c'], query: 'q', repetitionPenalty: 1.1 }).result();
    await engine.generate({ blocks: ['ab', 'c'], query: 'q', presencePenalty: 1 }).result();
    expect(native.submitted.map((batch) => batch.at(-1)?.generation?.history)).toEqual([
      Int32Array.from(Buffer.from('abc')),
      new Int32Array(),
    ]);
  });

  it('draws a seed unless it is given one', async () => {
    const { engine, native } = answering('x');
    const seeds = () => native.submitted.map((batch) => batch.at(-1)?.generation?.sampling.seed);
    for (const seed of [undefined, undefined, 5]) await engine.generate({ query: 'q', seed }).result();
    expect(seeds()[0]).not.toBe(seeds()[1]);
    expect(seeds()[2]).toBe(5);
  });
});

describe('ending a generation early', () => {
  it('by leaving the loop', async () => {
    const { engine, native } = answering('Hello');
    const generation = engine.generate({ query: 'q' });
    for await (const part of generation) if (part.text === 'e') break;
    expect(await generation.result()).toMatchObject({ text: 'He', finishReason: 'aborted' });
    await settle();
    expect(native.stats()).toMatchObject({ running: 0, freePages: 64 });
  });

  it('by abort(), with what was held back', async () => {
    const { engine, native } = answering('one ST...', { running: false });
    const generation = engine.generate({ query: 'q', stop: 'STOP' });
    await settle();
    for (let token = 0; token < 6; token++) native.step();
    generation.abort();
    generation.abort();
    expect(await generation.result()).toMatchObject({
      text: 'one ST',
      tokens: [...Buffer.from('one ST')],
      finishReason: 'aborted',
    });
    expect((await parts(generation)).map((part) => part.text).join('')).toBe('one ST');
    expect(native.aborts).toHaveLength(1);
  });

  it('by abort() before anything happened', async () => {
    const { engine, native } = answering('Hello');
    const generation = engine.generate({ blocks: ['abc'], query: 'q' });
    generation.abort();
    expect(await generation.result()).toMatchObject({
      text: '',
      tokens: [],
      finishReason: 'aborted',
      usage: { promptTokens: 0, completionTokens: 0, blocks: [] },
      timings: { firstToken: undefined, perToken: [] },
    });
    await settle();
    expect(native.submitted).toEqual([]);
  });

  it('by a signal that fired before: ABORTED, and nothing is computed', async () => {
    const { engine, native } = answering('Hello');
    const generation = engine.generate({ query: 'q', signal: AbortSignal.abort('why') });
    await expect(generation.result()).rejects.toMatchObject({ code: 'ABORTED', cause: 'why' });
    await expect(parts(generation)).rejects.toMatchObject({ code: 'ABORTED' });
    await settle();
    expect(native.submitted).toEqual([]);
  });

  it('by a signal while it is tokenised', async () => {
    const tokenizer = new FakeTokenizer();
    tokenizer.gate = new Promise(() => undefined);
    const { engine, native } = answering('Hello', { tokenizer });
    const controller = new AbortController();
    const generation = engine.generate({ query: 'q', signal: controller.signal });
    await settle();
    controller.abort();
    await expect(generation.result()).rejects.toMatchObject({ code: 'ABORTED' });
    await settle();
    expect([tokenizer.aborted, native.submitted]).toEqual([1, []]);
  });

  it('by a signal while it runs: readers get what there is, then ABORTED', async () => {
    const { engine, native } = answering('Hello', { running: false });
    const controller = new AbortController();
    const generation = engine.generate({ blocks: ['abc'], query: 'q', signal: controller.signal });
    await settle();
    native.step();
    native.step();
    controller.abort();
    await expect(generation.result()).rejects.toMatchObject({ code: 'ABORTED' });
    const texts: string[] = [];
    await expect(
      (async () => {
        for await (const part of generation) texts.push(part.text);
      })(),
    ).rejects.toMatchObject({ code: 'ABORTED' });
    expect(texts.join('')).toBe('He');
    native.drain();
    expect(native.stats().freePages).toBe(63);
    expect(engine.stats().cache).toMatchObject({ blocks: 1 });
  });

  it('lets go of the signal when it is over', async () => {
    const { engine } = answering('Hello');
    const controller = new AbortController();
    const result = await engine.generate({ query: 'q', signal: controller.signal }).result();
    expect(result.finishReason).toBe('stop');
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  });

  it('does not end the process if nobody asks for the result', async () => {
    const { engine } = answering('Hello');
    engine.generate({ query: 'q', signal: AbortSignal.abort() });
    engine.generate({ query: '' });
    await settle();
  });
});
