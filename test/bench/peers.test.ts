import { expect, it } from 'vitest';
import { Progress } from '../../bench/common/progress.mjs';
import { randomOf } from '../../bench/common/random.mjs';
import { compareTokens } from '../../bench/peers/agreement.mjs';
import { Contender } from '../../bench/peers/contender.mjs';
import { measureFigures } from '../../bench/peers/measure.mjs';
import type { Results } from '../../bench/peers/tables.mjs';
import { peersTables, ratios } from '../../bench/peers/tables.mjs';

/** A contender that runs `body` with each request as `request`. */
const contenderOf = (body: string) =>
  new Contender(process.execPath, [
    '-e',
    `require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const request = JSON.parse(line);
      const answer = (value) => console.log(JSON.stringify({ answer: value }));
      ${body}
    });`,
  ]);

it('asks a process of its own, and passes over what else it prints', async () => {
  const contender = contenderOf(`console.log('a library says this'); answer({ got: request.do });`);
  expect(await contender.ask({ do: 'close' })).toEqual({ got: 'close' });
  expect(await contender.ask({ do: 'ttft', prompt: [1] })).toEqual({ got: 'ttft' });
  await contender.end();
});

it('tells why a contender failed', async () => {
  const failing = contenderOf(`answer({ error: 'no such model' });`);
  await expect(failing.ask({ do: 'close' })).rejects.toThrow('no such model');
  await failing.end();
  const dying = contenderOf(`console.error('out of memory'); process.exit(1);`);
  await expect(dying.ask({ do: 'close' })).rejects.toThrow('out of memory');
  await dying.end();
  const missing = new Contender('no-such-program', []);
  await expect(missing.ask({ do: 'close' })).rejects.toThrow('ENOENT');
  await missing.end();
});

it('lets contenders take turns on the same prompts', async () => {
  const asked: { key: string; request: unknown }[] = [];
  const entry = (key: string, severalStreams: boolean) => ({
    key,
    severalStreams,
    options: { model: '', dtype: 'bf16' as const, threads: 1, positions: 64 },
    contender: {
      ask: async (request: { do: string; prompts?: number[][] }) => {
        asked.push({ key, request });
        return { ms: 5, streams: request.prompts?.map(() => [0, 10, 20]) };
      },
      // Only what is used here.
    } as unknown as Contender,
  });
  let reads = 0;
  const progress = new Progress({ isTTY: false, write: () => true } as unknown as NodeJS.WriteStream);
  const figures = await measureFigures(
    [entry('a', true), entry('b', false)],
    {
      ...{ lengths: [3], streams: [1, 2], tokens: 3, rounds: 2, seconds: 100, vocabSize: 50 },
      random: randomOf(1),
      // 10, 20, 30 ... GB/s.
      readGBs: () => {
        reads += 10;
        return Promise.resolve(reads);
      },
    },
    progress,
  );
  expect(figures).toEqual([
    { what: 'load', size: 0, values: { a: [5, 5], b: [5, 5] } },
    { what: 'ttft', size: 3, values: { a: [5, 5], b: [5, 5] } },
    {
      what: 'decode',
      size: 1,
      values: { a: [100, 100], b: [100, 100] },
      // After one read before all, two in the round that is not counted, and b begins the next.
      readGBs: { a: [50, 60], b: [40, 70] },
    },
    // Only one of them decodes several streams: two tokens every 10 ms.
    { what: 'decode', size: 2, values: { a: [200, 200] } },
  ]);
  const prompts = asked.flatMap(({ key, request }) => {
    const { do: what, prompt } = request as { do: string; prompt?: number[] };
    return what === 'ttft' ? [{ key, prompt: String(prompt) }] : [];
  });
  expect(prompts.map(({ key }) => key)).toEqual(['a', 'b', 'b', 'a', 'a', 'b']);
  const rounds = [0, 2, 4].map((index) => prompts.slice(index, index + 2).map(({ prompt }) => prompt));
  for (const [first, second] of rounds) expect(first).toBe(second);
  expect(new Set(rounds.map(([first]) => first)).size).toBe(3);
});

it('counts ratios round by round, above one where the first is better', () => {
  expect(ratios([2, 4], [4, 2], false)).toEqual([2, 0.5]);
  expect(ratios([2, 4], [4, 2], true)).toEqual([0.5, 2]);
});

it('compares first tokens', () => {
  const reference = [
    { token: 1, logprob: -1 },
    { token: 2, logprob: -2 },
  ];
  const other = [
    { token: 1, logprob: -1.5 },
    { token: 3, logprob: -9 },
  ];
  expect(compareTokens('x', reference, other)).toEqual({
    key: 'x',
    prompts: 2,
    sameTokens: 1,
    largestDifference: 0.5,
  });
});

const contender = (engine: string, weights: string, dtype: 'bf16' | 'int8') => ({
  key: `${engine} ${weights}`,
  engine,
  dtype,
  weights,
  stepBytes: 1e9,
  facts: { threads: 2, system: 'long', tried: [] },
});

const RESULTS: Results = {
  ours: 'block-attention',
  threads: 2,
  readGBs: 20,
  contenders: [
    contender('block-attention', 'bf16', 'bf16'),
    contender('block-attention', 'int8', 'int8'),
    contender('other', 'BF16', 'bf16'),
  ],
  leftOut: [{ name: 'third', reason: 'not there' }],
  agreement: [{ key: 'other BF16', prompts: 32, sameTokens: 31, largestDifference: 0.01 }],
  figures: [
    {
      what: 'ttft',
      size: 50,
      values: { 'block-attention bf16': [10, 20], 'block-attention int8': [5, 5], 'other BF16': [20, 60] },
    },
    { what: 'decode', size: 1, values: { 'block-attention bf16': [10, 10], 'other BF16': [20, 20] } },
    { what: 'decode', size: 8, values: { 'block-attention bf16': [40, 40] } },
    {
      what: 'decode',
      size: 1,
      values: { 'block-attention int8': [10, 30] },
      readGBs: { 'block-attention int8': [20, 40] },
    },
  ],
};

it('sets ours beside each peer of the same type of weights', () => {
  const [comparison, decoding, ...more] = peersTables(RESULTS);
  expect(more).toEqual([]);
  expect(comparison?.title).toContain('block-attention bf16 and other BF16');
  expect(comparison?.rows).toEqual([
    ['TTFT, 50 tokens, ms', '15.0 (10.0–20.0)', '40.0 (20.0–60.0)', '2.50 (2.00–3.00)x', '1.00x', 'met'],
    [
      'decode, 1 stream, tokens/s',
      '10.0 (10.0–10.0)',
      '20.0 (20.0–20.0)',
      '0.500 (0.500–0.500)x',
      '1.00x',
      'missed',
    ],
  ]);
  expect(comparison?.notes?.join(' ')).toContain('31 of 32');
  expect(decoding?.rows).toEqual([
    ['block-attention bf16, 1 stream', '100', '1000', '10.0', '50.0%'],
    ['other BF16, 1 stream', '50.0', '1000', '20.0', '100.0%'],
    ['block-attention bf16, 8 streams', '200', '1000', '5.00', '25.0%'],
    // Of the reads of the same moments.
    ['block-attention int8, 1 stream', '50.0', '1000', '20.0', '62.5% (50.0%–75.0%)'],
  ]);
  expect(decoding?.notes?.join(' ')).toContain('third: not there');
});

it('shows ours alone when no peer took part', () => {
  const contenders = RESULTS.contenders.slice(0, 2);
  const [table] = peersTables({ ...RESULTS, contenders });
  expect(table?.columns).toEqual(['', 'block-attention bf16', 'block-attention int8']);
  expect(table?.rows[0]).toEqual(['TTFT, 50 tokens, ms', '15.0 (10.0–20.0)', '5.00 (5.00–5.00)']);
  expect(table?.rows[2]).toEqual(['decode, 8 streams, tokens/s', '40.0 (40.0–40.0)', '']);
});

it('says what all were held to', () => {
  const [comparison] = peersTables({ ...RESULTS, isa: 'avx2' });
  expect(comparison?.title).toContain('both held to avx2');
  const [table] = peersTables({ ...RESULTS, isa: 'avx2', contenders: RESULTS.contenders.slice(0, 2) });
  expect(table?.title).toContain('held to avx2');
});
