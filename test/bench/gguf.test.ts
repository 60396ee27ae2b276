import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadModelFolder } from '#lib/model/folder.js';
import { ALIGNMENT, writeGguf } from '../../bench/common/gguf.mjs';
import { readGgufHeader } from '../../bench/common/gguf-header.mjs';
import { withRandomModel } from '../../bench/common/random-model.mjs';
import { ggufName, neighbours, writeGgufModel } from '../../bench/peers/gguf-model.mjs';

const SHAPE = {
  vocabSize: 300,
  hiddenSize: 64,
  intermediateSize: 96,
  numLayers: 2,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 16,
  tieWordEmbeddings: true,
  qkNorm: false,
};

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'block-attention-gguf-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function* pieces(...parts: number[][]) {
  for (const part of parts) yield Uint8Array.from(part);
}

it('writes metadata, tensors and data that are read back', async () => {
  const path = join(folder, 'plain.gguf');
  const metadata = new Map([
    ['general.architecture', { type: 'string' as const, value: 'llama' }],
    ['a.number', { type: 'u32' as const, value: 4_000_000_000 }],
    ['a.fraction', { type: 'f32' as const, value: 0.5 }],
    ['a.flag', { type: 'bool' as const, value: true }],
    ['names', { type: 'strings' as const, value: ['', 'ä', 'token'] }],
    ['scores', { type: 'f32s' as const, value: [-1.5, 0] }],
    ['types', { type: 'i32s' as const, value: [-1, 6] }],
  ]);
  const tensors = [
    { name: 'norm', shape: [3], type: 'F32' as const },
    { name: 'matrix', shape: [3, 5], type: 'BF16' as const },
    { name: 'blocks', shape: [2, 64], type: 'Q8_0' as const },
  ];
  const data = tensors.map(({ name }, index) =>
    Array.from({ length: { norm: 12, matrix: 30, blocks: 136 }[name] ?? 0 }, (_, byte) => byte + index),
  );
  const bytes = await writeGguf(path, metadata, tensors, ({ name }) => {
    const all = data[tensors.findIndex((tensor) => tensor.name === name)] ?? [];
    return pieces(all.slice(0, 7), all.slice(7));
  });

  const file = await readFile(path);
  expect(file.length).toBe(bytes);
  // The magic, and version 3.
  expect([...file.subarray(0, 8)]).toEqual([0x47, 0x47, 0x55, 0x46, 3, 0, 0, 0]);
  const header = await readGgufHeader(path);
  expect(header.version).toBe(3);
  expect([...header.metadata]).toEqual([...metadata].map(([key, { value }]) => [key, value]));
  expect(header.tensors.map(({ name, shape, type }) => ({ name, shape, type }))).toEqual(tensors);
  for (const [index, { offset, bytes }] of header.tensors.entries()) {
    expect(offset % ALIGNMENT).toBe(0);
    expect([...file.subarray(offset, offset + bytes)]).toEqual(data[index]);
  }
});

it('takes the vocabulary of a large model', async () => {
  const path = join(folder, 'vocabulary.gguf');
  const tokens = Array.from({ length: 200_000 }, (_, id) => `token${id}`);
  await writeGguf(path, new Map([['tokens', { type: 'strings' as const, value: tokens }]]), [], () =>
    pieces([]),
  );
  expect((await readGgufHeader(path)).metadata.get('tokens')).toEqual(tokens);
});

it('puts the columns of a matrix first, as ggml does', async () => {
  const path = join(folder, 'dimensions.gguf');
  await writeGguf(path, new Map(), [{ name: 'm', shape: [2, 3], type: 'BF16' }], () =>
    pieces(Array(12).fill(0)),
  );
  // After magic, version and both counts: the name's length and its byte, then 2 dimensions.
  const file = await readFile(path);
  expect(file.readUInt32LE(33)).toBe(2);
  expect([file.readBigUInt64LE(37), file.readBigUInt64LE(45)]).toEqual([3n, 2n]);
});

it.each([
  ['too few', 5],
  ['too many', 7],
])('refuses %s bytes of a tensor', async (_name, count) => {
  const path = join(folder, 'wrong.gguf');
  const writing = writeGguf(path, new Map(), [{ name: 'm', shape: [3], type: 'BF16' }], () =>
    pieces(Array(count).fill(0)),
  );
  await expect(writing).rejects.toThrow('m: ');
});

it('refuses rows that are no whole number of blocks', async () => {
  const path = join(folder, 'rows.gguf');
  const writing = writeGguf(path, new Map(), [{ name: 'm', shape: [2, 48], type: 'Q8_0' }], () => pieces([]));
  await expect(writing).rejects.toThrow('rows of 48 values');
});

it('knows the names of llama.cpp', () => {
  expect(ggufName('model.embed_tokens.weight')).toBe('token_embd.weight');
  expect(ggufName('model.layers.12.self_attn.o_proj.weight')).toBe('blk.12.attn_output.weight');
  expect(() => ggufName('model.layers.0.self_attn.q_proj.bias')).toThrow('no name');
});

it('puts the halves of a head beside each other', () => {
  // Six rows of two columns; the rows' numbers are their values.
  const head = Uint16Array.from([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
  expect([...neighbours(head, 6)]).toEqual([0, 0, 3, 3, 1, 1, 4, 4, 2, 2, 5, 5]);
});

it.each([
  ['Llama', SHAPE],
  ['Qwen3, untied', { ...SHAPE, tieWordEmbeddings: false, qkNorm: true }],
])('writes the weights of a folder of the architecture of %s', async (_name, shape) => {
  await withRandomModel(shape, async (model) => {
    const path = join(folder, 'model.gguf');
    const { fileBytes, stepBytes } = await writeGgufModel(model, path, 'bf16');
    const [gguf, safetensors] = await Promise.all([
      readFile(path),
      readFile(join(model, 'model.safetensors')),
    ]);
    expect(gguf.length).toBe(fileBytes);
    const { tensors, metadata } = await readGgufHeader(path);
    const architecture = shape.qkNorm ? 'qwen3' : 'llama';
    expect(metadata.get('general.architecture')).toBe(architecture);
    expect(metadata.get(`${architecture}.rope.freq_base`)).toBe(10_000);
    expect(metadata.get('tokenizer.ggml.tokens')).toHaveLength(shape.vocabSize);
    expect(stepBytes).toBe(
      tensors.reduce((sum, { bytes }) => sum + bytes, 0) -
        (shape.tieWordEmbeddings ? 0 : 2 * shape.vocabSize * shape.hiddenSize),
    );

    const sources = (await loadModelFolder(model)).weights.tensors;
    expect(tensors).toHaveLength(sources.length);
    for (const source of sources) {
      const target = tensors.find(({ name }) => name === ggufName(source.name));
      if (target === undefined) throw new Error(`${source.name} is missing`);
      expect(target.shape).toEqual(source.shape);
      const from = safetensors.subarray(source.offset, source.offset + source.bytes);
      const to = gguf.subarray(target.offset, target.offset + target.bytes);
      if (target.type === 'F32') {
        const values = Array.from({ length: to.length / 4 }, (_, index) => to.readFloatLE(4 * index));
        expect(values).toEqual(values.map((_, index) => bf16(from.readUInt16LE(2 * index))));
      } else if (!shape.qkNorm && /attn_[qk]\.weight$/.test(target.name)) {
        // Row by row: of each head, pair i of rotated rows is (i, i + 8) there and (2i, 2i + 1) here.
        const rowBytes = 2 * shape.hiddenSize;
        for (let row = 0; row < (source.shape[0] ?? 0); row++) {
          const [head, within] = [Math.floor(row / 16), row % 16];
          const here = 16 * head + (within < 8 ? 2 * within : 2 * (within - 8) + 1);
          const moved = to.subarray(here * rowBytes, (here + 1) * rowBytes);
          expect(moved.equals(from.subarray(row * rowBytes, (row + 1) * rowBytes))).toBe(true);
        }
      } else expect(to.equals(from)).toBe(true);
    }
  });
});

function bf16(bits: number) {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0];
}
