// Frequencies of published configurations equal those of transformers; formulas where no model of transformers goes.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Fields } from '#lib/model/fields.js';
import { readRope } from '#lib/model/rope-config.js';
import { ropeFrequencies } from '#lib/model/rope.js';
import { expectError } from '../errors.js';

interface RopeCase {
  name: string;
  config: Record<string, unknown> & { max_position_embeddings: number };
  headDim: number;
  attentionScaling: number;
  invFreq: number[];
}

const file = join(import.meta.dirname, '../../fixtures/rope.json');
const { cases } = JSON.parse(readFileSync(file, 'utf8')) as { cases: RopeCase[] };

/** transformers computes in float32; its ramp of YaRN loses a bit more. */
const RELATIVE = 4e-6;

function read(config: object, headDim = 64, maxPositions = 4096) {
  return readRope(new Fields('config.json', config), headDim, maxPositions);
}

describe('against transformers', () => {
  it.each(cases)('$name', ({ config, headDim, attentionScaling, invFreq }) => {
    const { parameters } = read(config, headDim, config.max_position_embeddings);
    const computed = ropeFrequencies(parameters);
    expect(computed.attentionFactor).toBeCloseTo(attentionScaling, 6);
    expect(computed.invFreq).toHaveLength(invFreq.length);
    for (const [i, expected] of invFreq.entries()) {
      expect(Math.abs((computed.invFreq[i] ?? Number.NaN) / expected - 1), `frequency ${i}`).toBeLessThan(
        RELATIVE,
      );
    }
  });

  it('is more precise than float32', () => {
    const { invFreq } = ropeFrequencies({ type: 'default', theta: 10_000, dim: 128 });
    expect(invFreq[1]).toBe(10_000 ** (-2 / 128));
  });
});

describe('precedence and defaults', () => {
  it('takes theta from the RoPE object, then from the top level, then 10000', () => {
    const theta = (config: object) => read(config).parameters.theta;
    expect(theta({ rope_theta: 7, rope_parameters: { rope_theta: 5 } })).toBe(5);
    expect(theta({ rope_theta: 7, rope_scaling: { type: 'linear', factor: 2 } })).toBe(7);
    expect(theta({})).toBe(10_000);
    expect(theta({ rope_theta: null, rope_scaling: null })).toBe(10_000);
  });

  it('prefers rope_scaling to rope_parameters, unless it is empty', () => {
    const parameters = { rope_type: 'linear', factor: 2, rope_theta: 5 };
    expect(
      read({ rope_scaling: { type: 'linear', factor: 3 }, rope_parameters: parameters }).parameters,
    ).toMatchObject({
      factor: 3,
      theta: 10_000,
    });
    expect(read({ rope_scaling: {}, rope_parameters: parameters }).parameters).toMatchObject({
      factor: 2,
      theta: 5,
    });
  });

  it('prefers rope_type to type', () => {
    const rope = { rope_type: 'linear', type: 'dynamic', factor: 2 };
    expect(read({ rope_scaling: rope }).parameters.type).toBe('linear');
  });

  it('rotates a part of each head', () => {
    expect(read({ partial_rotary_factor: 0.5 }).parameters.dim).toBe(32);
    expect(
      read({ rope_parameters: { partial_rotary_factor: 0.25, rope_type: 'default' } }).parameters.dim,
    ).toBe(16);
    const { invFreq } = ropeFrequencies(read({ partial_rotary_factor: 0.5 }).parameters);
    expect(invFreq).toHaveLength(16);
    expect(invFreq[1]).toBeCloseTo(10_000 ** (-2 / 32), 12);
  });

  it('takes the original length from the top level first, and the ratio of lengths where YaRN has no factor', () => {
    const rope = { rope_type: 'yarn', factor: null, original_max_position_embeddings: 1024 };
    expect(read({ rope_parameters: rope }).parameters).toMatchObject({
      factor: 4,
      originalMaxPositions: 1024,
    });
    const top = { rope_parameters: rope, original_max_position_embeddings: 2048 };
    expect(read(top).parameters).toMatchObject({ factor: 2, originalMaxPositions: 2048 });
  });

  it('says how many positions YaRN makes usable', () => {
    const rope = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 4096 };
    expect(read({ rope_parameters: rope }).maxPositions).toBe(16_384);
    expect(read({}).maxPositions).toBeUndefined();
  });

  it('keeps the attention factor at 1 where YaRN stretches nothing', () => {
    const rope = { rope_type: 'yarn', factor: 1, original_max_position_embeddings: 4096 };
    expect(ropeFrequencies(read({ rope_parameters: rope }).parameters).attentionFactor).toBe(1);
  });
});

describe('refused', () => {
  it.each(['dynamic', 'longrope', 'su', 'proportional', 'nonsense'])('type %s', async (type) => {
    const message = expect.stringMatching(`rope_scaling.type "${type}" is not supported`);
    await expectError(() => read({ rope_scaling: { type, factor: 2 } }), 'UNSUPPORTED', message);
  });

  it('a RoPE of its own for each layer type', async () => {
    const rope = { full_attention: { rope_type: 'default' }, sliding_attention: { rope_type: 'default' } };
    const message = expect.stringContaining('rope_parameters.full_attention');
    await expectError(() => read({ rope_parameters: rope }), 'UNSUPPORTED', message);
  });

  it.each([
    ['rope_theta', { rope_theta: 0 }],
    ['rope_theta', { rope_theta: 'ten' }],
    ['rope_scaling', { rope_scaling: 'linear' }],
    ['rope_scaling.type', { rope_scaling: { type: 3 } }],
    ['rope_scaling.factor', { rope_scaling: { type: 'linear' } }],
    ['rope_scaling.factor', { rope_scaling: { type: 'linear', factor: -1 } }],
    ['rope_scaling.low_freq_factor', { rope_scaling: { type: 'llama3', factor: 8 } }],
    [
      'rope_scaling.high_freq_factor',
      { rope_scaling: { type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 4 } },
    ],
    ['rope_scaling.beta_fast', { rope_scaling: { type: 'yarn', factor: 2, beta_fast: 1, beta_slow: 2 } }],
    ['rope_scaling.truncate', { rope_scaling: { type: 'yarn', factor: 2, truncate: 'no' } }],
    ['partial_rotary_factor', { partial_rotary_factor: 2 }],
    ['partial_rotary_factor', { partial_rotary_factor: 0.01 }],
    ['partial_rotary_factor', { partial_rotary_factor: 0.05 }],
  ])('a wrong %s', async (field, config) => {
    await expectError(
      () => read(config),
      'MODEL_FORMAT',
      expect.stringContaining(`config.json: ${field} is`),
    );
  });
});
