import { expect, it } from 'vitest';
import { parseOutput } from '../../bench/kernels/parse.mjs';
import { kernelTables } from '../../bench/kernels/tables.mjs';

const TEXT = `linear 8192 x 2048 bf16, avx2, 2 threads
packing: 1.5 GB/s of source
read, one stream: 21.0 GB/s
read, four streams: 23.5 GB/s
  rows    GFLOP/s      GB/s   of read     oneDNN    ratio
     1       22.7      22.7       97%       16.0     1.42 (1.40)
   512      141.0       0.3        1%      150.5     0.94 (0.95)
`;

const OPS = {
  isa: 'avx2',
  threads: 2,
  limits: { readGBs: 20, readKernel: 'one stream', f32GFLOPs: 200, bf16GFLOPs: 400, int8GFLOPs: 800 },
  rows: [{ op: 'rms_norm', shape: '1 x 10', microseconds: 2, flops: 40_000, bytes: 10_000 }],
};

it('reads what a native benchmark prints for people', () => {
  expect(parseOutput(TEXT)).toEqual({
    title: 'linear 8192 x 2048 bf16, avx2, 2 threads',
    facts: {
      packing: '1.5 GB/s of source',
      'read, one stream': '21.0 GB/s',
      'read, four streams': '23.5 GB/s',
    },
    tables: [
      {
        columns: ['rows', 'GFLOP/s', 'GB/s', 'of read', 'oneDNN', 'ratio'],
        rows: [
          ['1', '22.7', '22.7', '97%', '16.0', '1.42 (1.40)'],
          ['512', '141.0', '0.3', '1%', '150.5', '0.94 (0.95)'],
        ],
      },
    ],
  });
});

it('reads names and headings of several words', () => {
  const { title, facts, tables } = parseOutput(
    [
      'attention, head_dim 128, 4 kv heads x group 4, bf16, avx2, 2 threads',
      'limits: peak 225 GFLOP/s, linear 92 GFLOP/s, read 38.5 GB/s',
      '                             GFLOP/s  of peak    GB/s of read  fold us',
      'final block 50 x 4K, cut       145.4      65%     0.7      2%    11278',
      'decode 1K                       20.1       9%    30.2     78%       90',
      '',
    ].join('\n'),
  );
  expect(title).toMatch(/^attention, .* 2 threads$/);
  expect(facts).toEqual({ limits: 'peak 225 GFLOP/s, linear 92 GFLOP/s, read 38.5 GB/s' });
  expect(tables).toEqual([
    {
      columns: ['', 'GFLOP/s', 'of peak', 'GB/s', 'of read', 'fold us'],
      rows: [
        ['final block 50 x 4K, cut', '145.4', '65%', '0.7', '2%', '11278'],
        ['decode 1K', '20.1', '9%', '30.2', '78%', '90'],
      ],
    },
  ]);
});

it('takes the fastest of the run as the limits', () => {
  const [limits, linear, ops] = kernelTables({ ops: OPS, others: [parseOutput(TEXT)] });
  expect(limits?.rows.map(([, rate]) => rate)).toEqual([
    '20.0 GB/s',
    '23.5 GB/s',
    '200 GFLOP/s',
    '400 GFLOP/s',
    '800 GFLOP/s',
    '151 GFLOP/s',
  ]);
  expect(limits?.rows.map(([name]) => name)).toContain('bf16 multiply-add in registers');
  expect(linear?.rows).toHaveLength(2);
  expect(ops?.rows).toEqual([['rms_norm', '1 x 10', '2.00', '20.0', '10.0%', '5.00', '25.0%']]);
});

it('says which multiply-adds are those of tiles', () => {
  const ops = { ...OPS, limits: { ...OPS.limits, bf16Tiles: true, int8Tiles: true } };
  const [limits] = kernelTables({ ops, others: [] });
  expect(limits?.rows.map(([name]) => name)).toEqual(
    expect.arrayContaining([
      'float32 multiply-add in registers',
      'bf16 multiply-add in tiles',
      'int8 multiply-add in tiles, two products each',
    ]),
  );
});
