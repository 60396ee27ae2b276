/**
 * The RoPE part of config.json. transformers 5 writes `rope_parameters` with theta and type inside; 4 wrote `rope_theta`
 * and `rope_scaling`, whose type is `rope_type` or, before that, `type`. Where both are given, the order of precedence
 * is that of transformers 5.
 */
import type { Fields, Range } from './fields.js';
import type { Llama3Rope, RopeParameters, YarnRope } from './rope.js';

const DEFAULT_THETA = 10_000;
const POSITIONS: Range = { min: 1, max: 2 ** 31 - 1 };
const THETA: Range = { min: 1 + 1e-6, max: 1e18 };
const FACTOR: Range = { min: 1e-3, max: 1e6 };
const WEIGHT: Range = { min: 0, max: 1e6 };

/** Scalings whose frequencies depend on the length of the prompt: a cached key would have to change with it. */
const LENGTH_DEPENDENT = ['dynamic', 'longrope', 'su'];

export interface RopeConfig {
  parameters: RopeParameters;
  /** Positions that the scaling makes usable, if it says so. */
  maxPositions: number | undefined;
}

export function readRope(config: Fields, headDim: number, maxPositions: number): RopeConfig {
  const name = hasEntries(config, 'rope_scaling') ? 'rope_scaling' : 'rope_parameters';
  const rope = config.object(name);
  const base = {
    theta: readFirst([rope, config], 'rope_theta', THETA) ?? DEFAULT_THETA,
    dim: rotaryDim(config, rope, headDim),
  };
  if (rope === undefined) return { parameters: { type: 'default', ...base }, maxPositions: undefined };
  const typeField = rope.raw('rope_type') === undefined ? 'type' : 'rope_type';
  const type = rope.string(typeField) ?? 'default';
  for (const field of rope.names()) {
    if (field.endsWith('_attention')) throw rope.unsupported(field, 'all layers must have the same RoPE.');
  }
  switch (type) {
    case 'default':
      return { parameters: { type, ...base }, maxPositions: undefined };
    case 'linear':
      return {
        parameters: { type, factor: rope.number('factor', FACTOR), ...base },
        maxPositions: undefined,
      };
    case 'llama3':
      return {
        parameters: { type, ...base, ...readLlama3(config, rope, maxPositions) },
        maxPositions: undefined,
      };
    case 'yarn': {
      const yarn = readYarn(config, rope, maxPositions);
      return {
        parameters: { type, ...base, ...yarn },
        // Such files often still carry the pretrained length in max_position_embeddings.
        maxPositions: Math.floor(yarn.factor * yarn.originalMaxPositions),
      };
    }
    default:
      throw rope.unsupported(
        typeField,
        LENGTH_DEPENDENT.includes(type)
          ? 'its frequencies change with the length of the prompt, so cached blocks could not be reused. ' +
              'Use a checkpoint with default, linear, llama3 or yarn.'
          : 'supported are default, linear, llama3 and yarn.',
      );
  }
}

function readLlama3(config: Fields, rope: Fields, maxPositions: number): Llama3Rope {
  const low = rope.number('low_freq_factor', FACTOR);
  const high = rope.number('high_freq_factor', FACTOR);
  if (high <= low) throw rope.wrong('high_freq_factor', `more than low_freq_factor (${low})`);
  return {
    factor: rope.number('factor', FACTOR),
    lowFreqFactor: low,
    highFreqFactor: high,
    originalMaxPositions: originalMaxPositions(config, rope, maxPositions),
  };
}

function readYarn(config: Fields, rope: Fields, maxPositions: number): YarnRope {
  const original = originalMaxPositions(config, rope, maxPositions);
  // 0 counts as absent for these, as in transformers.
  const positive = (name: string) => rope.optionalNumber(name, WEIGHT) || undefined;
  const yarn = {
    factor: rope.number('factor', FACTOR, maxPositions / original),
    originalMaxPositions: original,
    attentionFactor: rope.optionalNumber('attention_factor', WEIGHT),
    mscale: positive('mscale'),
    mscaleAllDim: positive('mscale_all_dim'),
    betaFast: positive('beta_fast') ?? 32,
    betaSlow: positive('beta_slow') ?? 1,
    truncate: rope.boolean('truncate', true),
  };
  if (yarn.betaFast < yarn.betaSlow) throw rope.wrong('beta_fast', `at least beta_slow (${yarn.betaSlow})`);
  return yarn;
}

/** The top level wins over the RoPE object, and the model's whole length is the default: as in transformers 5. */
function originalMaxPositions(config: Fields, rope: Fields, maxPositions: number): number {
  return readFirst([config, rope], 'original_max_position_embeddings', POSITIONS) ?? maxPositions;
}

function rotaryDim(config: Fields, rope: Fields | undefined, headDim: number): number {
  const name = 'partial_rotary_factor';
  const share: Range = { min: 0, max: 1 };
  const dim = Math.trunc(headDim * (readFirst([rope, config], name, share) ?? 1));
  if (dim < 2 || dim % 2 !== 0) {
    const source = config.raw(name) === undefined && rope !== undefined ? rope : config;
    throw source.wrong(name, `a share of head_dim (${headDim}) that gives an even number of dimensions`);
  }
  return dim;
}

function readFirst(sources: readonly (Fields | undefined)[], name: string, range: Range): number | undefined {
  for (const source of sources) {
    const value = source?.optionalNumber(name, range);
    if (value !== undefined) return value;
  }
  return undefined;
}

function hasEntries(config: Fields, name: string): boolean {
  const object = config.object(name);
  return object !== undefined && !object.names().next().done;
}
