// `quality`: what int8 weights, and keys and values in bf16 and int8, do to the first token and to answers, beside plain
// Q8_0 rounding of the same weights; of the shipped model, and of random models with outliers.
import { readFileSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadModelFolder } from '#lib/model/folder.js';
import { UsageError, wholeNumber } from '../common/arguments.mjs';
import { randomTokens } from '../common/prompts.mjs';
import { randomOf } from '../common/random.mjs';
import { measureCase, PASSES } from './measure.mjs';
import { OUTLIERS, SHAPE, writeOutlierModel } from './outlier-model.mjs';
import { qualityTables } from './tables.mjs';

/** @import { Benchmark } from '../common/benchmark.mjs' */
/** @import { Settings } from '../common/arguments.mjs' */
/** @import { Subject } from '../common/subject.mjs' */
/** @import { Case, CaseResult, Prompt } from './measure.mjs' */

/** @param {string} path from here */
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const SHIPPED_MODEL = here('../../models/tiny-rag');
const QUESTIONS = here('questions.jsonl');
const ANSWER_TOKENS = 24;

const RANDOM_MODELS = 4;
const RANDOM_PROMPTS = 16;
const RANDOM_BLOCKS = 3;
const RANDOM_BLOCK_TOKENS = 40;
const RANDOM_QUERY_TOKENS = 16;

/** @type {Benchmark} */
export const quality = {
  summary: 'what int8 does to the first token and to answers, beside Q8_0',
  options: {
    questions: {
      type: 'string',
      help: 'FILE: questions for the model, JSON lines of question, documents, answers; those of the shipped model unless said',
    },
    limit: { type: 'string', help: 'N: only the first N questions' },
  },
  async run({ settings, own, progress }) {
    checkSettings(settings);
    const limit = own.limit === undefined ? undefined : wholeNumber(own.limit, 'limit');
    const cases = [
      await questionCase(settings, own.questions ?? QUESTIONS, limit ?? (settings.short ? 8 : undefined)),
      ...outlierCases(settings),
    ];
    const { threads } = settings;
    const prompts = cases.flatMap(({ models }) => models.flatMap((model) => model.prompts));
    progress.begin(PASSES * prompts.length);
    /** @type {CaseResult[]} */
    const results = [];
    /** @type {{ subject?: Subject }} */
    const measured = {};
    for (const one of cases) {
      const { result, ...about } = await measureCase(one, { threads }, progress);
      measured.subject ??= { model: one.name, randomWeights: false, ...about };
      results.push(result);
    }
    return { ...measured, results: { cases: results } };
  },
  tables: qualityTables,
  untimed: true,
};

/** @param {Settings} settings */
function checkSettings({ shape, randomWeights, device, dtype, kvDtype }) {
  if (shape !== undefined || randomWeights !== undefined) {
    throw new UsageError('quality takes no --shape or --random-weights: it has random models of its own');
  }
  if (dtype !== undefined || kvDtype !== undefined) {
    throw new UsageError('quality takes no --dtype or --kv-dtype: it compares all of them');
  }
  if (device !== 'auto' && device !== 'cpu') {
    throw new UsageError(`--device ${device}: int8 is on the CPU only`);
  }
}

/**
 * @param {Settings} settings
 * @param {string} file
 * @param {number | undefined} limit
 * @returns {Promise<Case>}
 */
async function questionCase({ model }, file, limit) {
  const folder = model ?? SHIPPED_MODEL;
  const { config } = await loadModelFolder(folder);
  return {
    name: basename(resolve(folder)),
    vocabSize: config.native.vocabSize,
    models: [{ write: async () => folder, prompts: readQuestions(file).slice(0, limit) }],
  };
}

/** @param {string} file @returns {Prompt[]} */
export function readQuestions(file) {
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  return lines.map((line) => {
    const { question, documents, answers } = JSON.parse(line);
    return { request: { documents, query: question, maxTokens: ANSWER_TOKENS }, answers };
  });
}

/** @param {Settings} settings @returns {Case[]} */
function outlierCases({ seed, short }) {
  const kinds = [...OUTLIERS].slice(0, short ? 1 : undefined);
  return kinds.map(([name, outliers], kind) => ({
    name: `random, ${name}`,
    vocabSize: SHAPE.vocabSize,
    models: Array.from({ length: short ? 1 : RANDOM_MODELS }, (_, index) => {
      const random = randomOf(seed + 1000 * kind + index);
      const tokens = (/** @type {number} */ length) => randomTokens(length, SHAPE.vocabSize, random);
      return {
        write: async (folder) => {
          await writeOutlierModel(folder, outliers, seed + 1000 * kind + index);
          return folder;
        },
        prompts: Array.from({ length: short ? 4 : RANDOM_PROMPTS }, () => ({
          request: {
            blocks: Array.from({ length: RANDOM_BLOCKS }, () => tokens(RANDOM_BLOCK_TOKENS)),
            query: tokens(RANDOM_QUERY_TOKENS),
            maxTokens: 1,
            ignoreEos: true,
          },
        })),
      };
    }),
  }));
}
