/** What `quality` counts: divergences, right answers, the Q8_0 yardstick, and the gate's verdict. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from 'block-attention';
import { expect, it, onTestFinished } from 'vitest';
import { randomOf } from '../../bench/common/random.mjs';
import { isRight, normalised } from '../../bench/quality/answers.mjs';
import {
  changeError,
  changesOf,
  divergence,
  divergenceOf,
  ratioOf,
  withinNoise,
} from '../../bench/quality/compare.mjs';
import { bfloat16Bits, fromBfloat16 } from '../../bench/quality/float-bits.mjs';
import { readQuestions } from '../../bench/quality/main.mjs';
import { OUTLIERS, SHAPE, writeOutlierModel } from '../../bench/quality/outlier-model.mjs';
import { roundToQ8, writeQ8Model } from '../../bench/quality/q8-model.mjs';
import { qualityTables, verdict } from '../../bench/quality/tables.mjs';

const logs = (...probabilities: number[]) => Float64Array.from(probabilities, Math.log);

async function emptyFolder() {
  const folder = await mkdtemp(join(tmpdir(), 'block-attention-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

it('measures divergences in nats', () => {
  expect(divergence(logs(0.5, 0.5), logs(0.5, 0.5))).toBe(0);
  expect(divergence(logs(0.5, 0.5), logs(0.25, 0.75))).toBeCloseTo(0.5 * Math.log(4 / 3), 12);
  // What the reference rules out costs nothing; what the other one does costs everything.
  expect(divergence(logs(1, 0), logs(0.5, 0.5))).toBeCloseTo(Math.log(2), 12);
  expect(divergence(logs(0.5, 0.5), logs(1, 0))).toBe(Number.POSITIVE_INFINITY);
});

it('sums up divergences', () => {
  const answers = (...of: Float64Array[]) => of.map((logprobs) => ({ logprobs, right: undefined }));
  const reference = answers(logs(1, 0), logs(1, 0), logs(1, 0));
  const other = answers(logs(Math.exp(-1), 0.5), logs(Math.exp(-2), 0.5), logs(Math.exp(-6), 0.5));
  const { mean, standardError, median, greatest } = divergenceOf(reference, other);
  for (const [value, expected] of [
    [mean, 3],
    [standardError, Math.sqrt(7 / 3)],
    [median, 2],
    [greatest, 6],
  ] as const) {
    expect(value).toBeCloseTo(expected, 12);
  }
  expect(() => divergenceOf(reference, other.slice(1))).toThrow(RangeError);
  // (6 + 2 + 1) / (1 + 2 + 6), and the errors of 5, 0 and -5.
  const { ratio, ratioError } = ratioOf(reference, other, other.toReversed());
  expect(ratio).toBeCloseTo(1, 12);
  expect(ratioError).toBeCloseTo(Math.sqrt(50) / 9, 12);
});

it('counts what is right as SQuAD does', () => {
  expect(normalised('The  "Quick", (brown)\nfox\tan A.')).toBe('quick brown fox');
  expect(isRight('It is the Zarsobes-Group!', ['Zarsobes Group', 'zarsobesgroup'])).toBe(true);
  expect(isRight('Zarsobes', ['Zarsobes Group'])).toBe(false);
});

it('counts changes, and when they are noise', () => {
  const rights = (text: string) => [...text].map((letter) => ({ logprobs: logs(1), right: letter === 'r' }));
  const changes = changesOf(rights('rrrww'), rights('rwwrw'));
  expect(changes).toEqual({ correct: 2, gained: 1, lost: 2 });
  expect(changeError(changes)).toBeCloseTo(Math.sqrt(3), 12);
  expect(withinNoise({ gained: 0, lost: 4 })).toBe(true);
  expect(withinNoise({ gained: 0, lost: 5 })).toBe(false);
  expect(withinNoise({ gained: 50, lost: 0 })).toBe(true);
});

it('gives a verdict for each row', () => {
  const row = {
    variant: 'x',
    ratioError: 0.1,
    divergence: { mean: 1, standardError: 0, median: 1, greatest: 1 },
  };
  const changes = { correct: 1, gained: 0, lost: 9 };
  expect(verdict({ ...row, ratio: 1.5, changes: undefined })).toBe('kept');
  expect(verdict({ ...row, ratio: 1.51, changes: undefined })).toBe('missed: above 1.5');
  expect(verdict({ ...row, ratio: 1, changes })).toBe('missed: answers');
  const rows = [
    { ...row, variant: 'Q8_0 weights', ratio: 1, changes },
    { ...row, ratio: 2, changes },
  ];
  const [table] = qualityTables({ cases: [{ name: 'm', models: 1, prompts: 10, correct: 5, rows }] });
  expect(table?.rows.map((cells) => cells.at(-1))).toEqual(['', 'missed: above 1.5']);
  expect(table?.rows[0]).toHaveLength(table?.columns.length ?? 0);
});

it('rounds to bfloat16, halves to even', () => {
  for (let bits = 0; bits < 0x7f7f; bits += 7) {
    const [low, high] = [fromBfloat16(bits), fromBfloat16(bits + 1)];
    expect(bfloat16Bits(low)).toBe(bits);
    expect(bfloat16Bits((low + high) / 2)).toBe(bits + (bits & 1));
    expect(bfloat16Bits(-high)).toBe(0x8000 + bits + 1);
  }
});

it('rounds to Q8_0 within a step of each block', () => {
  const random = randomOf(5);
  const values = Float32Array.from({ length: 192 }, () => 2 * random() - 1);
  const rounded = roundToQ8(values, 96);
  expect(rounded).not.toEqual(values);
  for (let block = 0; block < values.length; block += 32) {
    const part = values.subarray(block, block + 32);
    const step = Math.max(...part.map(Math.abs)) / 127;
    for (const [index, value] of part.entries()) {
      // Half a step, and what rounding the step to 11 bits does to 127 of them.
      const error = Math.abs((rounded[block + index] ?? Number.NaN) - value);
      expect(error).toBeLessThanOrEqual(step * (0.5 + 127 * 2 ** -11));
    }
  }
  expect(() => roundToQ8(values, 48)).toThrow(/48/);
});

it('writes models with outliers, and rounds them', async () => {
  const [plain, rounded] = [await emptyFolder(), await emptyFolder()];
  const both = OUTLIERS.get('outliers in both');
  if (both === undefined) throw new Error('no such outliers');
  await writeOutlierModel(plain, both, 1);
  await writeQ8Model(plain, rounded);
  expect(readFileSync(join(rounded, 'config.json'))).toEqual(readFileSync(join(plain, 'config.json')));
  const request = { query: [1, 2, 3], maxTokens: 1, ignoreEos: true, logprobs: SHAPE.vocabSize };
  const logprobsOf = async (folder: string) => {
    await using engine = await Engine.load(folder, { cacheBytes: 1 << 22, device: 'cpu' });
    return { bytes: engine.stats().weightBytes, ...(await engine.generate(request).result()) };
  };
  const [stored, q8] = [await logprobsOf(plain), await logprobsOf(rounded)];
  expect(q8.bytes / stored.bytes).toBeCloseTo(2, 1);
  const first = stored.topLogprobs?.[0]?.[0];
  const same = q8.topLogprobs?.[0]?.find(({ token }) => token === first?.token);
  expect(same?.logprob).not.toBe(first?.logprob);
  expect(Math.abs((same?.logprob ?? 0) - (first?.logprob ?? 9))).toBeLessThan(1);
});

it('asks the questions that it has', () => {
  const prompts = readQuestions(new URL('../../bench/quality/questions.jsonl', import.meta.url).pathname);
  expect(prompts).toHaveLength(250);
  for (const { request, answers } of prompts) {
    expect(request.documents).toHaveLength(10);
    expect(answers?.length).toBeGreaterThan(0);
  }
});
