import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { Output } from '#lib/cli/output.js';
import { serveLines } from '#lib/cli/serve-lines.js';
import { answering, setUp, settle } from '../engine/setup.js';

type Served = Parameters<typeof serveLines>[0];

async function serve(
  engine: Served,
  lines: AsyncIterable<string> | string[],
  options: { concurrency?: number; signal?: AbortSignal } = {},
) {
  const stream = new PassThrough();
  const warnings: string[] = [];
  const output = new Output(stream);
  const reading = text(stream);
  const iterable = Array.isArray(lines)
    ? (async function* () {
        yield* lines;
      })()
    : lines;
  await serveLines(engine, iterable, output, {
    concurrency: options.concurrency ?? 1,
    signal: options.signal ?? new AbortController().signal,
    warn: (warning) => warnings.push(warning),
  });
  stream.end();
  const out = await reading;
  return {
    warnings,
    raw: out,
    results: out
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line)),
  };
}

const request = (fields: object) => JSON.stringify({ query: [1], maxTokens: 2, ...fields });

describe('requests as lines', () => {
  it('gives one result a line, with the fields of result()', async () => {
    const { engine } = answering('Hi');
    const { raw, results } = await serve(engine, [
      JSON.stringify({ blocks: ['doc'], query: 'q', logprobs: 1 }),
    ]);
    expect(raw.endsWith('}\n')).toBe(true);
    expect(results).toHaveLength(1);
    expect(Object.keys(results[0]).sort()).toEqual(
      ['finishReason', 'flops', 'logprobs', 'text', 'timings', 'tokens', 'topLogprobs', 'usage'].sort(),
    );
    expect(results[0]).toMatchObject({
      text: 'Hi',
      finishReason: 'stop',
      usage: { blocks: [{ status: 'miss' }] },
    });
    expect(results[0].topLogprobs[0]).toEqual([{ token: 0, logprob: Math.fround(-0.1) }]);
  });

  it('reports what is wrong with a line in its place, and goes on', async () => {
    const { engine } = setUp();
    const { results } = await serve(engine, [
      request({}),
      'not json',
      '[1]',
      '',
      request({ temperature: -1 }),
      request({ query: 'text' }),
      request({}),
    ]);
    expect(results.map((result) => result.error?.code ?? result.finishReason)).toEqual([
      'length',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'TOKENIZER_MISSING',
      'length',
    ]);
    expect(results[1].error.message).toMatch(/^line 2 is not JSON/);
    expect(Object.keys(results[1])).toEqual(['error']);
  });

  it('gives several answers for a line with n, in its one line', async () => {
    const { engine, native } = setUp();
    const { results, warnings } = await serve(engine, [
      request({ n: 3, seed: 5 }),
      request({}),
      request({ n: 0 }),
      request({ n: 2, temperature: -1 }),
    ]);
    expect(results[0].answers.map((answer: { tokens: number[] }) => answer.tokens.length)).toEqual([2, 2, 2]);
    expect(results[1].tokens).toHaveLength(2);
    expect(results.slice(2).map((result) => result.error.code)).toEqual([
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
    ]);
    expect(
      native.submitted
        .flat()
        .slice(0, 3)
        .map((one) => one.generation?.sampling.seed),
    ).toEqual([5, 6, 7]);
    expect(warnings).toEqual([]);
  });

  it('takes up the next line when the previous one has ended', async () => {
    const { engine, native } = setUp();
    const { results } = await serve(
      engine,
      [1, 2, 3].map((n) => request({ blocks: [[n]] })),
    );
    expect(results).toHaveLength(3);
    expect(native.submitted).toHaveLength(3);
    // Reads no further ahead than it must.
    let taken = 0;
    let seen = 0;
    const lines = (async function* () {
      for (; taken < 3; taken++) yield request({});
    })();
    const submit = native.submit.bind(native);
    native.submit = (sequences) => {
      seen = Math.max(seen, native.active);
      submit(sequences);
    };
    await serve(engine, lines);
    expect(seen).toBe(0);
  });

  it('keeps as many under way as it is told, and the order of the input', async () => {
    const { engine, native } = setUp();
    let most = 0;
    const submit = native.submit.bind(native);
    native.submit = (sequences) => {
      submit(sequences);
      most = Math.max(most, native.active);
    };
    const lengths = [9, 1, 5, 2, 7, 1, 1, 3];
    const lines = lengths.map((maxTokens) => request({ maxTokens }));
    const { results } = await serve(engine, lines, { concurrency: 3 });
    expect(results.map((result) => result.tokens.length)).toEqual(lengths);
    expect(most).toBe(3);
  });

  it('does not make Node suspect a leak', async () => {
    const { engine } = setUp();
    const warnings: string[] = [];
    const note = (warning: Error) => warnings.push(warning.name);
    process.on('warning', note);
    await serve(
      engine,
      Array.from({ length: 30 }, () => request({})),
      { concurrency: 30 },
    );
    await settle();
    process.off('warning', note);
    expect(warnings).toEqual([]);
  });

  it('ignores fields of its owner, and says so once', async () => {
    const { engine } = setUp();
    const { results, warnings } = await serve(engine, [
      request({ id: 1, maxToken: 3 }),
      request({ id: 2, signal: 1 }),
    ]);
    expect(results.every((result) => result.finishReason === 'length')).toBe(true);
    expect(warnings.map((warning) => /"(\w+)"/.exec(warning)?.[1])).toEqual(['id', 'maxToken', 'signal']);
  });

  it('ends when the signal fires, while it computes or waits for a line', async () => {
    const { engine, native } = setUp({ running: false });
    const controller = new AbortController();
    const lines = (async function* () {
      yield request({});
      await new Promise(() => undefined);
    })();
    const serving = serve(engine, lines, { signal: controller.signal, concurrency: 2 });
    await settle();
    expect(native.active).toBe(1);
    controller.abort();
    expect((await serving).results).toEqual([]);
    native.drain();
    expect(native.stats().freePages).toBe(64);
  });

  it('ends when the reader of the output goes away', async () => {
    const { engine } = setUp();
    const stream = new PassThrough();
    const output = new Output(stream);
    let taken = 0;
    const lines = (async function* () {
      for (; taken < 1000; taken++) {
        if (taken === 3) stream.destroy(Object.assign(new Error('gone'), { code: 'EPIPE' }));
        yield request({});
      }
    })();
    stream.resume();
    await serveLines(engine, lines, output, {
      concurrency: 1,
      signal: new AbortController().signal,
      warn: () => undefined,
    });
    output.check();
    expect(taken).toBeLessThan(6);
  });
});
