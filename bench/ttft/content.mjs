// What prompts are made of: token ids of an exact number, or text of about as many tokens, so that tokenising counts.
import { randomTokens } from '../common/prompts.mjs';

/** @import { BlockInput, Engine } from 'block-attention' */

/**
 * A block of new content of `length` tokens, exactly or about.
 *
 * @typedef {(length: number) => BlockInput} MakeBlock
 */

const WORDS =
  'the of and to in is that for it as was with be by on not he his but at are this have from which one had word all were'.split(
    ' ',
  );
const SAMPLE_WORDS = 500;

/**
 * @param {Engine} engine
 * @param {() => number} random
 * @returns {MakeBlock}
 */
export function tokenBlocks(engine, random) {
  return (length) => randomTokens(length, engine.model.vocabSize, random);
}

/**
 * Measures first how many tokens a word is.
 *
 * @param {Engine} engine with a tokenizer
 * @param {() => number} random
 * @returns {Promise<MakeBlock>}
 */
export async function textBlocks(engine, random) {
  const text = (/** @type {number} */ words) =>
    Array.from({ length: words }, () => WORDS[Math.floor(random() * WORDS.length)]).join(' ');
  const [sample] = await engine.encode([text(SAMPLE_WORDS)], { namespace: 'sample' });
  await engine.delete({ namespace: 'sample' });
  const tokensPerWord = (sample?.tokens ?? SAMPLE_WORDS) / SAMPLE_WORDS;
  return (length) => text(Math.max(1, Math.round(length / tokensPerWord)));
}
