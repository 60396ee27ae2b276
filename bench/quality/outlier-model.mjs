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
 * Matrices are normally distributed, and what comes of a row has the size that it would have without outliers, as in a
 * trained model: else all attention falls on one key, and every rounding turns it to another.
 *
 * @param {string} folder an empty one
 * @param {Outliers} outliers
 * @param {number} seed
 */
export async function writeOutlierModel(folder, outliers, seed) {
  await writeFile(join(folder, 'config.json'), JSON.stringify(configOf(SHAPE)));
  const random = randomOf(seed);
  const normal = normalOf(random);
  const tensors = tensorsOf(SHAPE);
  /** @type {Map<string, Float64Array>} of a norm its weights, of a matrix what its columns are multiplied with */
  const factors = new Map(
    tensors.map(({ name, shape }) => {
      const isNorm = shape.length === 1;
      const some = isNorm ? outliers.norms && NORM_OUTLIERS : outliers.columns && COLUMN_OUTLIERS;
      return [name, factorsOf(shape.at(-1) ?? 1, some, random)];
    }),
  );
  await writeSafetensors(join(folder, 'model.safetensors'), tensors, ({ name, shape }) => {
    const own = factors.get(name) ?? new Float64Array();
    if (shape.length === 1) return Buffer.from(Uint16Array.from(own, bfloat16Bits).buffer);
    const inputs = factors.get(normBefore(name) ?? '');
    const power = own.reduce((sum, factor, column) => sum + (factor * (inputs?.[column] ?? 1)) ** 2, 0);
    const scaled = own.map((factor) => factor / Math.sqrt(power));
    const values = Uint16Array.from({ length: (shape[0] ?? 0) * scaled.length }, (_, index) =>
      bfloat16Bits(normal() * /** @type {number} */ (scaled[index % scaled.length])),
    );
    return Buffer.from(values.buffer);
  });
}

/**
 * Ones, and a few larger values.
 *
 * @param {number} count
 * @param {false | { least: number, most: number }} outliers
 * @param {() => number} random
 */
function factorsOf(count, outliers, random) {
  const factors = new Float64Array(count).fill(1);
  for (let i = 0; outliers && i < OUTLIER_COUNT; i++) {
    factors[Math.floor(random() * count)] = outliers.least + random() * (outliers.most - outliers.least);
  }
  return factors;
}

/** @param {string} name of a matrix @returns {string | undefined} the norm whose output it reads */
function normBefore(name) {
  const [layer = ''] = /^model\.layers\.\d+/.exec(name) ?? [];
  if (/[qkv]_proj/.test(name)) return `${layer}.input_layernorm.weight`;
  if (/(gate|up)_proj/.test(name)) return `${layer}.post_attention_layernorm.weight`;
  return name.startsWith('model.embed_tokens') ? 'model.norm.weight' : undefined;
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
