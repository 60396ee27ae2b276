// Prompts of random tokens: what a model computes does not depend on which they are.

export const DOCUMENT_TOKENS = 200;
export const QUERY_TOKENS = 50;

/**
 * Lengths of documents of about DOCUMENT_TOKENS tokens each that fill a prompt in front of its query.
 *
 * @param {number} promptTokens documents and query
 * @param {number} [queryTokens]
 * @returns {number[]} their sum is promptTokens - queryTokens
 */
export function documentLengths(promptTokens, queryTokens = QUERY_TOKENS) {
  const tokens = promptTokens - queryTokens;
  if (tokens < 0) throw new RangeError(`a prompt of ${promptTokens} tokens has no room for the query`);
  const count = tokens === 0 ? 0 : Math.max(1, Math.round(tokens / DOCUMENT_TOKENS));
  return Array.from(
    { length: count },
    (_, index) => Math.floor((tokens * (index + 1)) / count) - Math.floor((tokens * index) / count),
  );
}

/**
 * @param {number} length
 * @param {number} vocabSize
 * @param {() => number} random
 * @returns {Int32Array}
 */
export function randomTokens(length, vocabSize, random) {
  return Int32Array.from({ length }, () => Math.floor(random() * vocabSize));
}
