// What is measured: a model folder, or a named shape with random weights.
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Engine, SHAPE_NAMES } from 'block-attention';
import { UsageError } from './arguments.mjs';

/** The model that ships with the repository: small enough that anything runs in a moment. */
export const TINY_MODEL = fileURLToPath(new URL('../../models/tiny-rag', import.meta.url));
export const DEFAULT_SHAPE = 'smollm2-135m';

/** @import { LoadOptions } from 'block-attention' */

/**
 * @typedef {object} Subject
 * @property {string} model a folder's name or a shape's
 * @property {boolean} randomWeights
 * @property {string} device as the engine names it, e.g. "cpu avx2, 2 threads"
 * @property {number} weightBytes
 */

/**
 * @param {import('./arguments.mjs').Settings} settings
 * @param {import('./progress.mjs').Progress} progress
 * @returns {Promise<{ engine: Engine, subject: Subject }>}
 */
export async function openEngine(settings, progress) {
  /** @type {LoadOptions} */
  const options = {
    // Which names there are is the engine's to say.
    device: /** @type {LoadOptions['device']} */ (settings.device),
    threads: settings.threads,
    onProgress: ({ done, total }) =>
      progress.show(`loading the model: ${10 * Math.floor((10 * done) / total)}%`),
  };
  const folder = settings.model ?? (settings.short && settings.shape === undefined ? TINY_MODEL : undefined);
  const shape = settings.shape ?? DEFAULT_SHAPE;
  if (folder === undefined && !SHAPE_NAMES.some((name) => name === shape)) {
    throw new UsageError(`--shape ${shape}: there are ${SHAPE_NAMES.join(', ')}`);
  }
  const engine =
    folder === undefined ? await Engine.random(shape, options) : await Engine.load(folder, options);
  return {
    engine,
    subject: {
      model: folder === undefined ? shape : basename(folder),
      randomWeights: folder === undefined,
      device: engine.device,
      weightBytes: engine.stats().weightBytes,
    },
  };
}
