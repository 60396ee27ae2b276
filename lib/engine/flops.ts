/**
 * Closed formulas of floating-point operations; a multiply-add counts 2. All formulas of the package are here.
 *
 * Two counts are published. "paper" is that of Block-Attention (arXiv 2409.15355, section 3): 2 x (parameters without
 * the embedding, with the LM head) x tokens computed, attention left out. "executed" is what runs: the linear layers of
 * every row, attention over the keys that each row sees, and the LM head for the rows whose logits are drawn from; in
 * the last layer only those rows are computed beyond K and V. Norms, RoPE and other elementwise work are not counted.
 */
import type { ModelConfig } from '../model/types.js';
import type { NativeModelConfig } from '../native.js';

export interface FlopsPair {
  /** For this request, up to its first token. */
  request: number;
  /** For ordinary full attention over the same prompt, nothing cached. */
  full: number;
}

export interface Flops {
  paper: FlopsPair;
  executed: FlopsPair;
}

/** Rows of one sequence at consecutive positions, each seeing all positions up to its own (as far as windows allow). */
export interface RowRange {
  /** Position of the first row: how many keys stand before it. */
  begin: number;
  rows: number;
  /** Whether the last row's logits are wanted. */
  output: boolean;
}

/** Parameters without the embedding, with the LM head (also if it is the embedding's matrix). */
export function computedParameters(config: ModelConfig): number {
  const shape = config.native;
  const q = shape.numHeads * shape.headDim;
  const kv = shape.numKvHeads * shape.headDim;
  const matrices =
    shape.hiddenSize * (q + 2 * kv) + q * shape.hiddenSize + 3 * shape.hiddenSize * shape.intermediateSize;
  const qkvBias = config.attentionBias === 'none' ? 0 : q + 2 * kv;
  const oBias = config.attentionBias === 'qkvo' ? shape.hiddenSize : 0;
  const mlpBias = config.mlpBias ? 2 * shape.intermediateSize + shape.hiddenSize : 0;
  const norms = 2 * shape.hiddenSize + (shape.qkNorm ? 2 * shape.headDim : 0);
  const layer = matrices + qkvBias + oBias + mlpBias + norms;
  return shape.numLayers * layer + shape.hiddenSize + shape.vocabSize * shape.hiddenSize;
}

/** The paper's count for `tokens` computed tokens. */
export function paperFlops(config: ModelConfig, tokens: number): number {
  return 2 * computedParameters(config) * tokens;
}

/** What the native engine runs for these rows (the same formula as `Forward::sequence_flops`). */
export function executedFlops(shape: NativeModelConfig, range: RowRange): number {
  const { hiddenSize, headDim, numHeads, numKvHeads, intermediateSize } = shape;
  const qkv = 2 * hiddenSize * (numHeads + 2 * numKvHeads) * headDim;
  const rest = 2 * hiddenSize * numHeads * headDim + 6 * hiddenSize * intermediateSize;
  const pair = 4 * headDim * numHeads;
  const last = range.begin + range.rows - 1;

  let flops = 0;
  for (const [layer, window] of shape.windows.entries()) {
    flops += range.rows * qkv;
    if (layer < shape.numLayers - 1) {
      flops += range.rows * rest + pair * visiblePairs(range.begin, range.rows, window);
    } else if (range.output) {
      flops += rest + pair * visiblePairs(last, 1, window);
    }
  }
  return range.output ? flops + 2 * hiddenSize * shape.vocabSize : flops;
}

/** Pairs of a query and a key that it sees, for rows at positions begin .. begin + rows - 1; window 0: none. */
export function visiblePairs(begin: number, rows: number, window: number): number {
  // Position p sees p + 1 keys until the window is full, then `window` keys.
  const growing = window === 0 ? rows : Math.min(rows, Math.max(0, window - begin));
  return growing * begin + (growing * (growing + 1)) / 2 + (rows - growing) * window;
}

/** What encoding a block costs, behind the context that it sees. */
export function blockCost(
  shape: NativeModelConfig,
): (block: { encodeOffset: number; tokens: Int32Array }) => number {
  return ({ encodeOffset, tokens }) =>
    executedFlops(shape, { begin: encodeOffset, rows: tokens.length, output: false });
}
