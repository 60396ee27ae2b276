// `kernels`: each op beside the limits of the machine, measured in the same run by the native programs of bench/native.
import { execFile } from 'node:child_process';
import { defaultThreads } from '#lib/engine/threads.js';
import { promisify } from 'node:util';
import { benchPrograms, buildPrograms, GPU_PROGRAMS, pathOf } from './build.mjs';
import { parseOutput } from './parse.mjs';
import { kernelTables } from './tables.mjs';

/** @import { Benchmark } from '../common/benchmark.mjs' */
/** @import { KernelResults } from './tables.mjs' */

/**
 * Arguments of each call of a program, where its defaults will not do.
 *
 * @type {{ full: Record<string, string[][]>, short: Record<string, string[][]> }}
 */
const CALLS = {
  full: {
    linear_bench: [
      ['--inputs', '2048', '--outputs', '8192'],
      ['--inputs', '576', '--outputs', '3072'],
    ],
  },
  short: {
    attention_bench: [['--rounds', '1', '--case', '50 x 1K']],
    ops_bench: [['--rounds', '1', '--megabytes', '8']],
    linear_bench: [['--rounds', '1', '--rows', '1,8', '--inputs', '256', '--outputs', '512']],
  },
};

const run = promisify(execFile);

/** @type {Benchmark} */
export const kernels = {
  summary: 'GFLOP/s and GB/s of each op beside the limits of the machine (builds the native benchmarks)',
  options: {},
  async run({ settings, progress }) {
    await buildPrograms(settings.device);
    const calls = callsOf(settings);
    progress.begin(calls.length);
    /** @type {KernelResults} */
    const results = { ops: undefined, others: [] };
    for (const { program, args } of calls) {
      progress.show(`kernels: ${[program, ...args].join(' ')}`);
      const { stdout } = await run(pathOf(program), args);
      if (program === 'ops_bench') results.ops = JSON.parse(stdout);
      else results.others.push(parsed(program, stdout));
      progress.add(1);
    }
    return { results };
  },
  tables: kernelTables,
};

/**
 * A GPU has one program; 'auto' means the CPU's here.
 *
 * @param {{ device: string, threads: number | undefined, short: boolean }} settings
 * @returns {{ program: string, args: string[] }[]}
 */
function callsOf({ device, threads, short }) {
  const gpu = GPU_PROGRAMS[device];
  if (gpu !== undefined) return [{ program: gpu.program, args: short ? ['--short', '1'] : [] }];
  const variants = short ? CALLS.short : CALLS.full;
  const common = ['--threads', String(threads ?? defaultThreads())];
  return benchPrograms().flatMap((program) =>
    (variants[program] ?? [[]]).map((args) => ({ program, args: [...common, ...args] })),
  );
}

/**
 * A table that is not found is a failure: what a program prints may change.
 *
 * @param {string} program
 * @param {string} text
 */
function parsed(program, text) {
  const output = parseOutput(text);
  if (output.tables.length === 0) throw new Error(`no table in what ${program} printed:\n${text}`);
  return output;
}
