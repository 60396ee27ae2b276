/** Options of loading a model, and their defaults. */
import { totalmem } from 'node:os';
import { resolve } from 'node:path';
import { BlockAttentionError } from '../errors.js';
import type { Device, DType, KvDType, NativeEngineOptions, NativeLoadProgress } from '../native.js';
import {
  checkBoolean,
  checkChoice,
  checkFields,
  checkFunction,
  checkInteger,
  checkSignal,
  checkString,
  invalid,
  optional,
} from './checks.js';
import { defaultThreads } from './threads.js';

export interface LoadOptions {
  /**
   * Where to compute. 'auto' (the default) takes an NVIDIA GPU of compute capability 8.0 or later if there is one, the
   * addon was built with CUDA and nothing is asked for that the CPU alone computes (int8, keys and values in f32,
   * arithmetic in f32); else the CPU, and says why in `engine.deviceProblem`. 'cuda' fails with DEVICE_UNAVAILABLE or
   * UNSUPPORTED instead. ('cuda-emulated' runs the GPU's kernels on the CPU, in test builds only.)
   */
  device?: Device | undefined;
  /**
   * Threads that compute, the engine's own included; unless said, one for each physical core that the process may run on, within
   * the quota of its cgroup.
   */
  threads?: number | undefined;
  /**
   * A GPU's results, too, do not depend on what else runs: linear layers go through kernels of our own instead of the
   * faster cuBLASLt. The CPU's never do. false unless said.
   */
  deterministic?: boolean | undefined;
  /**
   * Type of the weights in memory: as the files have them unless said. 'int8' (CPU only) halves the memory of 16-bit weights
   * and makes linear layers faster (three times with VNNI, half as fast again with AVX2 alone): weights in groups of 64 inputs with a scale each, activations the same
   * as they come. What that does to answers: docs/quantization.md.
   */
  dtype?: 'int8' | undefined;
  /**
   * A folder (made if it is missing) in which a load with `dtype: 'int8'` keeps the quantised weights, so that the next one
   * of the same model reads half the bytes and quantises nothing: `engine.weightsCache` says which it was. Nobody else may
   * write to it whom you would not let write to the model. What of a changed model is noticed: docs/quantization.md.
   */
  weightsCache?: string | undefined;
  /**
   * What is multiplied. 'auto' (the default): where weights, or keys and values, are bf16, and the CPU has dot products of
   * bf16 (AVX512-BF16: AMD since Zen 4, Intel since Sapphire Rapids), the other side is rounded to bf16 as well, which makes
   * prompts twice as fast; sums are float32. That is what GPUs and llama.cpp do. 'f32': only the stored values are
   * rounded, on every CPU; not on a GPU.
   */
  arithmetic?: 'auto' | 'f32' | undefined;
  /**
   * Type of the cached keys and values: 'bf16' (the default), 'f32' at twice the memory, or 'int8' at about half of it (with
   * one scale for each token and head: docs/quantization.md). On a GPU they are of the activations' type: f16 for f16
   * weights, else bf16.
   */
  kvDtype?: KvDType | undefined;
  /**
   * Bytes for the KV states of cached blocks and of running answers; unless said, a quarter of the memory, or 85% of what
   * is free on a GPU once the weights are there (`stats().cache.capacityBytes`).
   */
  cacheBytes?: number | undefined;
  /** Most tokens of one step, 512 unless said: more makes long prompts faster, less makes other answers wait less. */
  maxBatchTokens?: number | undefined;
  /**
   * Takes the time of every op of the model, for `stats().profile`. On a GPU each op is then waited for, which makes steps
   * slower; the results are the same. false unless said.
   */
  profile?: boolean | undefined;
  /** Called while the weights are taken over. */
  onProgress?: ((progress: NativeLoadProgress) => void) | undefined;
  /** Ends loading; it then rejects with ABORTED. */
  signal?: AbortSignal | undefined;
}

export interface RandomOptions extends Omit<LoadOptions, 'dtype' | 'weightsCache'> {
  /** Equal seeds give equal weights; 0 unless said. */
  seed?: number | undefined;
  /** Type of the weights, 'bf16' unless said; 'int8': random bf16 weights, quantised as they would be when loaded. */
  dtype?: DType | 'int8' | undefined;
}

export interface CheckedLoadOptions {
  native: Omit<NativeEngineOptions, 'maxPositions'>;
  onProgress: (progress: NativeLoadProgress) => void;
  signal: AbortSignal | undefined;
}

const COMMON_FIELDS = [
  'device',
  'threads',
  'deterministic',
  'dtype',
  'arithmetic',
  'kvDtype',
  'cacheBytes',
  'maxBatchTokens',
  'profile',
  'onProgress',
  'signal',
] as const satisfies readonly (keyof LoadOptions & keyof RandomOptions)[];
const LOAD_FIELDS = [...COMMON_FIELDS, 'weightsCache'] as const satisfies readonly (keyof LoadOptions)[];
const RANDOM_FIELDS = [...COMMON_FIELDS, 'seed'] as const satisfies readonly (keyof RandomOptions)[];

export const KV_DTYPES = ['bf16', 'f32', 'int8'] as const satisfies readonly KvDType[];
const ARITHMETICS = ['auto', 'f32'] as const;
const DEVICES = ['auto', 'cpu', 'cuda', 'cuda-emulated'] as const;

export function checkLoadOptions(options: LoadOptions | undefined): CheckedLoadOptions {
  checkFields(options ?? {}, 'options', LOAD_FIELDS);
  const dtype = optional(options?.dtype, undefined, (value) =>
    checkChoice(value, 'dtype', ['int8'] as const),
  );
  const { native, ...rest } = checked(options ?? {}, dtype ?? 'stored');
  return { native: { ...native, weightsCache: checkWeightsCache(options?.weightsCache, dtype) }, ...rest };
}

function checkWeightsCache(value: unknown, dtype: LoadOptions['dtype']): string | undefined {
  if (value === undefined) return undefined;
  const folder = checkString(value, 'weightsCache');
  if (folder === '' || folder.includes('\0')) throw invalid('weightsCache', 'the path of a folder', value);
  if (dtype === undefined) {
    throw new BlockAttentionError(
      'INVALID_ARGUMENT',
      'weightsCache keeps quantised weights: give it with dtype "int8", or not at all',
    );
  }
  return resolve(folder);
}

export function checkRandomOptions(
  options: RandomOptions | undefined,
): CheckedLoadOptions & { seed: number; dtype: DType } {
  const fields = checkFields(options ?? {}, 'options', RANDOM_FIELDS);
  const dtype = optional(fields.dtype, 'bf16', (value) =>
    checkChoice(value, 'dtype', ['bf16', 'f16', 'f32', 'int8'] as const),
  );
  return {
    ...checked(options ?? {}, dtype === 'int8' ? 'int8' : 'stored'),
    seed: optional(fields.seed, 0, (value) =>
      checkInteger(value, 'seed', { min: 0, max: Number.MAX_SAFE_INTEGER }),
    ),
    dtype: dtype === 'int8' ? 'bf16' : dtype,
  };
}

function checked(
  options: Omit<LoadOptions, 'dtype' | 'weightsCache'>,
  weightFormat: NativeEngineOptions['weightFormat'],
): CheckedLoadOptions {
  optional(options.onProgress, undefined, (value) => checkFunction(value, 'onProgress'));
  return {
    native: {
      device: optional(options.device, 'auto', (value) => checkChoice(value, 'device', DEVICES)),
      threads: optional(options.threads, defaultThreads(), (value) =>
        checkInteger(value, 'threads', { min: 1, max: 1024 }),
      ),
      deterministic: optional(options.deterministic, false, (value) => checkBoolean(value, 'deterministic')),
      float32:
        optional(options.arithmetic, 'auto', (value) => checkChoice(value, 'arithmetic', ARITHMETICS)) ===
        'f32',
      weightFormat,
      kvDtype: optional(options.kvDtype, undefined, (value) => checkChoice(value, 'kvDtype', KV_DTYPES)),
      cacheBytes: optional(options.cacheBytes, undefined, (value) =>
        checkInteger(value, 'cacheBytes', { min: 1, max: Number.MAX_SAFE_INTEGER }),
      ),
      memoryBytes: memoryBytes(),
      maxBatchTokens: optional(options.maxBatchTokens, 512, (value) =>
        checkInteger(value, 'maxBatchTokens', { min: 1, max: 65_536 }),
      ),
      profile: optional(options.profile, false, (value) => checkBoolean(value, 'profile')),
    },
    onProgress: options.onProgress ?? (() => undefined),
    signal: optional(options.signal, undefined, (value) => checkSignal(value, 'signal')),
  };
}

/** Of an engine on the CPU. */
export function defaultCacheBytes(): number {
  return Math.floor(memoryBytes() / 4);
}

/** Memory that this process may use. */
export function memoryBytes(): number {
  // 0: no limit is known; without a limit some systems name an absurdly large one.
  const limit = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  return Math.min(totalmem(), limit);
}
