// What the step of a final block has to do at the very least, op by op, from closed formulas: the bytes that come from memory
// or go there, and floating-point operations (a multiply-add counts 2). Activations are taken to stay in the caches, and
// weights not to, which is so for all but the smallest models.
import { visiblePairs } from '#lib/engine/flops.js';

/** @import { NativeModelConfig } from '#lib/native.js' */
/** @import { Limits, Product } from '../kernels/limits.mjs' */

/**
 * Calls of one size.
 *
 * @typedef {object} Work
 * @property {number} calls
 * @property {number} bytes of each
 * @property {number} flops of each
 * @property {Product} product what they multiply
 * @property {number} [exponentials] of float32, of each
 * @property {number} [besides] operations of float32 beside the products, of each
 */

/** Operations per value, as in bench/native/ops_bench.cpp. */
const RMS_NORM = 4;
const ADD_RMS_NORM = 5;
const SWIGLU = 5;
const ROPE_STORE = 3;

/**
 * Of an exponential, as few as a polynomial good enough for weights in bf16 has: four multiply-adds. They go through the same
 * multipliers as products of vectors, so their times add up; what else a softmax takes may find other units idle.
 */
const EXPONENTIAL = 8;

/**
 * Of an op that is not in it, nothing is counted: gathering, planning and sampling move what is in the caches.
 *
 * @param {NativeModelConfig} shape
 * @param {object} step
 * @param {number} step.begin tokens of the blocks in front
 * @param {number} step.rows tokens of the final block
 * @param {number} step.weightBytes of one element of a matrix, scales included
 * @param {number} step.kvBytes of one element of a key or value
 * @param {Product} step.weightProduct what linear layers multiply
 * @param {Product} step.kvProduct what attention multiplies
 * @returns {Record<string, Work[]>}
 */
export function finalStepWork(shape, { begin, rows, weightBytes, kvBytes, weightProduct, kvProduct }) {
  const { hiddenSize, intermediateSize, vocabSize, numHeads, numKvHeads, headDim, numLayers } = shape;
  const q = numHeads * headDim;
  const kv = numKvHeads * headDim;

  /**
   * Beyond the keys, the last layer computes one row alone.
   *
   * @param {(rows: number) => Omit<Work, 'calls'>} call
   * @returns {Work[]}
   */
  const exceptLast = (call) => [
    { calls: numLayers - 1, ...call(rows) },
    { calls: 1, ...call(1) },
  ];
  /** @param {number} inputs @param {number} outputs */
  const linear = (inputs, outputs) => (/** @type {number} */ count) => ({
    bytes: inputs * outputs * weightBytes,
    flops: 2 * count * inputs * outputs,
    product: weightProduct,
  });
  /** @param {number} perValue @param {number} values of a row */
  const elementwise = (perValue, values) => (/** @type {number} */ count) => ({
    bytes: 0,
    flops: perValue * count * values,
    product: /** @type {const} */ ('f32'),
  });

  return {
    embedding: [{ calls: 1, bytes: rows * hiddenSize * weightBytes, flops: 0, product: 'f32' }],
    rms_norm: [{ calls: 1, ...elementwise(RMS_NORM, hiddenSize)(rows) }],
    add_rms_norm: [
      { calls: 2 * numLayers - 2, ...elementwise(ADD_RMS_NORM, hiddenSize)(rows) },
      { calls: 2, ...elementwise(ADD_RMS_NORM, hiddenSize)(1) },
    ],
    qkv: [{ calls: numLayers, ...linear(hiddenSize, q + 2 * kv)(rows) }],
    rope_store: [
      { calls: numLayers, bytes: 2 * rows * kv * kvBytes, flops: ROPE_STORE * rows * kv, product: 'f32' },
    ],
    attention: shape.windows.map((window, layer) => {
      const count = layer === numLayers - 1 ? 1 : rows;
      const first = begin + rows - count;
      return {
        calls: 1,
        bytes: 2 * keysBefore(begin, first, window) * kv * kvBytes,
        flops: 4 * q * visiblePairs(first, count, window),
        product: kvProduct,
        exponentials: numHeads * visiblePairs(first, count, window),
      };
    }),
    o: exceptLast(linear(q, hiddenSize)),
    gate_up: exceptLast((count) => ({
      ...linear(hiddenSize, 2 * intermediateSize)(count),
      besides: SWIGLU * count * intermediateSize,
    })),
    down: exceptLast(linear(intermediateSize, hiddenSize)),
    lm_head: [{ calls: 1, ...linear(hiddenSize, vocabSize)(1) }],
  };
}

/**
 * Of the keys at positions below `end`, those that a query at `first` or behind it sees.
 *
 * @param {number} end
 * @param {number} first
 * @param {number} window 0: none
 */
function keysBefore(end, first, window) {
  return window === 0 ? end : Math.min(end, Math.max(0, end - (first - window + 1)));
}

/**
 * How long it takes at the limits of the machine: of each call either the bytes or the operations, whichever takes longer.
 * Products of tiles leave the vectors' multipliers to what is beside them, so of those two, too, the longer.
 *
 * @param {readonly Work[]} work
 * @param {Limits} limits
 * @returns {number} ms
 */
export function floorOf(work, { readGBs, gflops, tiles = [] }) {
  return work.reduce((sum, { calls, bytes, flops, product, exponentials = 0, besides = 0 }) => {
    const products = flops / gflops[product];
    const vectors = (EXPONENTIAL * exponentials + besides) / gflops.f32;
    const operations = tiles.includes(product) ? Math.max(products, vectors) : products + vectors;
    return sum + calls * Math.max(bytes / readGBs, operations) * 1e-6;
  }, 0);
}
