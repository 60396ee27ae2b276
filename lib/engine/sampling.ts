/** Sampling options of a request, checked and completed with the model's own defaults. */
import { BlockAttentionError } from '../errors.js';
import type { SamplingDefaults } from '../model/types.js';
import type { NativeSampling } from '../native.js';
import { checkFields, checkInteger, checkNumber, type Fields, invalid, optional } from './checks.js';

/**
 * How tokens are drawn. temperature, topK, topP, minP and repetitionPenalty default to what the model's
 * generation_config.json says (Qwen's ships a temperature and a repetition penalty; with "do_sample": false the answer is
 * greedy), and to neutral values if it says nothing; the rest defaults to neutral values. The rules apply in this order:
 * logitBias, penalties, temperature, topK, topP, minP.
 */
export interface SamplingOptions {
  /** 0: greedy, always the likeliest token. */
  temperature?: number | undefined;
  /** Draw from the k likeliest tokens; 0: all. */
  topK?: number | undefined;
  /** Draw from the smallest set of tokens that holds at least this much probability; 1: all. */
  topP?: number | undefined;
  /** Draw from tokens with at least this share of the likeliest token's probability; 0: all. */
  minP?: number | undefined;
  /** Equal seeds give equal answers. Random unless given; an integer from 0 to 2^53 - 1. */
  seed?: number | undefined;
  /** Divides (multiplies, if negative) the logits of tokens of the prompt and the answer (Keskar et al. 2019); 1: off. */
  repetitionPenalty?: number | undefined;
  /** Subtracted from the logits of tokens that the answer holds; 0: off. */
  presencePenalty?: number | undefined;
  /** Subtracted for each time that the answer holds the token; 0: off. */
  frequencyPenalty?: number | undefined;
  /** Added to the logits of these token ids. */
  logitBias?: Readonly<Record<number, number>> | undefined;
  /**
   * Report log-probabilities of the raw distribution, before temperature and penalties: those of the drawn tokens, and
   * for each position the n likeliest tokens. true: 1; false: none, the default.
   */
  logprobs?: number | boolean | undefined;
}

export const SAMPLING_FIELDS = [
  'temperature',
  'topK',
  'topP',
  'minP',
  'seed',
  'repetitionPenalty',
  'presencePenalty',
  'frequencyPenalty',
  'logitBias',
  'logprobs',
] as const satisfies readonly (keyof SamplingOptions)[];

const SHARE = { min: 0, max: 1 };
const PENALTY = { min: -1e6, max: 1e6 };
const MAX_INT32 = 2 ** 31 - 1;

export function checkSampling(fields: Fields, defaults: SamplingDefaults, vocabSize: number): NativeSampling {
  const number = (name: keyof SamplingOptions, otherwise: number, range: { min: number; max: number }) =>
    optional(fields[name], otherwise, (value) => checkNumber(value, name, range));
  return {
    temperature: number('temperature', defaults.temperature, { min: 0, max: 1e6 }),
    topK: optional(fields.topK, defaults.topK, (value) =>
      checkInteger(value, 'topK', { min: 0, max: MAX_INT32 }),
    ),
    topP: number('topP', defaults.topP, SHARE),
    minP: number('minP', defaults.minP, SHARE),
    repetitionPenalty: number('repetitionPenalty', defaults.repetitionPenalty, { min: 1e-6, max: 1e6 }),
    presencePenalty: number('presencePenalty', 0, PENALTY),
    frequencyPenalty: number('frequencyPenalty', 0, PENALTY),
    seed:
      fields.seed === undefined
        ? Math.floor(Math.random() * 2 ** 53)
        : checkInteger(fields.seed, 'seed', { min: 0, max: Number.MAX_SAFE_INTEGER }),
    topLogprobs: optional(fields.logprobs, -1, (value) => checkLogprobs(value, vocabSize)),
    logitBias: optional(fields.logitBias, [], (value) => checkLogitBias(value, vocabSize)),
  };
}

function checkLogprobs(value: unknown, vocabSize: number): number {
  if (typeof value === 'boolean') return value ? 1 : -1;
  return checkInteger(value, 'logprobs', { min: 0, max: vocabSize });
}

function checkLogitBias(value: unknown, vocabSize: number): [token: number, bias: number][] {
  if (typeof value !== 'object' || value === null)
    throw invalid('logitBias', 'an object of token ids and numbers', value);
  return Object.entries(checkFields(value, 'logitBias', Object.keys(value))).map(([id, bias]) => {
    const token = Number(id);
    if (!Number.isInteger(token)) throw invalid('logitBias', 'keyed by token ids', id);
    checkToken(token, 'logitBias', vocabSize);
    return [token, checkNumber(bias, `logitBias[${id}]`, PENALTY)];
  });
}

/** A token id of the model's vocabulary. */
export function checkToken(value: unknown, field: string, vocabSize: number): number {
  if (!Number.isInteger(value)) throw invalid(field, 'an integer token id', value);
  const token = value as number;
  if (token < 0 || token >= vocabSize) {
    throw new BlockAttentionError(
      'TOKEN_OUT_OF_RANGE',
      `${field} is token ${token}, but the model's vocabulary has ids from 0 to ${vocabSize - 1}`,
    );
  }
  return token;
}
