import { PassThrough, Readable, Writable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { savings } from '#lib/cli/answer-questions.js';
import { deviceRemark } from '#lib/cli/device-remark.js';
import { readLines } from '#lib/cli/lines.js';
import { Output } from '#lib/cli/output.js';
import { collect, parseBytes, parseCount, parseNumber } from '#lib/cli/values.js';

describe('the remark on the device', () => {
  const problem = 'no NVIDIA driver was found';
  it.each([
    // A GPU computes, or was not asked for.
    [{ problem: undefined, built: ['cpu', 'cuda'], asked: true }, undefined],
    [{ problem: undefined, built: ['cpu'], asked: false }, undefined],
    [{ problem, built: ['cpu'], asked: false }, undefined],
    [{ problem, built: ['cpu'], asked: true }, `computing on the CPU: ${problem}`],
    [{ problem, built: ['cpu', 'cuda'], asked: false }, `computing on the CPU: ${problem}`],
    [{ problem, built: ['cpu', 'cuda'], asked: true }, `computing on the CPU: ${problem}`],
  ])('%j: %s', (choice, remark) => {
    expect(deviceRemark(choice)).toBe(remark);
  });
});

describe('values of options', () => {
  it.each([
    ['1', 1],
    ['1048576', 1048576],
    ['512M', 512 * 2 ** 20],
    ['4G', 4 * 2 ** 30],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['2kb', 2048],
    ['1T', 2 ** 40],
  ])('takes %s as bytes', (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });

  it.each(['', '0', '-1', 'x', '4X', '1e3', 'G', '1.2.3M', 'NaN', '9999999T'])(
    'refuses "%s" as bytes',
    (text) => {
      expect(() => parseBytes(text)).toThrow('512M');
    },
  );

  it('takes whole numbers and numbers', () => {
    expect(parseCount('12')).toBe(12);
    for (const text of ['0', '-1', '1.5', 'x', '', '1e3'])
      expect(() => parseCount(text)).toThrow('whole number');
    expect(parseNumber('-0.5')).toBe(-0.5);
    for (const text of ['', ' ', 'x', 'NaN', 'Infinity']) expect(() => parseNumber(text)).toThrow('number');
    expect(collect('b', collect('a', undefined))).toEqual(['a', 'b']);
  });
});

describe('reading lines', () => {
  const linesOf = async (chunks: (Buffer | string)[]) => {
    const lines: string[] = [];
    for await (const line of readLines(Readable.from(chunks))) lines.push(line);
    return lines;
  };

  it('finds the same lines however the bytes arrive', async () => {
    const text = fc.array(fc.string({ unit: fc.constantFrom('a', 'ï', '🧪', '\n', '\r') }), { maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(text, fc.array(fc.nat(40)), async (pieces, cuts) => {
        const whole = pieces.join('\n');
        const bytes = Buffer.from(whole);
        const borders = [0, ...cuts.filter((cut) => cut <= bytes.length).sort((a, b) => a - b), bytes.length];
        const chunks = borders.slice(1).map((end, index) => bytes.subarray(borders[index], end));
        const expected = whole.split('\n');
        if (expected.at(-1) === '') expected.pop();
        expect(await linesOf(chunks.filter((chunk) => chunk.length > 0))).toEqual(expected);
      }),
    );
  });

  it('drops a byte order mark and takes strings', async () => {
    expect(await linesOf([Buffer.from('\ufeff{}\n')])).toEqual(['{}']);
    expect(await linesOf(['a\nb', 'c'])).toEqual(['a', 'bc']);
  });
});

describe('output', () => {
  it('waits for a slow reader', async () => {
    const stream = new PassThrough({ highWaterMark: 4 });
    const output = new Output(stream);
    let written = false;
    const writing = output.write('longer than the mark').then(() => {
      written = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBe(false);
    stream.read();
    await writing;
  });

  const failing = (code: string) =>
    new Writable({
      write: (_chunk, _encoding, done) => done(Object.assign(new Error(code), { code })),
      highWaterMark: 1,
    });

  it('takes a reader that went away for no failure, and stops waiting for it', async () => {
    const output = new Output(failing('EPIPE'));
    await output.write('text');
    expect(output.gone.aborted).toBe(true);
    await output.write('more');
    output.check();
  });

  it('reports that writing failed', async () => {
    const output = new Output(failing('ENOSPC'));
    await expect(output.write('text')).rejects.toThrow('ENOSPC');
    await expect(output.write('more')).rejects.toThrow('ENOSPC');
    expect(() => output.check()).toThrow('ENOSPC');
  });
});

describe('the line about an answer', () => {
  it('says what was cached and what it saved', () => {
    const usage = {
      promptTokens: 100,
      cachedTokens: 60,
      completionTokens: 5,
      blocks: [
        { tokens: 60, status: 'hit' as const, key: '' },
        { tokens: 20, status: 'miss' as const, key: '' },
      ],
    };
    const timings = { queue: 0, tokenize: 1, encode: 2, firstToken: 12.345, perToken: [] };
    const flops = { paper: { request: 1, full: 1 }, executed: { request: 25, full: 100 } };
    const result = { text: '', tokens: [], finishReason: 'stop' as const, usage, timings, flops };
    expect(savings(result)).toBe(
      '[1 of 2 blocks and 60 of 100 tokens came from the cache; first token after 12.3 ms, ' +
        'with 75.0% less computing than full attention over everything]',
    );
    expect(savings({ ...result, timings: { ...timings, firstToken: undefined } })).toContain('no token');
  });
});
