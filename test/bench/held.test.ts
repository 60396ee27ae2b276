import { mkdtemp, mkdir, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { checkHeldLlama, checkHeldOurs, copyHeldLlama } from '../../bench/peers/held.mjs';

const PLATFORM = `${process.platform}-${process.arch}`;

/** A folder with what the copy has to tell apart, and the path of a copy. */
async function withInstalled(use: (installed: string, copy: string) => Promise<void>) {
  const folder = await mkdtemp(join(tmpdir(), 'block-attention-held-'));
  const installed = join(folder, 'node_modules');
  try {
    for (const path of [
      'node-llama-cpp/package.json',
      ...[
        'llama-addon.node',
        'libggml-base.so',
        'libggml-cpu-haswell.so',
        'libggml-cpu-x64.so',
        'libggml-cpu-alderlake.so',
        'libggml-cpu-zen4.so',
        'libggml-cpu-not-yet-known.so',
      ].map((name) => `@node-llama-cpp/${PLATFORM}/bins/${PLATFORM}/${name}`),
      '@node-llama-cpp/other-arm/package.json',
    ]) {
      await mkdir(dirname(join(installed, path)), { recursive: true });
      await writeFile(join(installed, path), path);
    }
    await symlink('../none', join(installed, '@node-llama-cpp/other-cuda'));
    await use(installed, join(folder, '.cache/avx2/node_modules'));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

it('copies llama.cpp without the libraries that need more', async () => {
  await withInstalled(async (installed, copy) => {
    await copyHeldLlama(installed, copy, 'avx2');
    expect(await readdir(join(copy, '@node-llama-cpp'))).toEqual([PLATFORM]);
    expect((await readdir(join(copy, `@node-llama-cpp/${PLATFORM}/bins/${PLATFORM}`))).toSorted()).toEqual([
      'libggml-base.so',
      'libggml-cpu-haswell.so',
      'libggml-cpu-x64.so',
      'llama-addon.node',
    ]);
    expect(await readFile(join(copy, 'node-llama-cpp/package.json'), 'utf8')).toBe(
      'node-llama-cpp/package.json',
    );
  });
});

it('copies anew what an earlier run, or one that was cut short, left', async () => {
  await withInstalled(async (installed, copy) => {
    for (const left of [copy, `${copy}.partial`]) {
      await mkdir(left, { recursive: true });
      await writeFile(join(left, 'libggml-cpu-zen4.so'), '');
    }
    await copyHeldLlama(installed, copy, 'avx2');
    expect((await readdir(copy)).toSorted()).toEqual(['@node-llama-cpp', 'node-llama-cpp']);
    expect(await readdir(dirname(copy))).toEqual(['node_modules']);
  });
});

it('believes llama.cpp by the library that it loaded, and by what it says of itself', () => {
  const held = { cpuLibrary: 'libggml-cpu-haswell.so', system: 'CPU : AVX = 1 | AVX2 = 1 | FMA = 1' };
  expect(() => checkHeldLlama(held, 'avx2')).not.toThrow();
  for (const cpuLibrary of [
    'libggml-cpu-zen4.so',
    'libggml-cpu-haswell.so libggml-cpu-zen4.so',
    'libggml-cpu-x64.so',
    'unknown',
  ])
    expect(() => checkHeldLlama({ ...held, cpuLibrary }, 'avx2')).toThrow(`it loaded ${cpuLibrary}`);
  for (const more of ['AVX512 = 1', 'AVX_VNNI = 1'])
    expect(() => checkHeldLlama({ ...held, system: `${held.system} | ${more}` }, 'avx2')).toThrow(more);
});

it('believes this package by the device that it names', () => {
  expect(() => checkHeldOurs({ device: 'cpu avx2, 2 threads' }, 'avx2')).not.toThrow();
  for (const device of ['cpu avx512bf16, 2 threads', 'cpu avxvnni, 2 threads', 'cuda 0'])
    expect(() => checkHeldOurs({ device }, 'avx2')).toThrow(device);
});
