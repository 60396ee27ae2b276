// The time from a model folder to its first token, in turns with plain reading of its files; and in int8, with the weights
// kept on disk (`weightsCache`).
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Engine } from 'block-attention';
import { withTemporaryFolder } from '../common/random-model.mjs';
import { countedRounds, summary } from '../common/statistics.mjs';

/** @import { LoadOptions } from 'block-attention' */
/** @import { Progress } from '../common/progress.mjs' */
/** @import { Summary } from '../common/statistics.mjs' */

const READ_CHUNK = 8 << 20;

/**
 * @typedef {object} Results
 * @property {number} fileBytes of the weights
 * @property {Summary} load ms, of `Engine.load`
 * @property {Summary} firstToken ms, of the first request, one token long
 * @property {Summary} total ms, both together
 * @property {Summary} read ms, that one thread takes to read the same files
 * @property {{ keeping: Summary, kept: Summary }} [weightsCache] in int8: ms, of `Engine.load` that keeps the weights, and of
 *   the one after it
 * @property {number} residentBytes of the whole process beyond the weights, after the last first token
 */

/**
 * @param {string} folder
 * @param {object} plan
 * @param {LoadOptions} plan.options
 * @param {number} plan.rounds counted rounds
 * @param {number} plan.seconds most seconds in all; one round always ends
 * @param {Progress} progress
 * @returns {Promise<{ device: string, weightBytes: number, results: Results }>}
 */
export async function measureLoad(folder, { options, rounds, seconds }, progress) {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.safetensors'));
  const files = names.map((name) => join(folder, name));
  const sizes = await Promise.all(files.map((file) => stat(file)));
  progress.begin(rounds + 1);
  const begun = performance.now();
  const runs = [];
  do {
    progress.show(`load: round ${runs.length} of ${rounds}`);
    const read = await timed(() => readAll(files));
    const weightsCache = options.dtype === 'int8' ? await loadTwice(folder, options) : undefined;
    runs.push({ read: read.ms, weightsCache, ...(await loadOnce(folder, options)) });
    progress.add(1);
  } while (runs.length <= rounds && performance.now() - begun < 1000 * seconds);
  const counted = countedRounds(runs);
  const last = counted.at(-1);
  const cached = counted.flatMap(({ weightsCache }) => weightsCache ?? []);
  if (last === undefined) throw new RangeError('no rounds');
  return {
    device: last.device,
    weightBytes: last.weightBytes,
    results: {
      fileBytes: sizes.reduce((sum, { size }) => sum + size, 0),
      load: summary(counted.map(({ load }) => load)),
      firstToken: summary(counted.map(({ firstToken }) => firstToken)),
      total: summary(counted.map(({ load, firstToken }) => load + firstToken)),
      read: summary(counted.map(({ read }) => read)),
      ...(cached.length === 0
        ? {}
        : {
            weightsCache: {
              keeping: summary(cached.map(({ keeping }) => keeping)),
              kept: summary(cached.map(({ kept }) => kept)),
            },
          }),
      residentBytes: last.residentBytes,
    },
  };
}

/**
 * @param {string} folder
 * @param {LoadOptions} options
 */
async function loadOnce(folder, options) {
  const loading = await timed(() => Engine.load(folder, options));
  const engine = loading.result;
  try {
    const first = await timed(() => engine.generate({ query: [1], maxTokens: 1, ignoreEos: true }).result());
    const { weightBytes } = engine.stats();
    return {
      load: loading.ms,
      firstToken: first.ms,
      device: engine.device,
      weightBytes,
      residentBytes: process.memoryUsage.rss() - weightBytes,
    };
  } finally {
    await engine.close();
  }
}

/**
 * Keeps the weights in an empty folder, and loads them out of it.
 *
 * @param {string} folder
 * @param {LoadOptions} options
 */
const loadTwice = (folder, options) =>
  withTemporaryFolder(async (weightsCache) => {
    /** @param {'written' | 'read'} state */
    const load = async (state) => {
      const { ms, result } = await timed(() => Engine.load(folder, { ...options, weightsCache }));
      await result.close();
      if (result.weightsCache?.state !== state) throw new Error(`weights: ${result.weightsCache?.problem}`);
      return ms;
    };
    return { keeping: await load('written'), kept: await load('read') };
  });

/**
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<{ ms: number, result: T }>}
 */
async function timed(work) {
  const begun = performance.now();
  const result = await work();
  return { ms: performance.now() - begun, result };
}

/** @param {readonly string[]} files */
async function readAll(files) {
  const chunk = Buffer.allocUnsafe(READ_CHUNK);
  for (const file of files) {
    const handle = await open(file);
    try {
      while ((await handle.read(chunk, 0, chunk.length)).bytesRead > 0);
    } finally {
      await handle.close();
    }
  }
}
