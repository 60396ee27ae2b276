// Small models with random weights in which outliers are planted, as trained models have them: a few channels that are
// many times the others, of the activations (by the weights of the norms) or of the weights themselves.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { configOf, tensorsOf } from '../common/random-model.mjs';
import { randomOf } from '../common/random.mjs';
import { writeSafetensors } from '../common/safetensors.mjs';
import { bfloat16Bits } from './float-bits.mjs';

export const SHAPE = {
  vocabSize: 1000,
  hiddenSize: 256,
  intermediateSize: 512,
  numLayers: 4,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 64,
  tieWordEmbeddings: true,
  qkNorm: false,
};

/** @typedef {{ norms: boolean, columns: boolean }} Outliers where there are some */

/** @type {ReadonlyMap<string, Outliers>} */
export const OUTLIERS = new Map([
  ['no outliers', { norms: false, columns: false }],
  ['outliers in norms', { norms: true, columns: false }],
  ['outliers in columns', { norms: false, columns: true }],
  ['outliers in both', { norms: true, columns: true }],
]);

/** Of the channels of a norm, or the columns of a matrix. */
const OUTLIER_COUNT = 3;
const NORM_OUTLIERS = { least: 20, most: 60 };
const COLUMN_OUTLIERS = { least: 10, most: 20 };

/**
 * Matrices are normally distributed with deviation 1 / sqrt(columns), so that activations keep their size; norms are ones.
 *
 * @param {string} folder an empty one
 * @param {Outliers} outliers
 * @param {number} seed
 */
export async function writeOutlierModel(folder, outliers, seed) {
  await writeFile(join(folder, 'config.json'), JSON.stringify(configOf(SHAPE)));
  const random = randomOf(seed);
  const normal = normalOf(random);
  await writeSafetensors(join(folder, 'model.safetensors'), tensorsOf(SHAPE), ({ shape }) => {
    const columns = shape.at(-1) ?? 1;
    const isNorm = shape.length === 1;
    const factors = new Float64Array(columns).fill(isNorm ? 1 : 1 / Math.sqrt(columns));
    if (isNorm ? outliers.norms : outliers.columns) {
      const { least, most } = isNorm ? NORM_OUTLIERS : COLUMN_OUTLIERS;
      for (let i = 0; i < OUTLIER_COUNT; i++) {
        const at = Math.floor(random() * columns);
        factors[at] = /** @type {number} */ (factors[at]) * (least + random() * (most - least));
      }
    }
    const values = Uint16Array.from({ length: (shape[0] ?? 1) * (isNorm ? 1 : columns) }, (_, index) =>
      bfloat16Bits(/** @type {number} */ (factors[index % columns]) * (isNorm ? 1 : normal())),
    );
    return Buffer.from(values.buffer);
  });
}

/**
 * Box and Muller.
 *
 * @param {() => number} random
 * @returns {() => number} normal values
 */
function normalOf(random) {
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
