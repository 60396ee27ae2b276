// Where tensors lie in one file and in shards, and files that lie.
import { mkdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findTensors } from '#lib/model/safetensors.js';
import { expectError } from '../errors.js';
import { safetensors, temporaryFolder, tensorsFile, type TensorEntry } from './temporary-folder.js';

const GOOD: TensorEntry = { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] };

function folderOf(header: object | string, dataBytes = 24): string {
  return temporaryFolder({ 'model.safetensors': safetensors(header, dataBytes) });
}

describe('one file', () => {
  it('lists every tensor with its place in the file', async () => {
    const header = {
      __metadata__: { format: 'pt' },
      a: GOOD,
      'b.c': { dtype: 'BF16', shape: [4], data_offsets: [24, 32] },
      empty: { dtype: 'F16', shape: [0, 7], data_offsets: [32, 32] },
      scalar: { dtype: 'I64', shape: [], data_offsets: [32, 40] },
    };
    const folder = folderOf(header, 40);
    const { files, tensors } = await findTensors(folder);
    const start = safetensors(header, 0).length;
    expect(files).toEqual([join(folder, 'model.safetensors')]);
    expect(tensors).toEqual([
      { name: 'a', file: 0, dtype: 'F32', shape: [2, 3], offset: start, bytes: 24 },
      { name: 'b.c', file: 0, dtype: 'BF16', shape: [4], offset: start + 24, bytes: 8 },
      { name: 'empty', file: 0, dtype: 'F16', shape: [0, 7], offset: start + 32, bytes: 0 },
      { name: 'scalar', file: 0, dtype: 'I64', shape: [], offset: start + 32, bytes: 8 },
    ]);
  });

  it('is preferred to shards', async () => {
    const folder = temporaryFolder({
      'model.safetensors': tensorsFile([['one', [1]]]),
      'model.safetensors.index.json': { weight_map: { two: 'other.safetensors' } },
    });
    expect((await findTensors(folder)).tensors.map(({ name }) => name)).toEqual(['one']);
  });

  it('may name tensors with quotes, braces and escapes', async () => {
    const header = { 'a"}{:': GOOD, 'b\\\u00e9"a"': { ...GOOD, data_offsets: [24, 48] } };
    const { tensors } = await findTensors(folderOf(header, 48));
    expect(tensors.map(({ name }) => name)).toEqual(Object.keys(header));
  });
});

describe('shards', () => {
  const index = (weight_map: unknown) => ({ metadata: { total_size: 0 }, weight_map });

  it('are read in the order of their names', async () => {
    const folder = temporaryFolder({
      'model.safetensors.index.json': index({
        b: 'm-2.safetensors',
        a: 'm-1.safetensors',
        c: 'm-2.safetensors',
      }),
      'm-1.safetensors': tensorsFile([['a', [1]]]),
      'm-2.safetensors': tensorsFile([
        ['b', [2]],
        ['c', [3]],
      ]),
    });
    const { files, tensors } = await findTensors(folder);
    expect(files).toEqual([join(folder, 'm-1.safetensors'), join(folder, 'm-2.safetensors')]);
    expect(tensors.map(({ name, file }) => [name, file])).toEqual([
      ['a', 0],
      ['b', 1],
      ['c', 1],
    ]);
  });

  it('missing: the error names the shard', async () => {
    const folder = temporaryFolder({ 'model.safetensors.index.json': index({ a: 'm-1.safetensors' }) });
    await expectError(
      () => findTensors(folder),
      'IO',
      expect.stringContaining(join(folder, 'm-1.safetensors')),
    );
  });

  it('without a tensor that the index puts there', async () => {
    const files = {
      'm-1.safetensors': tensorsFile([['a', [1]]]),
      'm-2.safetensors': tensorsFile([['b', [1]]]),
    };
    for (const weight_map of [
      { a: 'm-1.safetensors', c: 'm-1.safetensors' },
      { a: 'm-2.safetensors', b: 'm-1.safetensors' },
    ]) {
      const folder = temporaryFolder({ 'model.safetensors.index.json': index(weight_map), ...files });
      await expectError(
        () => findTensors(folder),
        'MODEL_FORMAT',
        expect.stringContaining('where the index puts it'),
      );
    }
  });

  it('that both hold a tensor', async () => {
    const folder = temporaryFolder({
      'model.safetensors.index.json': index({ a: 'm-1.safetensors', b: 'm-2.safetensors' }),
      'm-1.safetensors': tensorsFile([['a', [1]]]),
      'm-2.safetensors': tensorsFile([
        ['a', [1]],
        ['b', [1]],
      ]),
    });
    await expectError(() => findTensors(folder), 'MODEL_FORMAT', expect.stringContaining('"a" is also in'));
  });

  it.each(['../m.safetensors', '/etc/passwd', 'a/b', 'a\\b', '..', '.', '', 'a\0b', 7, null, ['m']])(
    'called %o',
    async (shard) => {
      const folder = temporaryFolder({ 'model.safetensors.index.json': index({ a: shard }) });
      await expectError(
        () => findTensors(folder),
        'MODEL_FORMAT',
        expect.stringContaining('expected a file name'),
      );
    },
  );

  it.each([undefined, null, [], 'x', {}])('with a weight_map of %o', async (weight_map) => {
    const folder = temporaryFolder({ 'model.safetensors.index.json': index(weight_map) });
    await expectError(() => findTensors(folder), 'MODEL_FORMAT', expect.stringContaining('weight_map'));
  });

  it('with an index that is no JSON', async () => {
    const folder = temporaryFolder({ 'model.safetensors.index.json': '{"weight_map": ' });
    await expectError(() => findTensors(folder), 'MODEL_FORMAT', expect.stringContaining('is not JSON'));
  });
});

describe('no file', () => {
  it('names what is looked for', async () => {
    await expectError(
      () => findTensors(temporaryFolder()),
      'IO',
      expect.stringContaining('neither model.safetensors'),
    );
  });

  it('but an old one', async () => {
    const folder = temporaryFolder({ 'pytorch_model.bin': 'x' });
    await expectError(() => findTensors(folder), 'UNSUPPORTED', expect.stringContaining('pytorch_model.bin'));
  });

  it('but a folder of that name', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'model.safetensors'));
    await expectError(() => findTensors(folder), 'IO');
  });
});

describe('hostile headers', () => {
  it.each([0, 4, 7])('a file of %i bytes', async (size) => {
    const folder = temporaryFolder({ 'model.safetensors': Buffer.alloc(size) });
    await expectError(() => findTensors(folder), 'MODEL_FORMAT', expect.stringContaining('too few'));
  });

  it.each([25n, 1n << 20n, 100_000_001n, 2n ** 63n, 2n ** 64n - 1n])(
    'a header of %i bytes',
    async (length) => {
      const file = safetensors('{}', 8, length);
      const folder = temporaryFolder({ 'model.safetensors': file });
      await expectError(
        () => findTensors(folder),
        'MODEL_FORMAT',
        expect.stringContaining(`have ${Number(length)} bytes`),
      );
    },
  );

  it.each(['', '[]', 'null', '{"a":', '"text"', '\u0000'])('a header of %o', async (header) => {
    await expectError(() => findTensors(folderOf(header)), 'MODEL_FORMAT');
  });

  it.each<[string, unknown]>([
    ['an entry that is no object', 5],
    ['no dtype', { ...GOOD, dtype: undefined }],
    ['an unknown dtype', { ...GOOD, dtype: 'F33' }],
    ['a dtype that is no string', { ...GOOD, dtype: 3 }],
    ['a shape that is no list', { ...GOOD, shape: 6 }],
    ['a negative size', { ...GOOD, shape: [-2, -3] }],
    ['a fractional size', { ...GOOD, shape: [1.5, 4] }],
    ['a size that is text', { ...GOOD, shape: ['2', 3] }],
    ['sizes that overflow', { ...GOOD, shape: [2 ** 40, 2 ** 40] }],
    ['sizes that overflow to 0', { ...GOOD, shape: [2 ** 32, 2 ** 32] }],
    ['too many dimensions', { ...GOOD, shape: [2, 3, 1, 1, 1, 1, 1, 1, 1] }],
    ['another number of values', { ...GOOD, shape: [2, 2] }],
    ['one offset', { ...GOOD, data_offsets: [0] }],
    ['three offsets', { ...GOOD, data_offsets: [0, 24, 24] }],
    ['a negative offset', { ...GOOD, data_offsets: [-24, 0] }],
    ['a fractional offset', { ...GOOD, data_offsets: [0.5, 24.5] }],
    ['offsets in the wrong order', { ...GOOD, data_offsets: [24, 0] }],
    ['offsets that are no list', { ...GOOD, data_offsets: '0,24' }],
    ['data past the end', { ...GOOD, data_offsets: [8, 32] }],
    ['data that begin unaligned', { dtype: 'F32', shape: [2], data_offsets: [2, 10] }],
  ])('%s', async (_, entry) => {
    const folder = folderOf({ weird: entry });
    await expectError(() => findTensors(folder), 'MODEL_FORMAT', expect.stringContaining('tensor "weird"'));
  });

  it('tensors that overlap', async () => {
    const header = { a: GOOD, b: { ...GOOD, data_offsets: [8, 32] } };
    await expectError(
      () => findTensors(folderOf(header, 32)),
      'MODEL_FORMAT',
      expect.stringContaining('"a" and "b" overlap'),
    );
  });

  it('a name listed twice, also in another spelling', async () => {
    const entry = JSON.stringify(GOOD);
    for (const name of ['"a"', '"\\u0061"', ' "a" ']) {
      const header = `{"a":${entry},"b":${entry.replace('[0,24]', '[24,48]')},${name}:${entry}}`;
      await expectError(
        () => findTensors(folderOf(header, 48)),
        'MODEL_FORMAT',
        expect.stringContaining('listed twice'),
      );
    }
  });

  it('texts longer than the stack of a regular expression', async () => {
    const folder = folderOf({ __metadata__: { note: 'x"}{'.repeat(6 << 20) }, a: GOOD });
    expect((await findTensors(folder)).tensors.map(({ name }) => name)).toEqual(['a']);
  });

  it('more levels than there is stack for', async () => {
    const levels = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    for (const entry of [levels, JSON.stringify(GOOD).replace('[2,3]', levels)])
      await expectError(
        () => findTensors(folderOf(`{"a":${entry}}`)),
        'MODEL_FORMAT',
        expect.stringContaining('"a"'),
      );
  });

  it('a name like an inherited property', async () => {
    const folder = folderOf(`{"__proto__":${JSON.stringify(GOOD)}}`);
    expect((await findTensors(folder)).tensors.map(({ name }) => name)).toEqual(['__proto__']);
  });

  it('a file that was cut off', async () => {
    const folder = folderOf({ a: GOOD });
    truncateSync(join(folder, 'model.safetensors'), safetensors({ a: GOOD }, 24).length - 1);
    await expectError(() => findTensors(folder), 'MODEL_FORMAT', expect.stringContaining('it is truncated'));
  });
});
