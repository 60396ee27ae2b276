/**
 * The typed face of the native addon: nothing else in the package touches the addon. Arguments are checked again on the
 * native side. All numbers that name tokens, positions and lengths are integers; times are milliseconds on the clock
 * of `process.hrtime` (CLOCK_MONOTONIC), see `nativeNow()`.
 */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BlockAttentionError, toBlockAttentionError } from './errors.js';

export type DType = 'bf16' | 'f16' | 'f32';
export type KvDType = 'bf16' | 'f32' | 'int8';
export type Device = 'auto' | 'cpu' | 'cuda' | 'cuda-emulated';

/** The decoder's shape; see native/model/model_config.hpp. */
export interface NativeModelConfig {
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  numLayers: number;
  numHeads: number;
  numKvHeads: number;
  headDim: number;
  rmsNormEps: number;
  tieWordEmbeddings: boolean;
  qkNorm: boolean;
  /** One per layer; 0: none. */
  windows: number[];
  /** rotaryDim / 2 inverse frequencies, radians per position. */
  invFreq: number[];
  /** Multiplies cos and sin (YaRN's attention factor); 1 otherwise. */
  ropeAttentionFactor: number;
}

/** Where a tensor's bytes lie. Names are those of transformers ("model.layers.0.self_attn.q_proj.weight"). */
export interface NativeTensor {
  name: string;
  /** Index into `files`. */
  file: number;
  dtype: DType;
  shape: number[];
  /** From the start of the file, in bytes. */
  offset: number;
  bytes: number;
}

export type NativeWeights =
  | { files: string[]; tensors: NativeTensor[] }
  /** Random weights of `config`'s shape, the same for the same seed: for timing only. */
  | { seed: number; dtype: DType };

export interface NativeEngineOptions {
  /** 'auto': the GPU if there is one, else the CPU. 'cuda-emulated' is in test builds only. */
  device: Device;
  threads: number;
  /** The bits of a row depend on that row alone: always so on the CPU, and on a GPU at the price of speed. */
  deterministic: boolean;
  /** Products of float32 only, on a CPU that could round what is multiplied to bf16. A GPU cannot. */
  float32: boolean;
  /** 'stored': as the files have them. 'int8': quantised while they are loaded. */
  weightFormat: 'stored' | 'int8';
  /** A folder that keeps int8 weights for the next load; with 'int8' and weights in files only. */
  weightsCache?: string | undefined;
  /** Unless said, bf16 on the CPU, and the type of the activations on a GPU, which takes no other. */
  kvDtype?: KvDType | undefined;
  /** Bytes of the KV pool; cut down to whole pages. Unless said, a quarter of `memoryBytes`, or most of a GPU's free memory. */
  cacheBytes?: number | undefined;
  /** Memory that this process may use. */
  memoryBytes: number;
  /** Most rows of one step. */
  maxBatchTokens: number;
  /** No sequence may end behind this position of its prompt, maxTokens included. */
  maxPositions: number;
  /** Takes the time of every op, for `NativeStats.profile`. */
  profile: boolean;
}

/** How int8 weights were come by, with the option `weightsCache`. */
export interface WeightsCacheReport {
  /**
   * 'read': out of the file, as an earlier load had left them there. 'written': quantised, and kept for the next load.
   * 'failed': quantised, and not kept; `problem` says why.
   */
  state: 'read' | 'written' | 'failed';
  /** Of this model, in the folder; '' if the device keeps none. */
  file: string;
  /** With 'written': why the file that was there was not read. */
  problem?: string;
}

export interface NativeEngineInfo {
  /** E.g. "cpu avx512, 2 threads". */
  device: string;
  /** Names whatever of the device changes a bit of the results: equal numerics, equal bits. Not the number of threads. */
  numerics: string;
  /** Why a GPU that 'auto' would have taken was not; empty otherwise. */
  deviceProblem: string;
  /** With the option `weightsCache`. */
  weightsCache?: WeightsCacheReport;
  /** Of the cached keys and values. */
  kvDtype: DType;
  pageTokens: number;
  pageBytes: number;
  /** Pages in the pool. */
  pages: number;
  /** Bytes that the packed weights take. */
  weightBytes: number;
}

export interface NativeSampling {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  /** Up to 2^53. */
  seed: number;
  /** -1: no log-probabilities; n: the drawn token's and the n likeliest. */
  topLogprobs: number;
  logitBias: [token: number, bias: number][];
}

export interface NativeGenerationParams {
  maxTokens: number;
  /** Ids that end the generation (the last token reported). */
  stopTokens: number[];
  sampling: NativeSampling;
  /** All tokens of the prompt before the own block, for the repetition penalty; empty if it is off. */
  history: Int32Array;
}

/**
 * A sequence to compute: earlier segments, in key order, and new rows of its own block. Without `generation` it encodes
 * its block; with it, the own block is the final block. The own block's id is the sequence's id.
 */
export interface NativeSequence {
  /**
   * Chosen by the caller, >= 0, not in use. Better never used before: what was under way when an id was released may
   * still be reported.
   */
  id: number;
  /** Blocks that the rows see: ids of sequences submitted before (also earlier in the same call), done or not. */
  segments: { id: number; offset: number }[];
  /** Of the own block in its prompt; segments lie at smaller offsets. */
  offset: number;
  /** Tokens of the own block, at least one. */
  tokens: Int32Array;
  generation?: NativeGenerationParams;
  /**
   * A sequence, submitted before (also earlier in the same call) and not released, done or not, whose prompt is the same:
   * tokens, offset and segments. The KV states of its own block are copied as soon as they are there; of them this
   * sequence computes the last token's row alone, or what the other one had not computed when it ended.
   */
  forkOf?: number;
}

/** What happened to one sequence since the last report. Several reports may follow each other for one sequence. */
export interface NativeEvent {
  id: number;
  /** New tokens, in order. */
  tokens?: Int32Array;
  /** When each of `tokens` was drawn, ms. */
  times?: Float64Array;
  /** One per token if log-probabilities were asked for. */
  logprobs?: Float32Array;
  /** topLogprobs entries per token, likeliest first, token after token. */
  topTokens?: Int32Array;
  topLogprobs?: Float32Array;
  /**
   * The last event of the sequence carries this. encoded: the block is ready; stop: a stop token was drawn; length:
   * maxTokens were drawn; aborted: by abort() or release(); error: see `error`.
   */
  finish?: 'encoded' | 'stop' | 'length' | 'aborted' | 'error';
  error?: { code: string; message: string };
  /** With the first token or with `encoded`: when the sequence's first row was computed, ms. */
  startedAt?: number;
  /** With `finish: 'encoded'`: when the last row was computed, ms. */
  finishedAt?: number;
  /** With the first token or with `encoded`: floating-point operations run for this sequence so far. */
  flops?: number;
  /** With the first token or with `encoded`: tokens of the own block that were copied by `forkOf`, not computed. */
  copiedTokens?: number;
}

export interface NativeStats {
  /** Pages in no block. */
  freePages: number;
  /** Sequences that are not finished. */
  running: number;
  /** Steps computed since load. */
  steps: number;
  /** Rows computed since load. */
  rows: number;
  /** External memory that V8 knows of in this thread, of all engines and of everything else. */
  externalBytes: number;
  /** With the option `profile`. */
  profile?: OpTime[];
}

/** Where the time of steps went since load; the sums never go down. */
export interface OpTime {
  /**
   * copy_pages, plan_attention, embedding, rms_norm, add_rms_norm, rope_store, attention, gather_rows, sample; the linear
   * layers qkv, o, gate_up (SwiGLU included), down and lm_head; or other: what steps take beyond these.
   */
  op: string;
  /** Of 'other': steps. */
  calls: number;
  milliseconds: number;
}

export interface NativeEngine {
  readonly info: NativeEngineInfo;
  /**
   * Takes up all sequences, or throws and takes up none. OUT_OF_PAGES: the pool lacks pages for the tokens plus
   * maxTokens of all of them. Computing starts at once; the call does not wait.
   */
  submit(sequences: NativeSequence[]): void;
  /** Ends an unfinished sequence after the step that runs; its block is then useless. Its last event says 'aborted'. */
  abort(id: number): void;
  /** Drops the id. An unfinished sequence is aborted, without an event. Pages return once no sequence sees the block. */
  release(id: number): void;
  stats(): NativeStats;
  /** Aborts what runs (each gets its last event), stops the threads and frees the memory. */
  close(): Promise<void>;
}

export interface NativeLoadProgress {
  /** Bytes of weights taken over so far, and in total. */
  done: number;
  total: number;
}

/** What CUDA device there is. */
export type GpuReport =
  | {
      available: true;
      /** E.g. "NVIDIA H100 80GB HBM3". */
      name: string;
      /** E.g. "9.0". */
      computeCapability: string;
      memoryBytes: number;
      /** What linear layers run on: "cuBLASLt 13.0", or "own GEMM (mma.sync)". */
      gemm: string;
      /** Why that is not cuBLASLt, which is faster. */
      gemmProblem?: string;
    }
  | {
      available: false;
      /** Why: no driver, no card that is new enough, or an addon that was built without CUDA. */
      problem: string;
    };

/** What the addon exports. */
interface NativeAddon {
  /** Devices that this build can compute on where they are. */
  devices: Exclude<Device, 'auto'>[];
  findGpu(): Promise<GpuReport>;
  load(
    config: NativeModelConfig,
    weights: NativeWeights,
    options: NativeEngineOptions,
    onEvents: (events: NativeEvent[]) => void,
    onProgress: (done: number, total: number) => void,
  ): { promise: Promise<NativeEngine>; abort(): void };
}

/** The one that computes, and one for tests whose GPU is an emulation. */
type AddonName = 'block_attention' | 'block_attention_emulated';

const addons = new Map<AddonName, NativeAddon>();

function loadAddon(name: AddonName): NativeAddon {
  let addon = addons.get(name);
  if (addon === undefined) {
    const require = createRequire(import.meta.url);
    // `bindings` guesses its root from stack traces, which bundlers break: it is told instead.
    const root = dirname(dirname(fileURLToPath(import.meta.url)));
    try {
      addon = require('bindings')({ bindings: name, module_root: root }) as NativeAddon;
      addons.set(name, addon);
    } catch (error) {
      if (name === 'block_attention_emulated') {
        throw new BlockAttentionError('UNSUPPORTED', 'device "cuda-emulated" is in builds for tests only', {
          cause: error,
        });
      }
      throw new BlockAttentionError(
        'NATIVE_UNAVAILABLE',
        `The native addon of block-attention could not be loaded on ${process.platform}-${process.arch}. ` +
          `Build it once with "npm install --ignore-scripts && npm run build:native" in ${root} (needs a C++20 compiler, ` +
          'CMake and the headers of Highway: on Debian and Ubuntu g++, cmake and libhwy-dev). ' +
          `Cause: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    }
  }
  return addon;
}

/** Now, in milliseconds, on the clock of the addon's times. */
export function nativeNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** The devices that the addon was built for, whether or not there are any; NATIVE_UNAVAILABLE without an addon. */
export function builtDevices(): Exclude<Device, 'auto'>[] {
  return [...loadAddon('block_attention').devices];
}

/** Looks for a GPU, which takes a moment. An addon that cannot be loaded is a problem like any other. */
export async function findGpu(): Promise<GpuReport> {
  try {
    return await loadAddon('block_attention').findGpu();
  } catch (error) {
    return { available: false, problem: toBlockAttentionError(error).message };
  }
}

/**
 * Loads a model into a new native engine. `onEvents` is called on the event loop with what happened since the last
 * call. Rejects with a BlockAttentionError; ABORTED if `signal` fired. What `onProgress` throws ends loading, and is
 * thrown.
 *
 * The engine lives until `close()`, or until nothing refers to it any more; `onEvents` must not refer to it while nothing
 * runs, or it is never collected.
 */
export async function loadNativeEngine(
  config: NativeModelConfig,
  weights: NativeWeights,
  options: NativeEngineOptions,
  onEvents: (events: NativeEvent[]) => void,
  onProgress: (progress: NativeLoadProgress) => void,
  signal?: AbortSignal,
): Promise<NativeEngine> {
  const native = loadAddon(
    options.device === 'cuda-emulated' ? 'block_attention_emulated' : 'block_attention',
  );
  if (signal?.aborted) throw new BlockAttentionError('ABORTED', 'Loading was aborted before it began.');
  let thrown: { error: unknown } | undefined;
  const abort = () => loading?.abort();
  const report = (done: number, total: number) => {
    if (thrown !== undefined) return;
    try {
      onProgress({ done, total });
    } catch (error) {
      thrown = { error };
      abort();
    }
  };
  let loading: ReturnType<NativeAddon['load']> | undefined;
  try {
    loading = native.load(config, weights, options, onEvents, report);
    signal?.addEventListener('abort', abort, { once: true });
    const engine = await loading.promise;
    if (thrown === undefined) return engine;
    await engine.close();
  } catch (error) {
    if (thrown === undefined) throw toBlockAttentionError(error);
  } finally {
    signal?.removeEventListener('abort', abort);
  }
  throw thrown.error;
}
