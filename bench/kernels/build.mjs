// Builds the native benchmarks, in the folder and from the objects of the addon's build.
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { buildFolder } from '../../scripts/setup/native.mjs';
import { runStep } from '../../scripts/setup/process.mjs';
import { filesIn } from '../../scripts/setup/sources.mjs';
import { whenStale } from '../../scripts/setup/stamps.mjs';

const PROGRAM = /([a-z0-9_]+_bench)\.cpp$/;

/** @returns {string[]} the names of the CPU's programs that there are */
export function benchPrograms() {
  return filesIn(['bench/native'], PROGRAM)
    .filter((file) => !file.includes('/cuda/'))
    .flatMap((file) => PROGRAM.exec(file)?.[1] ?? []);
}

/** The program that measures a device's kernels, beside the CPU's. @type {Record<string, { program: string, option: string }>} */
export const GPU_PROGRAMS = {
  cuda: { program: 'cuda_bench', option: 'BLOCK_ATTENTION_CUDA' },
  'cuda-emulated': { program: 'cuda_emulated_bench', option: 'BLOCK_ATTENTION_TESTS' },
};

/** Where programs lie that somebody else has built (scripts/pack/run.sh). */
const builtFolder = process.env.BLOCK_ATTENTION_PROGRAMS;

/** @param {string} program */
export const pathOf = (program) => `${builtFolder ?? buildFolder}/${program}`;

/**
 * What somebody else has built may lack it; anything else can be built.
 *
 * @param {string} program
 */
export const isToBeHad = (program) => builtFolder === undefined || existsSync(pathOf(program));

/** @param {string} [device] a key of GPU_PROGRAMS, or else the CPU's programs */
export async function buildPrograms(device) {
  if (builtFolder !== undefined) return;
  const gpu = device === undefined ? undefined : GPU_PROGRAMS[device];
  const programs = gpu === undefined ? benchPrograms() : [gpu.program];
  const inputs = ['native', 'bench/native', 'CMakeLists.txt', 'cmake'];
  const outputs = programs.map((program) => `build/cmake/${program}`);
  await whenStale(
    `native-benchmarks${gpu === undefined ? '' : `-${device}`}`,
    { inputs, outputs },
    async () => {
      const cache = readFileSync(`${buildFolder}/CMakeCache.txt`, 'utf8');
      const options = ['BLOCK_ATTENTION_BENCH', ...(gpu === undefined ? [] : [gpu.option])];
      if (options.some((option) => !cache.includes(`${option}:BOOL=ON`))) {
        await runStep('configuring the native benchmarks', 'cmake', [
          ...options.map((option) => `-D${option}=ON`),
          buildFolder,
        ]);
      }
      await runStep('building the native benchmarks', 'cmake', [
        ...['--build', buildFolder, '--parallel', String(availableParallelism())],
        ...['--target', ...(gpu === undefined ? ['native_benchmarks'] : programs)],
      ]);
    },
  );
}
