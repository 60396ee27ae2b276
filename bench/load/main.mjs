// `load`: from a model folder to its first token, with the files in the cache of the file system. A named shape is
// written to a temporary folder first.
import { basename, resolve } from 'node:path';
import { namedShape } from '#lib/model/shapes.js';
import { number, spread } from '../common/format.mjs';
import { withRandomModel } from '../common/random-model.mjs';
import { chosenModel, loadOptions } from '../common/subject.mjs';
import { measureLoad } from './measure.mjs';

/** @import { Benchmark } from '../common/benchmark.mjs' */
/** @import { Table } from '../common/table.mjs' */
/** @import { Results } from './measure.mjs' */

/** @type {Benchmark} */
export const load = {
  summary: 'model load to first token, the files in the cache of the file system',
  options: {},
  async run({ settings, progress }) {
    const chosen = chosenModel(settings);
    const plan = {
      options: loadOptions(settings, progress),
      rounds: settings.rounds ?? (settings.short ? 2 : 5),
      seconds: settings.seconds,
    };
    /**
     * @param {string} folder
     * @param {string} model
     */
    const measure = async (folder, model) => {
      const { device, weightBytes, results } = await measureLoad(folder, plan, progress);
      const randomWeights = 'shape' in chosen;
      return { subject: { model, randomWeights, device, weightBytes }, results };
    };
    if ('folder' in chosen) return measure(chosen.folder, basename(resolve(chosen.folder)));
    progress.show(`load: writing a model folder of the shape ${chosen.shape}`);
    return withRandomModel(namedShape(chosen.shape).native, (folder) => measure(folder, chosen.shape));
  },
  tables: loadTables,
};

/**
 * @param {Results} results
 * @returns {Table[]}
 */
export function loadTables({ fileBytes, load, firstToken, total, read, weightsCache, residentBytes }) {
  const gigabytes = fileBytes / 1e9;
  /** @param {number} ms */
  const rate = (ms) => number((1000 * gigabytes) / ms);
  return [
    {
      title: 'Loading',
      columns: ['', 'ms', 'GB/s'],
      rows: [
        ['Engine.load', spread(load), rate(load.median)],
        ['first token', spread(firstToken), ''],
        ['together', spread(total), rate(total.median)],
        ['reading the files, one thread', spread(read), rate(read.median)],
        ...(weightsCache === undefined
          ? []
          : [
              [
                'Engine.load, keeping the weights',
                spread(weightsCache.keeping),
                rate(weightsCache.keeping.median),
              ],
              ['Engine.load, weights kept', spread(weightsCache.kept), rate(weightsCache.kept.median)],
            ]),
      ],
      notes: [
        `${number(gigabytes)} GB of weights, in the cache of the file system. Resident memory of the process beyond the weights: ${number(residentBytes / 1e6)} MB.`,
      ],
    },
  ];
}
