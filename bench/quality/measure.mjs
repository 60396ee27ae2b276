// Answers of the reference, of the yardstick and of what is offered instead, over the same prompts.
import { Engine } from 'block-attention';
import { withTemporaryFolder } from '../common/random-model.mjs';
import { changesOf, divergenceOf, ratioOf } from './compare.mjs';
import { isRight } from './answers.mjs';
import { writeQ8Model } from './q8-model.mjs';

/** @import { GenerateRequest, LoadOptions } from 'block-attention' */
/** @import { Progress } from '../common/progress.mjs' */
/** @import { Answer, Changes, Divergence } from './compare.mjs' */

/**
 * @typedef {object} Prompt
 * @property {GenerateRequest} request
 * @property {readonly string[]} [answers] the right ones
 */

/**
 * Models that are looked at as one, each with its prompts.
 *
 * @typedef {object} Case
 * @property {string} name
 * @property {readonly { write: (folder: string) => Promise<string>, prompts: readonly Prompt[] }[]} models write: gives the
 *   folder of the model, which may be the empty one that it gets
 * @property {number} vocabSize
 */

/**
 * @typedef {object} Row
 * @property {string} variant
 * @property {Divergence} divergence
 * @property {number} ratio of the mean to the yardstick's
 * @property {number} ratioError one standard error of it
 * @property {Changes | undefined} changes undefined where nobody knows what is right
 */

/** @typedef {{ name: string, models: number, prompts: number, correct: number | undefined, rows: Row[] }} CaseResult */

export const YARDSTICK = 'Q8_0 weights';

/**
 * Products of bf16 are there where the CPU has them; elsewhere their rows repeat the ones before.
 *
 * @type {readonly { name: string, q8: boolean, options: LoadOptions }[]}
 */
const VARIANTS = [
  { name: YARDSTICK, q8: true, options: {} },
  { name: 'int8 weights', q8: false, options: { dtype: 'int8' } },
  { name: 'bf16 KV', q8: false, options: { kvDtype: 'bf16' } },
  { name: 'int8 KV', q8: false, options: { kvDtype: 'int8' } },
  { name: 'bf16 KV, bf16 products', q8: false, options: { kvDtype: 'bf16', arithmetic: 'auto' } },
  { name: 'int8 weights, bf16 KV', q8: false, options: { dtype: 'int8', kvDtype: 'bf16' } },
  {
    name: 'int8 weights, bf16 KV, bf16 products',
    q8: false,
    options: { dtype: 'int8', kvDtype: 'bf16', arithmetic: 'auto' },
  },
  { name: 'int8 weights, int8 KV', q8: false, options: { dtype: 'int8', kvDtype: 'int8' } },
];
/** How often a prompt is answered. */
export const PASSES = 1 + VARIANTS.length;

/** @type {LoadOptions} of the reference, and of what the variants do not say */
export const PRECISE = { device: 'cpu', arithmetic: 'f32', kvDtype: 'f32', cacheBytes: 128 << 20 };
/** Requests that are under way together, which changes no bit. */
const TOGETHER = 8;

/**
 * @param {Case} subject
 * @param {{ threads: number | undefined }} settings
 * @param {Progress} progress gets one for each answer
 * @returns {Promise<{ device: string, weightBytes: number, result: CaseResult }>}
 */
export async function measureCase({ name, models, vocabSize }, { threads }, progress) {
  /** @type {Answer[]} */
  const reference = [];
  const answers = VARIANTS.map(() => /** @type {Answer[]} */ ([]));
  let about = { device: '', weightBytes: 0 };
  for (const { write, prompts } of models) {
    await withTemporaryFolder(async (own) => {
      const stored = await write(own);
      const ask = (/** @type {string} */ folder, /** @type {LoadOptions} */ options) =>
        askAll(folder, { ...PRECISE, threads, ...options }, prompts, vocabSize, () => {
          progress.show(`quality: ${name}`);
          progress.add(1);
        });
      const first = await ask(stored, {});
      about = first;
      reference.push(...first.answers);
      await withTemporaryFolder(async (rounded) => {
        await writeQ8Model(stored, rounded);
        for (const [index, variant] of VARIANTS.entries()) {
          answers[index]?.push(...(await ask(variant.q8 ? rounded : stored, variant.options)).answers);
        }
      });
    });
  }
  const known = reference.every(({ right }) => right !== undefined);
  const yardstick = answers[0] ?? [];
  return {
    device: about.device,
    weightBytes: about.weightBytes,
    result: {
      name,
      models: models.length,
      prompts: reference.length,
      correct: known ? reference.filter(({ right }) => right).length : undefined,
      rows: VARIANTS.map((variant, index) => {
        const own = answers[index] ?? [];
        return {
          variant: variant.name,
          divergence: divergenceOf(reference, own),
          ...ratioOf(reference, yardstick, own),
          changes: known ? changesOf(reference, own) : undefined,
        };
      }),
    },
  };
}

/**
 * @param {string} folder
 * @param {LoadOptions} options
 * @param {readonly Prompt[]} prompts
 * @param {number} vocabSize
 * @param {() => void} onAnswer
 */
export async function askAll(folder, options, prompts, vocabSize, onAnswer) {
  const engine = await Engine.load(folder, options);
  try {
    /** @type {Answer[]} */
    const answers = [];
    for (let at = 0; at < prompts.length; at += TOGETHER) {
      const some = prompts.slice(at, at + TOGETHER);
      answers.push(...(await Promise.all(some.map((prompt) => ask(engine, prompt, vocabSize, onAnswer)))));
    }
    return { device: engine.device, weightBytes: engine.stats().weightBytes, answers };
  } finally {
    await engine.close();
  }
}

/**
 * @param {Engine} engine
 * @param {Prompt} prompt
 * @param {number} vocabSize
 * @param {() => void} onAnswer
 * @returns {Promise<Answer>}
 */
async function ask(engine, { request, answers }, vocabSize, onAnswer) {
  const result = await engine.generate({ ...request, temperature: 0, logprobs: vocabSize }).result();
  onAnswer();
  const first = result.topLogprobs?.[0] ?? [];
  if (first.length !== vocabSize) throw new RangeError(`${first.length} of ${vocabSize} log-probabilities`);
  const logprobs = new Float64Array(vocabSize);
  for (const { token, logprob } of first) logprobs[token] = logprob;
  return { logprobs, right: answers && isRight(result.text, answers) };
}
