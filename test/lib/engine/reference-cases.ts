/** What `transformers` in float32 said on the models of test/fixtures, and how an engine's answer is held against it. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Engine, GenerationResult } from 'block-attention';
import { expect } from 'vitest';

export interface ReferenceCase {
  name: string;
  mode: 'block' | 'full' | 'prefix';
  blocks: number[][];
  query: number[];
  steps: { token: number; margin: number }[];
  /** Where the log-probabilities of the first step stand in the file, bytes. */
  logprobs: number;
  /** How far the reference itself moves when its keys and values are rounded to bf16, where it was measured. */
  bf16Kv?: number;
}

export interface ReferenceModel {
  model: string;
  /** The model's folder. */
  folder: string;
  vocab: number;
  cases: (ReferenceCase & { title: string })[];
  logprobs: Buffer;
}

const root = new URL('../../../', import.meta.url).pathname;
const casesFolder = `${root}test/fixtures/cases/`;

export const referenceModels: ReferenceModel[] = readdirSync(casesFolder)
  .filter((name) => name.endsWith('.json'))
  .map((file) => {
    const { model, vocab, cases } = JSON.parse(readFileSync(casesFolder + file, 'utf8')) as {
      model: string;
      vocab: number;
      cases: ReferenceCase[];
    };
    return {
      model,
      folder: model === 'tiny-rag' ? `${root}models/tiny-rag` : `${root}test/fixtures/models/${model}`,
      vocab,
      cases: cases.map((one) => ({ ...one, title: `${one.name} ${one.mode}` })),
      logprobs: readFileSync(casesFolder + file.replace('.json', '.bin')),
    };
  });

/** Tokens that answering computes when nothing is cached. */
export function tokensOf({ blocks, query, steps }: ReferenceCase): number {
  return blocks.flat().length + query.length + steps.length;
}

/**
 * Where activations, too, are rounded to 16 bits, but no weights. Of the random models that moves the log-probabilities up to
 * five times as far as rounding the keys and values alone, of the trained one 5.3 times (in its tail, at -20 nats).
 */
export function roundedTolerance({ bf16Kv }: ReferenceCase): number {
  return Math.max(0.05, 6 * (bf16Kv ?? 0));
}

/**
 * On a GPU weights of float32 are rounded to bf16 as well, and the reference has them as they are stored. One model has such
 * weights. With them rounded and all else in float32, on the CPU, its log-probabilities move by 0.024 to 0.038, depending on the
 * case; and keys and values made of them move those up to 1.6 times as far as `bf16Kv` says.
 */
export function gpuTolerance({ model }: ReferenceModel, expected: ReferenceCase): number {
  return roundedTolerance(expected) + (model === 'mistral-full' ? 0.04 : 0);
}

/** Every log-probability of every step within the tolerance, twice: the second time all blocks are hits, with the same bits. */
export async function expectReference(
  engine: Engine,
  { vocab, logprobs }: ReferenceModel,
  expected: ReferenceCase,
  tolerance: number,
): Promise<void> {
  const generate = () =>
    engine
      .generate({
        blocks: expected.blocks,
        query: expected.query,
        attention: expected.mode === 'full' ? 'full' : 'block',
        sharedPrefix: expected.mode === 'prefix',
        maxTokens: expected.steps.length,
        temperature: 0,
        repetitionPenalty: 1,
        logprobs: vocab,
      })
      .result();
  const result = await generate();
  expect(worstDifference(result, expected, vocab, logprobs, tolerance)).toBeLessThan(tolerance);

  const again = await generate();
  expect(again.usage.blocks.every(({ status }) => status === 'hit')).toBe(true);
  expect(again.tokens).toEqual(result.tokens);
  expect(again.topLogprobs).toEqual(result.topLogprobs);
}

/** The largest difference over the whole vocabulary, up to the first token that differs where the margin excuses it. */
function worstDifference(
  result: GenerationResult,
  expected: ReferenceCase,
  vocab: number,
  logprobs: Buffer,
  tolerance: number,
): number {
  let worst = 0;
  for (const [step, { token, margin }] of expected.steps.entries()) {
    const top = result.topLogprobs?.[step] ?? [];
    expect(top).toHaveLength(vocab);
    for (const { token: id, logprob } of top) {
      const wanted = logprobs.readFloatLE(expected.logprobs + 4 * (step * vocab + id));
      const difference = Math.abs(logprob - wanted);
      // A NaN must not pass for a small difference.
      if (!(difference <= worst)) worst = difference;
    }
    if (margin > 2 * tolerance) expect(result.tokens[step]).toBe(token);
    if (result.tokens[step] !== token) break;
  }
  return worst;
}
