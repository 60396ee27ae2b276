/** What a model folder holds, what it needs, and whether it can be used: without loading it. */
import { inspectFolder, type ModelProblem } from '../model/inspect.js';
import type { RopeParameters } from '../model/rope.js';
import { findGpu, type GpuReport, type KvDType } from '../native.js';
import { checkChoice, checkFields, checkInteger, checkSignal, checkString, optional } from './checks.js';
import { defaultCacheBytes, KV_DTYPES, memoryBytes } from './load-options.js';

export interface InspectOptions {
  /** Type of the cached keys and values, as for loading: 'bf16' unless said. */
  kvDtype?: KvDType | undefined;
  /** Size of the cache, bytes; a quarter of the memory unless said, as for loading. */
  cacheBytes?: number | undefined;
  /** Ends the work; it then rejects with ABORTED. */
  signal?: AbortSignal | undefined;
}

export interface ModelReport {
  /** Absolute. */
  path: string;
  /** Whether `Engine.load` would take it: no problems. */
  supported: boolean;
  /** What stands in the way, in the words of the errors that loading would give. */
  problems: ModelProblem[];
  /** As config.json names it, supported or not. */
  architecture: string | undefined;
  /** Of the stored weights; undefined if they cannot be read. */
  weights:
    | {
        parameters: number;
        bytes: number;
        /** Types as the files name them, the one with most bytes first. */
        dtypes: string[];
      }
    | undefined;
  /** The rest of config.json; undefined if it is not supported. */
  shape:
    | {
        layers: number;
        hiddenSize: number;
        heads: number;
        kvHeads: number;
        headDim: number;
        vocabSize: number;
        /** Most tokens of a prompt and its answer. */
        contextLength: number;
        rope: RopeParameters | undefined;
        /** Sliding windows in tokens, and how many layers have one of that size; empty if all layers see everything. */
        windows: { tokens: number; layers: number }[];
      }
    | undefined;
  /** The cache. */
  kv:
    | {
        dtype: KvDType;
        bytesPerToken: number;
        cacheBytes: number;
        /** What the cache holds: cached blocks and running answers together. */
        cacheTokens: number;
      }
    | undefined;
  /** This machine, or what this process may use of it. */
  memory: {
    bytes: number;
    /** Whether weights and cache go into it; undefined if either is unknown. */
    fits: boolean | undefined;
    /** Most tokens of a cache beside the weights. */
    mostTokens: number | undefined;
  };
  /** What there is to compute on beside the CPU. */
  devices: { cuda: GpuReport };
  /** False: blocks and queries are token ids. */
  hasTokenizer: boolean;
  /** False: there is no `format: 'chat'`. */
  hasChatTemplate: boolean;
}

const FIELDS = ['kvDtype', 'cacheBytes', 'signal'] as const satisfies readonly (keyof InspectOptions)[];

/** Of one key, or one value, of one head. */
const KV_BYTES: Record<KvDType, (headDim: number) => number> = {
  bf16: (headDim) => 2 * headDim,
  f32: (headDim) => 4 * headDim,
  // With a float32 scale.
  int8: (headDim) => headDim + 4,
};

/**
 * Looks into a model folder. What is wrong with the model is in the report; rejects with IO if there is no such folder,
 * INVALID_ARGUMENT, ABORTED.
 */
export async function inspectModel(path: string, options: InspectOptions = {}): Promise<ModelReport> {
  checkFields(options, 'options', FIELDS);
  const dtype = optional(options.kvDtype, 'bf16', (value) => checkChoice(value, 'kvDtype', KV_DTYPES));
  const cacheBytes = optional(options.cacheBytes, defaultCacheBytes(), (value) =>
    checkInteger(value, 'cacheBytes', { min: 1, max: Number.MAX_SAFE_INTEGER }),
  );
  const signal = optional(options.signal, undefined, (value) => checkSignal(value, 'signal'));
  const [contents, cuda] = await Promise.all([inspectFolder(checkString(path, 'path'), signal), findGpu()]);

  const { config, tensors } = contents;
  const weights = tensors === undefined ? undefined : weightsOf(tensors);
  const native = config?.native;
  const bytesPerToken =
    native === undefined
      ? undefined
      : 2 * native.numLayers * native.numKvHeads * KV_BYTES[dtype](native.headDim);
  const bytes = memoryBytes();
  const beside = weights === undefined ? undefined : Math.max(0, bytes - weights.bytes);
  return {
    path: contents.path,
    supported: contents.problems.length === 0,
    problems: contents.problems,
    architecture: contents.architecture,
    weights,
    shape:
      config === undefined
        ? undefined
        : {
            layers: config.native.numLayers,
            hiddenSize: config.native.hiddenSize,
            heads: config.native.numHeads,
            kvHeads: config.native.numKvHeads,
            headDim: config.native.headDim,
            vocabSize: config.native.vocabSize,
            contextLength: config.maxPositions,
            rope: contents.rope,
            windows: windowsOf(config.native.windows),
          },
    kv:
      bytesPerToken === undefined
        ? undefined
        : { dtype, bytesPerToken, cacheBytes, cacheTokens: Math.floor(cacheBytes / bytesPerToken) },
    memory: {
      bytes,
      fits: beside === undefined || bytesPerToken === undefined ? undefined : cacheBytes <= beside,
      mostTokens:
        beside === undefined || bytesPerToken === undefined ? undefined : Math.floor(beside / bytesPerToken),
    },
    devices: { cuda },
    hasTokenizer: contents.tokenizer !== undefined,
    hasChatTemplate: contents.chatTemplate !== undefined,
  };
}

function weightsOf(tensors: readonly { dtype: string; shape: readonly number[]; bytes: number }[]) {
  let parameters = 0;
  let bytes = 0;
  const byDtype = new Map<string, number>();
  for (const tensor of tensors) {
    parameters += tensor.shape.reduce((product, size) => product * size, 1);
    bytes += tensor.bytes;
    const dtype = tensor.dtype.toLowerCase();
    byDtype.set(dtype, (byDtype.get(dtype) ?? 0) + tensor.bytes);
  }
  const dtypes = [...byDtype].sort(([, a], [, b]) => b - a).map(([dtype]) => dtype);
  return { parameters, bytes, dtypes };
}

function windowsOf(windows: readonly number[]): { tokens: number; layers: number }[] {
  const layers = new Map<number, number>();
  for (const tokens of windows) if (tokens > 0) layers.set(tokens, (layers.get(tokens) ?? 0) + 1);
  return [...layers].map(([tokens, count]) => ({ tokens, layers: count }));
}
