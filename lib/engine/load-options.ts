/** Options of loading a model, and their defaults. */
import { availableParallelism, totalmem } from 'node:os';
import { BlockAttentionError } from '../errors.js';
import type { DType, KvDType, NativeEngineOptions, NativeLoadProgress } from '../native.js';
import { checkChoice, checkFields, checkFunction, checkInteger, checkSignal, optional } from './checks.js';

export interface LoadOptions {
  /** Where to compute. 'auto' (the default) takes the best that there is; this build has the CPU. */
  device?: 'auto' | 'cpu' | undefined;
  /** Threads that compute, the engine's own included; unless said, as many as the process may use. */
  threads?: number | undefined;
  /** Type of the cached keys and values: 'bf16' (the default), or 'f32' at twice the memory. */
  kvDtype?: KvDType | undefined;
  /** Bytes for the KV states of cached blocks and of running answers; unless said, a quarter of the memory. */
  cacheBytes?: number | undefined;
  /** Most tokens of one step, 512 unless said: more makes long prompts faster, less makes other answers wait less. */
  maxBatchTokens?: number | undefined;
  /** Called while the weights are taken over. */
  onProgress?: ((progress: NativeLoadProgress) => void) | undefined;
  /** Ends loading; it then rejects with ABORTED. */
  signal?: AbortSignal | undefined;
}

export interface RandomOptions extends LoadOptions {
  /** Equal seeds give equal weights; 0 unless said. */
  seed?: number | undefined;
  /** Type of the weights, 'bf16' unless said. */
  dtype?: DType | undefined;
}

export interface CheckedLoadOptions {
  native: Omit<NativeEngineOptions, 'maxPositions'>;
  onProgress: (progress: NativeLoadProgress) => void;
  signal: AbortSignal | undefined;
}

const LOAD_FIELDS = [
  'device',
  'threads',
  'kvDtype',
  'cacheBytes',
  'maxBatchTokens',
  'onProgress',
  'signal',
] as const satisfies readonly (keyof LoadOptions)[];
const RANDOM_FIELDS = [...LOAD_FIELDS, 'seed', 'dtype'] as const satisfies readonly (keyof RandomOptions)[];

const DEVICES = ['auto', 'cpu'] as const;

export function checkLoadOptions(options: LoadOptions | undefined): CheckedLoadOptions {
  checkFields(options ?? {}, 'options', LOAD_FIELDS);
  return checked(options ?? {});
}

export function checkRandomOptions(
  options: RandomOptions | undefined,
): CheckedLoadOptions & { seed: number; dtype: DType } {
  const fields = checkFields(options ?? {}, 'options', RANDOM_FIELDS);
  return {
    ...checked(options ?? {}),
    seed: optional(fields.seed, 0, (value) =>
      checkInteger(value, 'seed', { min: 0, max: Number.MAX_SAFE_INTEGER }),
    ),
    dtype: optional(fields.dtype, 'bf16', (value) =>
      checkChoice(value, 'dtype', ['bf16', 'f16', 'f32'] as const),
    ),
  };
}

function checked(options: LoadOptions): CheckedLoadOptions {
  optional(options.device, 'auto', checkDevice);
  optional(options.onProgress, undefined, (value) => checkFunction(value, 'onProgress'));
  return {
    native: {
      device: 'cpu',
      threads: optional(options.threads, availableParallelism(), (value) =>
        checkInteger(value, 'threads', { min: 1, max: 1024 }),
      ),
      kvDtype: optional(options.kvDtype, 'bf16', (value) =>
        checkChoice(value, 'kvDtype', ['bf16', 'f32'] as const),
      ),
      cacheBytes: optional(options.cacheBytes, defaultCacheBytes(), (value) =>
        checkInteger(value, 'cacheBytes', { min: 1, max: Number.MAX_SAFE_INTEGER }),
      ),
      maxBatchTokens: optional(options.maxBatchTokens, 512, (value) =>
        checkInteger(value, 'maxBatchTokens', { min: 1, max: 65_536 }),
      ),
    },
    onProgress: options.onProgress ?? (() => undefined),
    signal: optional(options.signal, undefined, (value) => checkSignal(value, 'signal')),
  };
}

function checkDevice(value: unknown): void {
  if (typeof value === 'string' && !DEVICES.some((device) => device === value)) {
    throw new BlockAttentionError('UNSUPPORTED', `device "${value}": this build has ${DEVICES.join(', ')}`);
  }
  checkChoice(value, 'device', DEVICES);
}

export function defaultCacheBytes(): number {
  return Math.floor(memoryBytes() / 4);
}

/** Memory that this process may use. */
export function memoryBytes(): number {
  // 0: no limit is known; without a limit some systems name an absurdly large one.
  const limit = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  return Math.min(totalmem(), limit);
}
