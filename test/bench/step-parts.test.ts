/** The step of a warm request taken apart, and the least that its parts could take. */
import { Engine } from 'block-attention';
import { expect, it } from 'vitest';
import { Progress } from '../../bench/common/progress.mjs';
import { randomOf } from '../../bench/common/random.mjs';
import { gpuLimits, limitsOfCpu } from '../../bench/kernels/limits.mjs';
import { tokenBlocks } from '../../bench/ttft/content.mjs';
import { finalStepWork, floorOf, type Work } from '../../bench/ttft/floor.mjs';
import { measureStepParts } from '../../bench/ttft/step-parts.mjs';
import { stepTable } from '../../bench/ttft/step-table.mjs';
import { executedFlops } from '#lib/engine/flops.js';
import { loadModelFolder } from '#lib/model/folder.js';
import { namedShape } from '#lib/model/shapes.js';

const MODEL = new URL('../../models/tiny-rag', import.meta.url).pathname;

/** Small enough for a pencil. */
const SHAPE = {
  vocabSize: 100,
  hiddenSize: 8,
  intermediateSize: 12,
  numLayers: 3,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 3,
  rmsNormEps: 1e-5,
  tieWordEmbeddings: true,
  qkNorm: false,
  windows: [0, 0, 0],
  invFreq: [1],
  ropeAttentionFactor: 1,
};
const PRODUCTS = { weightProduct: 'bf16', kvProduct: 'bf16' } as const;
const STEP = { begin: 20, rows: 5, weightBytes: 2, kvBytes: 2, ...PRODUCTS };

const sum = (work: readonly Work[] | undefined, of: 'bytes' | 'flops') =>
  (work ?? []).reduce((total, one) => total + one.calls * one[of], 0);

it('counts the bytes and operations of each op', () => {
  const work = finalStepWork(SHAPE, STEP);
  const each = Object.fromEntries(
    Object.entries(work).map(([op, calls]) => [op, [sum(calls, 'bytes'), sum(calls, 'flops')]]),
  );
  expect(each).toEqual({
    embedding: [5 * 8 * 2, 0],
    rms_norm: [0, 4 * 5 * 8],
    // Two in each layer but the first and the last: 4 of five rows, and 2 of one.
    add_rms_norm: [0, 5 * 8 * (4 * 5 + 2)],
    qkv: [3 * 8 * 24 * 2, 2 * 3 * 5 * 8 * 24],
    rope_store: [3 * 2 * 5 * 6 * 2, 3 * 3 * 5 * 6],
    // Rows see 21 to 25 keys; the last row alone, 25. Keys and values of the 20 in front are read.
    attention: [3 * 2 * 20 * 6 * 2, 4 * 4 * 3 * (2 * (21 + 22 + 23 + 24 + 25) + 25)],
    o: [3 * 12 * 8 * 2, 2 * 12 * 8 * (2 * 5 + 1)],
    gate_up: [3 * 8 * 24 * 2, 2 * 8 * 24 * (2 * 5 + 1)],
    down: [3 * 12 * 8 * 2, 2 * 12 * 8 * (2 * 5 + 1)],
    lm_head: [8 * 100 * 2, 2 * 8 * 100],
  });
  // Of SwiGLU, behind gate_up.
  expect(work.gate_up?.map(({ calls, besides }) => [calls, besides])).toEqual([
    [2, 5 * 5 * 12],
    [1, 5 * 12],
  ]);
});

it('reads no keys that no row of a window sees', () => {
  const { attention } = finalStepWork({ ...SHAPE, windows: [4, 100, 4] }, STEP);
  // Row 20 sees 17 to 20: 3 of the keys in front. The last row, 24, sees 21 to 24: none.
  expect(attention?.map(({ bytes }) => bytes)).toEqual([2 * 3 * 6 * 2, 2 * 20 * 6 * 2, 0]);
  expect(attention?.map(({ flops }) => flops)).toEqual([4 * 12 * 20, 4 * 12 * 115, 4 * 12 * 4]);
  expect(attention?.map(({ exponentials }) => exponentials)).toEqual([4 * 20, 4 * 115, 4 * 4]);
});

it('counts the operations that the engine counts', () => {
  for (const shape of [SHAPE, { ...SHAPE, windows: [4, 7, 4] }, namedShape('llama-3.1-8b').native]) {
    const work = finalStepWork(shape, STEP);
    const counted = ['qkv', 'attention', 'o', 'gate_up', 'down', 'lm_head'];
    expect(counted.reduce((total, op) => total + sum(work[op], 'flops'), 0)).toBe(
      executedFlops(shape, { ...STEP, output: true }),
    );
  }
});

it('takes of each call what takes longer', () => {
  const limits = { readGBs: 10, gflops: { f32: 100, bf16: 200, int8: 400 } };
  const bytes = { calls: 2, bytes: 1e7, flops: 1e7, product: 'f32' } as const;
  const flops = { calls: 1, bytes: 1e6, flops: 1e8, product: 'f32' } as const;
  expect(floorOf([bytes, flops], limits)).toBeCloseTo(2 * 1 + 1, 9);
  expect(floorOf([bytes, { ...flops, product: 'bf16' }], limits)).toBeCloseTo(2 * 1 + 0.5, 9);
  // Four multiply-adds of float32 beside the products.
  expect(floorOf([{ ...flops, product: 'bf16', exponentials: 1e7 }], limits)).toBeCloseTo(0.5 + 0.8, 9);
  expect(floorOf([{ ...flops, product: 'bf16', besides: 1e7 }], limits)).toBeCloseTo(0.5 + 0.1, 9);
  expect(floorOf([], limits)).toBe(0);
});

it('takes what vectors do to be done beside tiles', () => {
  const limits = { readGBs: 10, gflops: { f32: 100, bf16: 2000, int8: 400 }, tiles: ['bf16' as const] };
  const call = { calls: 1, bytes: 1e6, flops: 1e9, product: 'bf16' } as const;
  expect(floorOf([{ ...call, besides: 1e7 }], limits)).toBeCloseTo(0.5, 9);
  expect(floorOf([{ ...call, exponentials: 1e7 }], limits)).toBeCloseTo(0.8, 9);
  expect(floorOf([{ ...call, besides: 1e7, bytes: 1e7 }], limits)).toBeCloseTo(1, 9);
  expect(floorOf([{ ...call, besides: 1e7, product: 'int8' }], limits)).toBeCloseTo(2.5 + 0.1, 9);
});

it('reads the limits of a CPU, and what its tiles multiply', () => {
  const measured = {
    readGBs: 20,
    readKernel: 'one stream',
    f32GFLOPs: 200,
    bf16GFLOPs: 400,
    int8GFLOPs: 800,
  };
  const limits = { readGBs: 20, gflops: { f32: 200, bf16: 400, int8: 800 } };
  expect(limitsOfCpu(measured)).toEqual({ ...limits, tiles: [] });
  expect(limitsOfCpu({ ...measured, bf16Tiles: false, int8Tiles: true })).toEqual({
    ...limits,
    tiles: ['int8'],
  });
});

it('reads the limits of a GPU', () => {
  expect(gpuLimits('NVIDIA\nlimits: copy 2793 GB/s, GEMM 712.5 TFLOP/s\n')).toEqual({
    readGBs: 2793,
    gflops: { f32: 712_500, bf16: 712_500, int8: 712_500 },
  });
  expect(() => gpuLimits('CUDA error')).toThrow(/CUDA error/);
});

it('takes warm requests apart, so that the parts add up', async () => {
  const random = randomOf(8);
  await using engine = await Engine.load(MODEL, { device: 'cpu', cacheBytes: 64 << 20, profile: true });
  const plan = { lengths: [50, 450], rounds: 2, seconds: 60, random, makeBlock: tokenBlocks(engine, random) };
  const parts = await measureStepParts(engine, plan, new Progress());
  expect(parts.map(({ cachedTokens, rows }) => [cachedTokens, rows])).toEqual([
    [0, 50],
    [400, 50],
  ]);
  const { config } = await loadModelFolder(MODEL);
  for (const { cachedTokens, rows, ops, tokenize, around, firstToken } of parts) {
    const inStep = ops.reduce((total, { milliseconds }) => total + milliseconds, 0);
    expect(tokenize + around + inStep).toBeCloseTo(firstToken, 6);
    expect(around).toBeGreaterThan(0);
    // What has a floor was called as often as the floor says.
    const work = finalStepWork(config.native, {
      begin: cachedTokens,
      rows,
      weightBytes: 2,
      kvBytes: 2,
      ...PRODUCTS,
    });
    for (const [op, calls] of Object.entries(work)) {
      const found = ops.find((other) => other.op === op);
      expect(found?.calls, op).toBe(calls.reduce((total, one) => total + one.calls, 0));
    }
  }
  const unprofiled = await Engine.load(MODEL, { device: 'cpu', cacheBytes: 64 << 20 });
  await expect(measureStepParts(unprofiled, plan, new Progress())).rejects.toThrow(/profile/);
  await unprofiled.close();
}, 60_000);

it('prints them beside their floors', () => {
  const step = {
    cachedTokens: 462,
    rows: 50,
    firstToken: 10,
    tokenize: 0.5,
    around: 1.5,
    ops: [
      { op: 'qkv', calls: 30, milliseconds: 4, floor: 2 },
      { op: 'sample', calls: 1, milliseconds: 3, floor: 0 },
      { op: 'other', calls: 1, milliseconds: 1, floor: 0 },
    ],
    limits: { readGBs: 20, gflops: { f32: 200, bf16: 400, int8: 800 } },
  };
  const table = stepTable([{ promptTokens: 512, ttft: 9, step }]);
  expect(table.columns).toEqual(['op', 'calls', '512']);
  expect(table.rows).toEqual([
    ['qkv', '30', '4.00 / 2.00'],
    ['sample', '1', '3.00 / -'],
    ['sum of the ops', '', '7.00 / 2.00'],
    ['rest of the step', '', '1.00'],
    ['tokenise', '', '0.500'],
    ['keys, plan, hand-over', '', '1.50'],
    ['first token', '', '10.0'],
    ['first token / floor', '', '5.00x'],
    ['sum / floor', '', '3.50x'],
    ['taking no times: first token / floor', '', '4.50x'],
  ]);
  expect(table.notes?.join(' ')).toMatch(
    /20.0 GB\/s .* 200 \(float32\), 400 \(bf16\) or 800 \(int8\) GFLOP\/s/,
  );

  const tiles = { ...step, limits: { ...step.limits, tiles: ['bf16' as const] } };
  expect(stepTable([{ promptTokens: 512, ttft: 9, step: tiles }]).notes?.join(' ')).toMatch(
    /400 \(bf16 in tiles\) or 800 \(int8\) .* float32, beside products in tiles\)/,
  );

  // Without the program that measures the limits.
  const ops = step.ops.map((op) => ({ ...op, floor: 0 }));
  const bare = stepTable([{ promptTokens: 512, ttft: 9, step: { ...step, ops, limits: undefined } }]);
  expect(bare.rows.at(-2)).toEqual(['sum / floor', '', '-']);
  expect(bare.rows.at(-1)?.at(-1)).toBe('-');
  expect(bare.notes?.join(' ')).toMatch(/No floors/);
});
