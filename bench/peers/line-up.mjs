// Starts the contenders, sees that they compute the same model, and opens the model that is measured.
import { LEAST_SHARE, compareTokens, firstTokens } from './agreement.mjs';
import { OURS } from './contenders.mjs';

/** @import { Progress } from '../common/progress.mjs' */
/** @import { Agreement, FirstToken } from './agreement.mjs' */
/** @import { Contender } from './contender.mjs' */
/** @import { EngineSpec } from './contenders.mjs' */
/** @import { WeightType } from './gguf-model.mjs' */
/** @import { HeldIsa } from './held.mjs' */
/** @import { Entry } from './measure.mjs' */
/** @import { OpenOptions } from './serve.mjs' */

/** Of the reason why a contender is left out, which is printed below a table. */
const REASON_CHARACTERS = 300;

/**
 * A model in every form that an engine may want.
 *
 * @typedef {object} ModelFiles
 * @property {string} folder
 * @property {Partial<Record<WeightType, string>>} gguf
 */

/** @typedef {Entry & { engine: EngineSpec, dtype: WeightType, facts: Record<string, unknown>, agreement: Agreement }} Started */

/**
 * @param {object} plan
 * @param {readonly EngineSpec[]} plan.engines
 * @param {readonly WeightType[]} plan.dtypes
 * @param {ModelFiles} plan.small for the comparison of tokens
 * @param {ModelFiles} plan.model
 * @param {number} plan.threads
 * @param {number} plan.positions
 * @param {HeldIsa | undefined} plan.isa that all are held to
 * @param {readonly number[]} plan.prompt by which the fastest of several settings is found
 * @param {Progress} progress
 * @returns {Promise<{ started: Started[], leftOut: { name: string, reason: string }[] }>} started: with the model open
 */
export async function lineUp({ engines, dtypes, small, model, threads, positions, isa, prompt }, progress) {
  /** @type {Started[]} */
  const started = [];
  /** @type {{ name: string, reason: string }[]} */
  const leftOut = [];
  /** @param {string} name @param {unknown} error */
  const leaveOut = (name, error) => {
    const message = error instanceof Error ? error.message : String(error);
    const reason = message
      .trim()
      .replace(/\s*\n\s*/g, '; ')
      .slice(0, REASON_CHARACTERS);
    process.stderr.write(`[peers] left out: ${name}: ${reason}\n`);
    leftOut.push({ name, reason });
  };

  const reference = await referenceTokens(small, threads, isa);
  for (const engine of engines) {
    try {
      await engine.prepare(isa);
    } catch (error) {
      leaveOut(engine.name, error);
      continue;
    }
    for (const dtype of dtypes) {
      const weights = engine.weights[dtype];
      if (weights === undefined) continue;
      const key = `${engine.name} ${weights}`;
      progress.show(`peers: starting ${key}`);
      const contender = engine.start(isa);
      try {
        /** @param {ModelFiles} files @returns {OpenOptions} */
        const options = ({ folder, gguf }) => ({
          model: (engine.model === 'gguf' ? gguf[dtype] : folder) ?? '',
          dtype,
          threads,
          positions,
        });
        await contender.ask({ do: 'open', options: options(small) });
        const agreement = compareTokens(key, reference, await firstTokens(contender));
        await contender.ask({ do: 'close' });
        if (agreement.sameTokens < LEAST_SHARE * agreement.prompts) {
          throw new Error(
            `${agreement.sameTokens} of ${agreement.prompts} answers of a small model begin with the token of ${OURS.name}: this is not the same model`,
          );
        }
        const opened = await openFastest(contender, options(model), engine.settings, prompt);
        started.push({
          key,
          contender,
          engine,
          dtype,
          agreement,
          severalStreams: engine.severalStreams,
          ...opened,
        });
      } catch (error) {
        await contender.end();
        leaveOut(key, error);
      }
    }
  }
  return { started, leftOut };
}

/**
 * @param {ModelFiles} small
 * @param {number} threads
 * @param {HeldIsa | undefined} isa
 * @returns {Promise<FirstToken[]>} of block-attention with bf16 weights
 */
async function referenceTokens({ folder }, threads, isa) {
  const contender = OURS.start(isa);
  try {
    const options = { model: folder, dtype: /** @type {const} */ ('bf16'), threads, positions: 256 };
    await contender.ask({ do: 'open', options });
    return await firstTokens(contender);
  } finally {
    await contender.end();
  }
}

/**
 * Opens the model with that one of the settings that is fastest to the first token.
 *
 * @param {Contender} contender
 * @param {OpenOptions} options
 * @param {readonly Partial<OpenOptions>[]} settings
 * @param {readonly number[]} prompt
 * @returns {Promise<{ options: OpenOptions, facts: Record<string, unknown> }>} facts: the contender's, and what was tried
 */
async function openFastest(contender, options, settings, prompt) {
  const [only] = settings;
  if (settings.length === 1) return open(contender, { ...options, ...only });
  const tried = [];
  for (const setting of settings) {
    await contender.ask({ do: 'open', options: { ...options, ...setting } });
    const request = { do: /** @type {const} */ ('ttft'), prompt: [...prompt] };
    // The first one warms up.
    await contender.ask(request);
    const { ms } = await contender.ask(request);
    await contender.ask({ do: 'close' });
    tried.push({ setting, ms });
  }
  const [fastest] = tried.toSorted((a, b) => a.ms - b.ms);
  const opened = await open(contender, { ...options, ...fastest?.setting });
  return { ...opened, facts: { ...opened.facts, tried } };
}

/**
 * @param {Contender} contender
 * @param {OpenOptions} options
 */
async function open(contender, options) {
  const { facts } = await contender.ask({ do: 'open', options });
  return { options, facts };
}
