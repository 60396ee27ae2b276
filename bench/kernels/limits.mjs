// The limits of the machine, for benchmarks that set their own rates beside them.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { buildPrograms, GPU_PROGRAMS, pathOf } from './build.mjs';

/** @import { OpsOutput } from './tables.mjs' */

const run = promisify(execFile);

/**
 * The rate at which memory is read now: the fastest streaming read of the CPU, or the copy bandwidth of a GPU (of which
 * half is reading, half writing). Takes some seconds; builds the program first if need be.
 *
 * @param {object} options
 * @param {string} options.device
 * @param {number} options.threads
 * @param {boolean} options.short
 * @returns {Promise<number>} GB/s
 */
export async function measureMemory({ device, threads, short }) {
  const gpu = GPU_PROGRAMS[device];
  if (gpu === undefined) return (await measureLimits({ threads, short })).readGBs;
  await buildPrograms(device);
  const { stdout } = await run(pathOf(gpu.program), ['--limits', '1', ...(short ? ['--short', '1'] : [])]);
  const copy = /copy ([\d.]+) GB\/s/.exec(stdout)?.[1];
  if (copy === undefined) throw new Error(`no copy bandwidth in what ${gpu.program} printed:\n${stdout}`);
  return Number(copy);
}

/**
 * Measures them now, which takes some seconds; builds the program first if need be.
 *
 * @param {object} options
 * @param {number} options.threads
 * @param {boolean} options.short
 * @returns {Promise<OpsOutput['limits']>}
 */
export async function measureLimits({ threads, short }) {
  await buildPrograms();
  const quick = short ? ['--rounds', '1', '--megabytes', '8'] : [];
  const args = ['--limits', '1', '--threads', String(threads), ...quick];
  const { stdout } = await run(pathOf('ops_bench'), args);
  return JSON.parse(stdout).limits;
}
