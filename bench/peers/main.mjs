// `peers`: this package beside node-llama-cpp and transformers, on the same random weights and the same prompts.
import { defaultThreads } from '#lib/engine/threads.js';
import { join } from 'node:path';
import { SHAPE_NAMES } from 'block-attention';
import { namedShape } from '#lib/model/shapes.js';
import { UsageError, wholeNumber, wholeNumbers } from '../common/arguments.mjs';
import { readGgufHeader } from '../common/gguf-header.mjs';
import { randomTokens } from '../common/prompts.mjs';
import { withRandomModel } from '../common/random-model.mjs';
import { randomOf } from '../common/random.mjs';
import { hasLimits, measureLimits } from '../kernels/limits.mjs';
import { SMALL_SCALE, SMALL_SHAPE } from './agreement.mjs';
import { OURS, PEERS } from './contenders.mjs';
import { writeGgufModel } from './gguf-model.mjs';
import { HELD_ISAS } from './held.mjs';
import { lineUp } from './line-up.mjs';
import { measureFigures, positionsOf } from './measure.mjs';
import { peersTables } from './tables.mjs';

/** @import { Benchmark } from '../common/benchmark.mjs' */
/** @import { Settings } from '../common/arguments.mjs' */
/** @import { Progress } from '../common/progress.mjs' */
/** @import { Shape } from '../common/random-model.mjs' */
/** @import { WeightType } from './gguf-model.mjs' */
/** @import { HeldIsa } from './held.mjs' */
/** @import { ModelFiles, Started } from './line-up.mjs' */
/** @import { Results } from './tables.mjs' */

const DTYPES = /** @type {const} */ (['bf16', 'int8']);
const DEFAULT_SHAPE = 'smollm2-135m';
/** Of the prompt by which the fastest of several settings is found. */
const TRIAL_TOKENS = 512;

/** Of the short form: large enough that several answers are under way at once. */
const SHORT_SHAPE = {
  ...SMALL_SHAPE,
  vocabSize: 4096,
  hiddenSize: 256,
  intermediateSize: 1024,
  numLayers: 8,
};

/** @type {Benchmark} */
export const peers = {
  summary:
    'beside node-llama-cpp (installed on demand) and transformers (where it is): TTFT, decoding, loading',
  options: {
    isa: {
      type: 'string',
      help: 'avx2: all are held to it, on a CPU that has more; the best of each unless said',
    },
    dtype: { type: 'string', help: 'T,T: types of weights, bf16 and int8; both unless said' },
    lengths: { type: 'string', help: 'L,L,…: prompt tokens; 50,512,2K unless said' },
    streams: { type: 'string', help: 'N,N,…: answers at once, up to 8; 1,8 unless said' },
    tokens: { type: 'string', help: 'N: of each answer; 128 unless said' },
  },
  async run({ settings, own, progress }) {
    const { short } = settings;
    const { name, shape } = chosenShape(settings);
    const threads = settings.threads ?? defaultThreads();
    const random = randomOf(settings.seed);
    const plan = {
      lengths: wholeNumbers(own.lengths ?? (short ? '16,64' : '50,512,2K'), 'lengths'),
      streams: wholeNumbers(own.streams ?? '1,8', 'streams'),
      tokens: wholeNumber(own.tokens ?? (short ? '64' : '128'), 'tokens', 2),
      rounds: settings.rounds ?? (short ? 2 : 5),
      seconds: settings.seconds,
      vocabSize: shape.vocabSize,
      random,
    };
    if (plan.streams.some((count) => count > 8)) throw new UsageError('--streams: at most 8');
    const dtypes = chosenDtypes(own.dtype);
    const isa = chosenIsa(own.isa);
    // The short form installs nothing and starts nothing but this package.
    const engines = short ? [OURS] : [OURS, ...PEERS];
    const readGBs = async () =>
      short || !hasLimits('cpu')
        ? undefined
        : (await measureLimits({ device: 'cpu', threads, short })).readGBs;

    return withFiles(SMALL_SHAPE, SMALL_SCALE, dtypes, progress, (small) =>
      withFiles(shape, undefined, dtypes, progress, async (model) => {
        const { started, leftOut } = await lineUp(
          {
            engines,
            dtypes,
            small,
            model,
            threads,
            isa,
            positions: positionsOf({ ...plan, lengths: [...plan.lengths, TRIAL_TOKENS] }),
            prompt: [...randomTokens(TRIAL_TOKENS, shape.vocabSize, random)],
          },
          progress,
        );
        try {
          if (isa !== undefined) for (const { engine, facts } of started) engine.checkHeld(facts, isa);
          const figures = await measureFigures(started, { ...plan, readGBs }, progress);
          for (const { contender } of started) await contender.end();
          const [own] = started.filter(({ engine }) => engine === OURS);
          if (own === undefined) throw new Error('this package itself could not take part');
          /** @type {Results} */
          const results = {
            ours: OURS.name,
            ...(isa === undefined ? {} : { isa }),
            threads,
            contenders: started.map((one) => ({
              key: one.key,
              engine: one.engine.name,
              dtype: one.dtype,
              weights: one.engine.weights[one.dtype] ?? '',
              stepBytes: stepBytes(one, model, shape),
              facts: one.facts,
            })),
            leftOut,
            agreement: started.map(({ agreement }) => agreement),
            figures,
          };
          const { device, weightBytes } = own.facts;
          return {
            subject: {
              model: name,
              randomWeights: true,
              device: String(device),
              weightBytes: Number(weightBytes),
            },
            results,
          };
        } finally {
          for (const { contender } of started) await contender.end();
        }
      }),
    );
  },
  tables: peersTables,
};

/** @param {Settings} settings @returns {{ name: string, shape: Shape }} */
function chosenShape({ model, shape, short, device, kvDtype }) {
  if (model !== undefined)
    throw new UsageError('peers takes --shape: all contenders get the same random weights');
  if (device !== 'auto' && device !== 'cpu')
    throw new UsageError(`--device ${device}: peers measures the CPU only`);
  if (kvDtype !== undefined)
    throw new UsageError('--kv-dtype: keys and values of all contenders have 16 bits here');
  if (short && shape === undefined) return { name: 'a small shape', shape: SHORT_SHAPE };
  const name = shape ?? DEFAULT_SHAPE;
  if (!SHAPE_NAMES.some((known) => known === name))
    throw new UsageError(`--shape ${name}: there are ${SHAPE_NAMES.join(', ')}`);
  return { name, shape: namedShape(name).native };
}

/** @param {string | undefined} text @returns {WeightType[]} */
function chosenDtypes(text) {
  const names = text?.split(',') ?? DTYPES;
  return names.map((name) => {
    const dtype = DTYPES.find((known) => known === name.trim());
    if (dtype === undefined) throw new UsageError(`--dtype ${name}: there are ${DTYPES.join(', ')}`);
    return dtype;
  });
}

/** @param {string | undefined} text @returns {HeldIsa | undefined} */
function chosenIsa(text) {
  const isa = HELD_ISAS.find((known) => known === text);
  if (text !== undefined && isa === undefined)
    throw new UsageError(`--isa ${text}: there is ${HELD_ISAS.join(', ')}`);
  return isa;
}

/** @typedef {ModelFiles & { fileBytes: number, ggufStepBytes: Partial<Record<WeightType, number>> }} Files */

/**
 * Writes a model of random weights as a folder and as GGUF files, lets it be used, and removes it.
 *
 * @template T
 * @param {Shape} shape
 * @param {number | undefined} scale
 * @param {readonly WeightType[]} dtypes
 * @param {Progress} progress
 * @param {(files: Files) => Promise<T>} use
 * @returns {Promise<T>}
 */
function withFiles(shape, scale, dtypes, progress, use) {
  return withRandomModel(
    shape,
    async (folder, fileBytes) => {
      /** @type {Files} */
      const files = { folder, gguf: {}, fileBytes, ggufStepBytes: {} };
      for (const dtype of dtypes) {
        progress.show(`peers: writing a GGUF file of ${dtype} weights`);
        const path = join(folder, `${dtype}.gguf`);
        const written = await writeGgufModel(folder, path, dtype);
        await checkFile(path, written.fileBytes);
        files.gguf[dtype] = path;
        files.ggufStepBytes[dtype] = written.stepBytes;
      }
      return use(files);
    },
    scale === undefined ? {} : { scale },
  );
}

/**
 * Reads a file's header back: the last tensor ends where the file does.
 *
 * @param {string} path
 * @param {number} fileBytes
 */
async function checkFile(path, fileBytes) {
  const { tensors } = await readGgufHeader(path);
  const end = Math.max(...tensors.map(({ offset, bytes }) => offset + bytes));
  if (end > fileBytes || fileBytes - end >= 32)
    throw new Error(`${path} has ${fileBytes} bytes, its tensors end at ${end}`);
}

/**
 * Weights that one step of decoding reads; of an embedding apart from the LM head, only the rows of its tokens.
 *
 * @param {Started} started
 * @param {Files} files
 * @param {Shape} shape
 */
function stepBytes({ engine, dtype, facts }, files, { tieWordEmbeddings, vocabSize, hiddenSize }) {
  if (engine.model === 'gguf') return files.ggufStepBytes[dtype] ?? Number.NaN;
  const unreadShare = tieWordEmbeddings ? 0 : (2 * vocabSize * hiddenSize) / files.fileBytes;
  return Number(facts.weightBytes) * (1 - unreadShare);
}
