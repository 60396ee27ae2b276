// Builds the native benchmarks, in the folder and from the objects of the addon's build.
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { buildFolder } from '../../scripts/setup/native.mjs';
import { runStep } from '../../scripts/setup/process.mjs';
import { filesIn } from '../../scripts/setup/sources.mjs';
import { whenStale } from '../../scripts/setup/stamps.mjs';

const PROGRAM = /([a-z0-9_]+_bench)\.cpp$/;

/** @returns {string[]} the names of the programs that there are */
export function benchPrograms() {
  return filesIn(['bench/native'], PROGRAM).flatMap((file) => PROGRAM.exec(file)?.[1] ?? []);
}

/** @param {string} program */
export const pathOf = (program) => `${buildFolder}/${program}`;

export async function buildPrograms() {
  const inputs = ['native', 'bench/native', 'CMakeLists.txt'];
  const outputs = benchPrograms().map((program) => `build/cmake/${program}`);
  await whenStale('native-benchmarks', { inputs, outputs }, async () => {
    if (!/^BLOCK_ATTENTION_BENCH:BOOL=ON$/m.test(readFileSync(`${buildFolder}/CMakeCache.txt`, 'utf8'))) {
      await runStep('configuring the native benchmarks', 'cmake', [
        '-DBLOCK_ATTENTION_BENCH=ON',
        buildFolder,
      ]);
    }
    await runStep('building the native benchmarks', 'cmake', [
      '--build',
      buildFolder,
      '--parallel',
      String(availableParallelism()),
      '--target',
      'native_benchmarks',
    ]);
  });
}
