/**
 * generation_config.json: how the model's makers want tokens to be drawn and an answer to end.
 *
 * Taken over as defaults of a request: do_sample, temperature, top_k, top_p, min_p and repetition_penalty. As in
 * transformers, temperature counts only if do_sample is true, and without it decoding is greedy (temperature 0). A rule
 * that the file does not name is off: transformers' own default of top_k 50 is not taken over. Everything else in the
 * file (lengths, beams, penalties of other kinds) is ignored.
 *
 * An answer ends at every id that this file or config.json calls eos_token_id: the files often differ, and an end token
 * that is missed costs more than one too many, which no model writes inside an answer.
 */
import { Fields } from './fields.js';
import type { GenerationDefaults, ModelConfig, SamplingDefaults } from './types.js';

const NEUTRAL: SamplingDefaults = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };

/** Without a file: greedy, and the end tokens of config.json. */
export function defaultGeneration(config: ModelConfig): GenerationDefaults {
  return { eosTokenIds: config.eosTokenIds, sampling: NEUTRAL, given: [] };
}

/**
 * @param json The parsed file.
 * @param file Its path, for messages.
 */
export function parseGenerationConfig(json: unknown, file: string, config: ModelConfig): GenerationDefaults {
  const fields = new Fields(file, json);
  const ids = { min: 0, max: config.native.vocabSize - 1 };
  const sampling = { ...NEUTRAL };
  const given: (keyof SamplingDefaults)[] = [];
  const take = (name: keyof SamplingDefaults, value: number | undefined) => {
    if (value === undefined) return;
    sampling[name] = value;
    given.push(name);
  };

  const doSample = fields.boolean('do_sample', false);
  const temperature = fields.optionalNumber('temperature', { min: 0, max: 1e6 });
  if (doSample) take('temperature', temperature ?? 1);
  else if (fields.has('do_sample')) take('temperature', 0);
  take(
    'topK',
    fields.raw('top_k') === undefined ? undefined : fields.integer('top_k', { min: 0, max: 2 ** 31 - 1 }),
  );
  take('topP', fields.optionalNumber('top_p', { min: 0, max: 1 }));
  take('minP', fields.optionalNumber('min_p', { min: 0, max: 1 }));
  take('repetitionPenalty', fields.optionalNumber('repetition_penalty', { min: 1e-3, max: 1e3 }));
  const eosTokenIds = [...new Set([...fields.integers('eos_token_id', ids), ...config.eosTokenIds])];
  return { eosTokenIds, sampling, given };
}
