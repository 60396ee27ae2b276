// Contenders held to one instruction set, so that a CPU with more stands in for one without.
import { cp, rename, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';

/** @typedef {'avx2'} HeldIsa */

export const HELD_ISAS = /** @type {const} */ (['avx2']);

/** What llama.cpp takes of its own accord on a CPU that has this and no more. @type {Record<HeldIsa, string>} */
const LLAMA_LIBRARIES = { avx2: 'libggml-cpu-haswell.so' };

/** Its libraries that need no more; the others are left out of a copy. @type {Record<HeldIsa, RegExp>} */
const LLAMA_ALLOWED = { avx2: /^libggml-cpu-(x64|sse42|sandybridge|ivybridge|piledriver|haswell)\.so$/ };

/** Binaries for the processor at hand; those for others are not copied. */
const LLAMA_PLATFORM = `${process.platform}-${process.arch}`;

/**
 * Copies an installed node-llama-cpp without the libraries that need more: llama.cpp takes the best that it finds, and no
 * option or environment variable says otherwise.
 *
 * @param {string} nodeModules where it is installed
 * @param {string} copy made anew
 * @param {HeldIsa} isa
 */
export async function copyHeldLlama(nodeModules, copy, isa) {
  const partial = `${copy}.partial`;
  await rm(partial, { recursive: true, force: true });
  await cp(nodeModules, partial, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (source) => isCopied(source, isa),
  });
  await rm(copy, { recursive: true, force: true });
  await rename(partial, copy);
}

/** @param {string} source @param {HeldIsa} isa */
function isCopied(source, isa) {
  const name = basename(source);
  if (basename(dirname(source)) === '@node-llama-cpp') return name === LLAMA_PLATFORM;
  return !name.startsWith('libggml-cpu-') || LLAMA_ALLOWED[isa].test(name);
}

/**
 * Throws unless node-llama-cpp says that it computes with what it would take on such a CPU.
 *
 * @param {Record<string, unknown>} facts
 * @param {HeldIsa} isa
 */
export function checkHeldLlama({ cpuLibrary, system }, isa) {
  const wanted = LLAMA_LIBRARIES[isa];
  if (cpuLibrary !== wanted)
    throw new Error(`node-llama-cpp is not held to ${isa}: it loaded ${cpuLibrary} and not ${wanted}`);
  if (/AVX512|VNNI/.test(String(system)))
    throw new Error(`node-llama-cpp is not held to ${isa}: it has ${system}`);
}

/** The same of this package. @param {Record<string, unknown>} facts @param {HeldIsa} isa */
export function checkHeldOurs({ device }, isa) {
  if (!String(device).startsWith(`cpu ${isa}, `))
    throw new Error(`block-attention is not held to ${isa}: it computes on ${device}`);
}
