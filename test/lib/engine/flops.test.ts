import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { blockCost, computedParameters, executedFlops, paperFlops, visiblePairs } from '#lib/engine/flops.js';
import { namedShape } from '#lib/model/shapes.js';
import type { ModelConfig } from '#lib/model/types.js';
import { CONFIG } from './setup.js';

/** Multiply-adds of one matrix product, counted 2 each. */
const product = (rows: number, inner: number, columns: number) => 2 * rows * inner * columns;

/** The definition, row by row and layer by layer. */
function counted(config: ModelConfig, begin: number, rows: number, output: boolean): number {
  const shape = config.native;
  const q = shape.numHeads * shape.headDim;
  const kv = shape.numKvHeads * shape.headDim;
  let flops = 0;
  for (let layer = 0; layer < shape.numLayers; layer++) {
    for (let row = 0; row < rows; row++) {
      flops += product(1, shape.hiddenSize, q) + 2 * product(1, shape.hiddenSize, kv);
      if (layer === shape.numLayers - 1 && !(output && row === rows - 1)) continue;
      const position = begin + row;
      const window = shape.windows[layer] ?? 0;
      let keys = 0;
      for (let key = 0; key <= position; key++) if (window === 0 || position - key < window) keys += 1;
      flops += shape.numHeads * (product(1, shape.headDim, keys) + product(1, keys, shape.headDim));
      flops += product(1, q, shape.hiddenSize);
      flops += 2 * product(1, shape.hiddenSize, shape.intermediateSize);
      flops += product(1, shape.intermediateSize, shape.hiddenSize);
    }
  }
  return output ? flops + product(1, shape.hiddenSize, shape.vocabSize) : flops;
}

function withWindows(windows: number[]): ModelConfig {
  return { ...CONFIG, native: { ...CONFIG.native, numLayers: windows.length, windows } };
}

describe('floating-point operations', () => {
  it('counts what runs: the closed formula equals counting row by row', () => {
    const windows = fc.array(fc.constantFrom(0, 1, 3, 8), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(
        windows,
        fc.nat(20),
        fc.integer({ min: 1, max: 20 }),
        fc.boolean(),
        (list, begin, rows, output) => {
          const config = withWindows(list);
          expect(executedFlops(config.native, { begin, rows, output })).toBe(
            counted(config, begin, rows, output),
          );
        },
      ),
    );
  });

  it('does not depend on how a prompt is cut, if every piece sees what is before it', () => {
    const { native } = withWindows([0, 5, 0]);
    const whole = executedFlops(native, { begin: 0, rows: 30, output: true });
    const pieces =
      blockCost(native)({ encodeOffset: 0, tokens: new Int32Array(7) }) +
      blockCost(native)({ encodeOffset: 7, tokens: new Int32Array(13) }) +
      executedFlops(native, { begin: 20, rows: 10, output: true });
    expect(pieces).toBe(whole);
  });

  it('counts pairs with and without a window', () => {
    expect(visiblePairs(0, 4, 0)).toBe(10);
    expect(visiblePairs(3, 1, 0)).toBe(4);
    expect(visiblePairs(0, 4, 2)).toBe(1 + 2 + 2 + 2);
    expect(visiblePairs(9, 2, 3)).toBe(6);
  });

  it('knows the parameters of published models', () => {
    // From the models' cards: 8,030,261,248 and 1,235,814,400 parameters in all, 151,936 x 4096 embedded twice in Qwen3-8B.
    const llama = namedShape('llama-3.1-8b');
    expect(computedParameters(llama)).toBe(8_030_261_248 - 128_256 * 4096);
    expect(computedParameters(namedShape('llama-3.2-1b'))).toBe(1_235_814_400);
    expect(computedParameters(namedShape('qwen3-8b'))).toBe(8_190_735_360 - 151_936 * 4096);
  });

  it('adds biases', () => {
    const none = computedParameters(CONFIG);
    expect(computedParameters({ ...CONFIG, attentionBias: 'qkv' })).toBe(none + 2 * (8 + 2 * 4));
    expect(computedParameters({ ...CONFIG, attentionBias: 'qkvo' })).toBe(none + 2 * (8 + 2 * 4 + 8));
    expect(computedParameters({ ...CONFIG, mlpBias: true })).toBe(none + 2 * (2 * 16 + 8));
  });

  it("gives the paper's figures (arXiv 2409.15355, FLOPs-TFT, Llama-3 8B)", () => {
    const llama = namedShape('llama-3.1-8b');
    expect(paperFlops(llama, 50)).toBeCloseTo(7.5e11, -10);
    expect(paperFlops(llama, 32_768) / 4.9e14).toBeCloseTo(1, 2);
    // With causal attention counted: 7.73e14 full, 1.61e12 for 50 tokens behind 32K.
    const full = executedFlops(llama.native, { begin: 0, rows: 32_768, output: true });
    const block = executedFlops(llama.native, { begin: 32_718, rows: 50, output: true });
    // What the engine spares: the last layer's rest and the LM head for all rows but one.
    const spared =
      32_767 * (2 * 4096 * (4096 + 3 * 14_336 + 128_256)) + 4 * 4096 * visiblePairs(0, 32_767, 0);
    expect((full + spared) / 7.73e14).toBeCloseTo(1, 2);
    expect(1 - block / full).toBeCloseTo(0.9979, 3);
  });
});
