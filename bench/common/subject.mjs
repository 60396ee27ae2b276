// What is measured: a model folder, or a named shape with random weights.
import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Engine, SHAPE_NAMES } from 'block-attention';
import { randomConfig } from '#lib/engine/load.js';
import { loadModelFolder } from '#lib/model/folder.js';
import { UsageError } from './arguments.mjs';

/** @import { LoadOptions } from 'block-attention' */
/** @import { ModelConfig } from '#lib/model/types.js' */
/** @import { Settings } from './arguments.mjs' */
/** @import { Progress } from './progress.mjs' */

/** The model that ships with the repository: small enough that anything runs in a moment. */
const TINY_MODEL = fileURLToPath(new URL('../../models/tiny-rag', import.meta.url));
const DEFAULT_SHAPE = 'smollm2-135m';
const ELEMENT_BYTES = { bf16: 2, f16: 2, f32: 4 };

/**
 * @typedef {object} Subject
 * @property {string} model a folder's name or a shape's
 * @property {boolean} randomWeights
 * @property {string} [dtype] 'int8' if weights were quantised
 * @property {string} [kvDtype] if it was asked for
 * @property {string} device as the engine names it, e.g. "cpu avx2, 2 threads"
 * @property {number} weightBytes in memory
 */

/**
 * @param {Settings} settings
 * @returns {{ folder: string } | { shape: string }}
 */
export function chosenModel({ model, shape, short }) {
  if (model !== undefined) return { folder: model };
  if (short && shape === undefined) return { folder: TINY_MODEL };
  const name = shape ?? DEFAULT_SHAPE;
  if (SHAPE_NAMES.some((known) => known === name)) return { shape: name };
  throw new UsageError(`--shape ${name}: there are ${SHAPE_NAMES.join(', ')}`);
}

/**
 * @param {Settings} settings
 * @param {Progress} progress
 * @returns {LoadOptions}
 */
export function loadOptions({ device, threads, dtype, kvDtype }, progress) {
  return {
    // Which names there are is the engine's to say.
    device: /** @type {LoadOptions['device']} */ (device),
    threads,
    dtype: /** @type {LoadOptions['dtype']} */ (dtype),
    kvDtype: /** @type {LoadOptions['kvDtype']} */ (kvDtype),
    onProgress: ({ done, total }) =>
      progress.show(`loading the model: ${10 * Math.floor((10 * done) / total)}%`),
  };
}

/**
 * An engine, its config, the type of its matrices before any are quantised, and the bytes of weights that one step of decoding
 * reads.
 *
 * @param {Settings} settings
 * @param {Progress} progress
 * @param {{ profile?: boolean }} [more]
 * @returns {Promise<{ engine: Engine, subject: Subject, config: ModelConfig, storedDtype: ModelConfig['dtype'], stepBytes: number }>}
 */
export async function openEngine(settings, progress, more = {}) {
  const chosen = chosenModel(settings);
  const options = { ...loadOptions(settings, progress), ...more };
  const isFolder = 'folder' in chosen;
  const source = isFolder ? chosen.folder : chosen.shape;
  const random = !isFolder || settings.randomWeights !== undefined;
  const engine = random
    ? await Engine.random(source, { ...options, seed: settings.randomWeights })
    : await Engine.load(source, options);
  const config = random ? await randomConfig(source) : (await loadModelFolder(source)).config;
  const { weightBytes } = engine.stats();
  // Random weights are bf16 unless said, and a GPU has no others than of 16 bits.
  const narrowed = config.dtype === 'f32' && engine.device.startsWith('cuda');
  const storedDtype = random || narrowed ? 'bf16' : config.dtype;
  return {
    engine,
    subject: {
      model: isFolder ? basename(resolve(chosen.folder)) : chosen.shape,
      randomWeights: random,
      ...(settings.dtype === undefined ? {} : { dtype: settings.dtype }),
      ...(settings.kvDtype === undefined ? {} : { kvDtype: settings.kvDtype }),
      device: engine.device,
      weightBytes,
    },
    config,
    storedDtype,
    stepBytes: weightBytes - unreadBytes(config, ELEMENT_BYTES[storedDtype]),
  };
}

/**
 * Of an embedding with a matrix of its own, a step reads only the rows of its tokens.
 *
 * @param {ModelConfig} config
 * @param {number} elementBytes
 */
function unreadBytes({ native: { tieWordEmbeddings, vocabSize, hiddenSize } }, elementBytes) {
  return tieWordEmbeddings ? 0 : vocabSize * hiddenSize * elementBytes;
}
