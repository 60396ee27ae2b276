// The limits of the machine, for benchmarks that set their own rates beside them.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { buildPrograms, GPU_PROGRAMS, isToBeHad, pathOf } from './build.mjs';

/** @import { OpsOutput } from './tables.mjs' */

const run = promisify(execFile);
const CPU_PROGRAM = 'ops_bench';

const PRODUCTS = /** @type {const} */ (['f32', 'bf16', 'int8']);

/** @typedef {typeof PRODUCTS[number]} Product what is multiplied */

/**
 * @typedef {object} Limits
 * @property {number} readGBs the fastest streaming read of the CPU, or the copy bandwidth of a GPU (of which half is reading,
 *   half writing)
 * @property {Record<Product, number>} gflops multiply-adds in the registers of the CPU, of what is multiplied, or the fastest
 *   matrix product of a GPU
 * @property {Product[]} [tiles] what the CPU's tiles multiply (AMX): vectors compute beside them
 */

/** Whether they can be measured here. @param {string} device */
export const hasLimits = (device) => isToBeHad(GPU_PROGRAMS[device]?.program ?? CPU_PROGRAM);

/**
 * Measures them now, which takes some seconds; builds the program first if need be.
 *
 * @param {object} options
 * @param {string} options.device
 * @param {number} options.threads
 * @param {boolean} options.short
 * @returns {Promise<Limits>}
 */
export async function measureLimits({ device, threads, short }) {
  const gpu = GPU_PROGRAMS[device];
  if (gpu === undefined) return limitsOfCpu(await runLimits(threads, short));
  await buildPrograms(device);
  const { stdout } = await run(pathOf(gpu.program), ['--limits', '1', ...(short ? ['--short', '1'] : [])]);
  return gpuLimits(stdout);
}

/** @param {OpsOutput['limits']} limits @returns {Limits} */
export function limitsOfCpu({ readGBs, f32GFLOPs, bf16GFLOPs, bf16Tiles, int8GFLOPs, int8Tiles }) {
  const inTiles = { f32: false, bf16: bf16Tiles, int8: int8Tiles };
  return {
    readGBs,
    gflops: { f32: f32GFLOPs, bf16: bf16GFLOPs, int8: int8GFLOPs },
    tiles: PRODUCTS.filter((product) => inTiles[product]),
  };
}

/** @param {string} text what the GPU's program printed @returns {Limits} */
export function gpuLimits(text) {
  const [, copy, gemm] = /copy ([\d.]+) GB\/s, GEMM ([\d.]+) TFLOP\/s/.exec(text) ?? [];
  if (copy === undefined || gemm === undefined) throw new Error(`no limits of the GPU in:\n${text}`);
  const gflops = 1000 * Number(gemm);
  return { readGBs: Number(copy), gflops: { f32: gflops, bf16: gflops, int8: gflops } };
}

/**
 * @param {number} threads
 * @param {boolean} short
 * @returns {Promise<OpsOutput['limits']>}
 */
async function runLimits(threads, short) {
  await buildPrograms();
  const quick = short ? ['--rounds', '1', '--megabytes', '8'] : [];
  const args = ['--limits', '1', '--threads', String(threads), ...quick];
  const { stdout } = await run(pathOf(CPU_PROGRAM), args);
  return JSON.parse(stdout).limits;
}
