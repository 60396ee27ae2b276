/** What the programs share: a native engine that always has a step to compute, and counts of what could be left behind. */
import { readdirSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { loadNativeEngine } from '#lib/native.js';

export const CONFIG = {
  vocabSize: 2000,
  hiddenSize: 256,
  intermediateSize: 512,
  numLayers: 4,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 64,
  rmsNormEps: 1e-5,
  tieWordEmbeddings: true,
  qkNorm: false,
  windows: [0, 0, 0, 0],
  invFreq: Array.from({ length: 32 }, (_, i) => 10_000 ** (-i / 32)),
  ropeAttentionFactor: 1,
};

/** @type {import('#lib/native.js').NativeEngineOptions} */
export const OPTIONS = {
  device: 'cpu',
  threads: 2,
  deterministic: false,
  float32: false,
  weightFormat: 'stored',
  kvDtype: 'bf16',
  cacheBytes: 64 << 20,
  memoryBytes: 1 << 30,
  maxBatchTokens: 128,
  maxPositions: 100_000,
  profile: false,
};

/**
 * Greedy, and nothing else.
 *
 * @type {import('#lib/native.js').NativeSampling}
 */
export const SAMPLING = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  seed: 0,
  topLogprobs: -1,
  logitBias: [],
};

/**
 * @param {(events: import('#lib/native.js').NativeEvent[]) => void} onEvents
 * @param {{ config?: Partial<typeof CONFIG>, signal?: AbortSignal,
 *   onProgress?: (progress: import('#lib/native.js').NativeLoadProgress) => void }} more
 */
export function loadSmall(onEvents = () => undefined, more = {}) {
  return loadNativeEngine(
    { ...CONFIG, ...more.config },
    { seed: 1, dtype: 'bf16' },
    OPTIONS,
    onEvents,
    more.onProgress ?? (() => undefined),
    more.signal,
  );
}

/**
 * A generation of so many tokens; a few thousand take seconds.
 * @param {number} id
 * @param {number} maxTokens
 * @returns {import('#lib/native.js').NativeSequence}
 */
export function generation(id, maxTokens) {
  return {
    id,
    segments: [],
    offset: 0,
    tokens: Int32Array.from({ length: 100 }, (_, i) => (i * 37) % CONFIG.vocabSize),
    generation: {
      maxTokens,
      stopTokens: [],
      sampling: SAMPLING,
      history: new Int32Array(),
    },
  };
}

/** Threads of this process; 0 where the system does not say. */
export function threads() {
  return process.platform === 'linux' ? readdirSync('/proc/self/task').length : 0;
}

/**
 * Threads of this process once an engine on the default device came and went. Where that is a GPU, the driver's own are among
 * them: it starts them with the first engine, and they stay.
 */
export async function threadsWithoutEngine() {
  let ended = false;
  const engine = await loadNativeEngine(
    CONFIG,
    { seed: 1, dtype: 'bf16' },
    { ...OPTIONS, device: 'auto' },
    (events) => {
      ended ||= events.some(({ finish }) => finish !== undefined);
    },
    () => undefined,
  );
  // Some of a driver only begins with the first kernel.
  engine.submit([generation(0, 2)]);
  await until(() => ended);
  await engine.close();
  return threads();
}

/** @param {() => boolean} condition */
export async function until(condition, milliseconds = 10_000) {
  const end = performance.now() + milliseconds;
  while (!condition()) {
    if (performance.now() > end) return false;
    await setImmediate();
  }
  return true;
}

/** @param {Record<string, unknown>} values */
export function report(values) {
  process.stdout.write(JSON.stringify(values));
}
