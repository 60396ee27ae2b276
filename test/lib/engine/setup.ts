/** An engine over the stand-ins of this folder. */
import { Engine } from '#lib/engine/engine.js';
import type { ModelConfig } from '#lib/model/types.js';
import { type FakeOptions, FakeNative } from './fake-native.js';
import { FakeTokenizer } from './fake-tokenizer.js';

export const EOS = 256;

export const CONFIG: ModelConfig = {
  architecture: 'LlamaForCausalLM',
  native: {
    vocabSize: 512,
    hiddenSize: 8,
    intermediateSize: 16,
    numLayers: 2,
    numHeads: 2,
    numKvHeads: 1,
    headDim: 4,
    rmsNormEps: 1e-5,
    tieWordEmbeddings: true,
    qkNorm: false,
    windows: [0, 0],
    invFreq: [1, 0.1],
    ropeAttentionFactor: 1,
  },
  maxPositions: 200,
  dtype: 'bf16',
  attentionBias: 'none',
  mlpBias: false,
  eosTokenIds: [EOS],
  bosTokenId: undefined,
};

export interface SetUpOptions extends FakeOptions {
  tokenizer?: FakeTokenizer | undefined;
  config?: ModelConfig;
}

export function setUp(options: SetUpOptions = {}) {
  const { tokenizer, config = CONFIG, ...fake } = options;
  const events = { deliver: (_events: readonly unknown[]): void => undefined };
  const native = new FakeNative(fake, (batch) => events.deliver(batch));
  const engine = new Engine({
    native,
    events,
    config,
    defaults: {
      eosTokenIds: [EOS],
      sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 },
      given: [],
    },
    tokenizer,
  });
  return { engine, native };
}

/** An engine that answers every prompt with this text, one byte a token, and then ends. */
export function answering(text: string, options: SetUpOptions = {}) {
  return setUp({ tokenizer: new FakeTokenizer(), answer: () => [...Buffer.from(text), EOS], ...options });
}

/** Lets everything happen that can happen without a step. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}
