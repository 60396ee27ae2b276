// What ptxas says of kernels: registers, shared memory, stack and spills, for each architecture.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { outputOf } from '../setup/process.mjs';

/**
 * Bytes of static shared memory; what a launch asks for comes on top. `stack` is local memory: arrays that are indexed
 * at run time, and spills.
 *
 * @typedef {{ registers: number, shared: number, stack: number, spills: number }} Usage
 * @typedef {Record<string, Record<string, Usage>>} KernelUsage by kernel, then by architecture
 */

/**
 * @param {string} folder of a build through record-usage.mjs
 * @returns {KernelUsage} sorted by name
 */
export function readUsage(folder) {
  const found = usageFiles(folder).flatMap((file) => parseUsage(readFileSync(file, 'utf8')));
  const names = demangled(found.map(({ symbol }) => symbol));
  /** @type {KernelUsage} */
  const kernels = {};
  for (const [index, name] of [...names.entries()].sort(([, a], [, b]) => (a < b ? -1 : 1))) {
    const { architecture, usage } = /** @type {(typeof found)[number]} */ (found[index]);
    kernels[name] = { ...kernels[name], [architecture]: usage };
  }
  return kernels;
}

/** @param {string} folder @returns {string[]} */
function usageFiles(folder) {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.usage'))
    .map((name) => join(folder, name));
}

/**
 * @param {string} text
 * @returns {{ symbol: string, architecture: string, usage: Usage }[]}
 */
export function parseUsage(text) {
  const kernels = [];
  for (const part of text.split(/^ptxas info +: Compiling entry function /m).slice(1)) {
    const head = /^'(\w+)' for '(\w+)'/.exec(part);
    const memory = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(part);
    const registers = /Used (\d+) registers/.exec(part);
    if (!head || !memory || !registers) throw new Error(`ptxas is not understood:\n${part}`);
    const [, symbol = '', architecture = ''] = head;
    const [stack = 0, stores = 0, loads = 0] = memory.slice(1).map(Number);
    const shared = Number(/(\d+) bytes smem/.exec(part)?.[1] ?? 0);
    const usage = { registers: Number(registers[1]), shared, stack, spills: stores + loads };
    kernels.push({ symbol, architecture, usage });
  }
  return kernels;
}

/** @param {readonly string[]} symbols @returns {string[]} e.g. "rms_norm_kernel<Bf16>" */
function demangled(symbols) {
  const names = outputOf('c++filt', [], symbols.join('\n'));
  if (names === undefined) throw new Error('c++filt could not be run');
  return names
    .split('\n')
    .slice(0, symbols.length)
    .map((name) =>
      name
        .replace(/^void /, '')
        .replaceAll('block_attention::cuda::', '')
        .replaceAll('(anonymous namespace)::', '')
        .replace(/\(.*$/, '')
        .replaceAll('> >', '>>'),
    );
}
