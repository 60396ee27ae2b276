/**
 * The frequencies of rotary position embedding (RoPE, arXiv 2104.09864) and its static extensions, in float64.
 *
 * Pair i of a head is rotated by position x invFreq[i] radians; cos and sin are multiplied by the attention factor. The
 * formulas are those of transformers' modeling_rope_utils.py: linear interpolation (arXiv 2306.15595), the scheme of
 * Llama 3.1, and YaRN (arXiv 2309.00071, section 3.2 and 3.4).
 */

export interface RopeBase {
  /** Base of the frequencies. */
  theta: number;
  /** Dimensions of a head that are rotated: even. */
  dim: number;
}

export type RopeParameters =
  | ({ type: 'default' } & RopeBase)
  | ({ type: 'linear'; factor: number } & RopeBase)
  | ({ type: 'llama3' } & RopeBase & Llama3Rope)
  | ({ type: 'yarn' } & RopeBase & YarnRope);

export interface Llama3Rope {
  factor: number;
  lowFreqFactor: number;
  highFreqFactor: number;
  /** Positions that the model was pretrained on. */
  originalMaxPositions: number;
}

export interface YarnRope {
  factor: number;
  /** Positions that the model was pretrained on. */
  originalMaxPositions: number;
  /** Computed from factor and mscale if absent. */
  attentionFactor?: number | undefined;
  mscale?: number | undefined;
  mscaleAllDim?: number | undefined;
  /** Rotations within the original length from which a frequency is kept. */
  betaFast: number;
  /** Rotations below which it is divided by the factor. */
  betaSlow: number;
  /** Round the ends of the ramp between them to whole dimensions. */
  truncate: boolean;
}

export interface RopeFrequencies {
  /** dim / 2 values, radians per position. */
  invFreq: number[];
  attentionFactor: number;
}

export function ropeFrequencies(rope: RopeParameters): RopeFrequencies {
  const plain = Array.from({ length: rope.dim / 2 }, (_, i) => rope.theta ** ((-2 * i) / rope.dim));
  switch (rope.type) {
    case 'default':
      return { invFreq: plain, attentionFactor: 1 };
    case 'linear':
      return { invFreq: plain.map((frequency) => frequency / rope.factor), attentionFactor: 1 };
    case 'llama3':
      return { invFreq: plain.map((frequency) => llama3Frequency(frequency, rope)), attentionFactor: 1 };
    case 'yarn':
      return { invFreq: yarnFrequencies(plain, rope), attentionFactor: yarnAttentionFactor(rope) };
  }
}

/** Short wavelengths stay, long ones are divided by the factor, and those between are blended. */
function llama3Frequency(frequency: number, rope: Llama3Rope): number {
  const rotations = (rope.originalMaxPositions * frequency) / (2 * Math.PI);
  if (rotations < rope.lowFreqFactor) return frequency / rope.factor;
  if (rotations > rope.highFreqFactor) return frequency;
  const smooth = (rotations - rope.lowFreqFactor) / (rope.highFreqFactor - rope.lowFreqFactor);
  return (1 - smooth) * (frequency / rope.factor) + smooth * frequency;
}

function yarnFrequencies(plain: readonly number[], rope: RopeBase & YarnRope): number[] {
  // The (fractional) dimension whose frequency makes so many rotations within the original length.
  const dimensionOf = (rotations: number) =>
    (rope.dim * Math.log(rope.originalMaxPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(rope.theta));
  let first = dimensionOf(rope.betaFast);
  let last = dimensionOf(rope.betaSlow);
  if (rope.truncate) {
    first = Math.floor(first);
    last = Math.ceil(last);
  }
  first = Math.max(first, 0);
  last = Math.min(last, rope.dim - 1);
  // The same guard against an empty ramp as in transformers.
  const width = first === last ? 0.001 : last - first;
  return plain.map((frequency, i) => {
    const interpolated = Math.min(Math.max((i - first) / width, 0), 1);
    return (frequency / rope.factor) * interpolated + frequency * (1 - interpolated);
  });
}

function yarnAttentionFactor(rope: YarnRope): number {
  if (rope.attentionFactor !== undefined) return rope.attentionFactor;
  const scale = (weight: number) => (rope.factor <= 1 ? 1 : 0.1 * weight * Math.log(rope.factor) + 1);
  if (rope.mscale && rope.mscaleAllDim) return scale(rope.mscale) / scale(rope.mscaleAllDim);
  return scale(1);
}
