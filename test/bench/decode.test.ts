import { expect, it } from 'vitest';
import { decodeTables } from '../../bench/decode/main.mjs';
import { measureDecode } from '../../bench/decode/measure.mjs';

const progress = {
  show: () => undefined,
  begin: () => undefined,
  add: () => undefined,
  clear: () => undefined,
};

/** Decodes a token every `gaps[i]` ms in its request i. */
function engineOf(gaps: number[]) {
  let asked = 0;
  return {
    model: { vocabSize: 100 },
    generate({ maxTokens }: { maxTokens: number }) {
      const gap = gaps[asked++] ?? Number.NaN;
      const perToken = Array.from({ length: maxTokens - 1 }, () => gap);
      return { result: () => Promise.resolve({ timings: { firstToken: 1, perToken } }) };
    },
  };
}

const measure = (gaps: number[], reads: number[]) =>
  measureDecode(
    engineOf(gaps) as never,
    {
      streams: [1],
      tokens: 11,
      rounds: 2,
      seconds: 60,
      stepBytes: 1e8,
      readGBs: () => Promise.resolve(reads.shift() ?? Number.NaN),
      random: Math.random,
    },
    progress as never,
  );

it('sets each decoding beside the reads around it', async () => {
  // The first round warms up. 10 GB/s of weights beside 20, then 5 GB/s beside 20 and 8.
  const { readGBs, rows } = await measure([10, 10, 20], [40, 10, 20, 8]);
  expect(readGBs).toBe(40);
  expect(rows[0]?.rate.median).toBeCloseTo(75);
  expect(rows[0]?.share?.max).toBeCloseTo(0.5);
  expect(rows[0]?.share?.min).toBeCloseTo(0.25);
});

it('prints shares, also of records that have none', () => {
  const rate = { median: 50, min: 40, max: 60, count: 3 };
  const share = { median: 0.5, min: 0.4, max: 0.6, count: 3 };
  const [now] = decodeTables({ stepBytes: 1e8, readGBs: 20, rows: [{ streams: 1, rate, share }] });
  expect(now?.rows[0]?.at(-1)).toBe('50.0% (40.0%–60.0%)');
  expect(now?.notes).toHaveLength(2);
  const [old] = decodeTables({ stepBytes: 1e8, readGBs: 20, rows: [{ streams: 1, rate }] });
  expect(old?.rows[0]?.at(-1)).toBe('25.0%');
  expect(old?.notes).toHaveLength(1);
});
