// A closed loop: so many clients, each with one request at a time, over documents of a corpus of which a few are asked
// for again and again (Zipf). Full and block attention serve the same requests, each from an empty cache.
import { QUERY_TOKENS, randomTokens } from '../common/prompts.mjs';
import { randomOf, zipf } from '../common/random.mjs';
import { quantile } from '../common/statistics.mjs';

/** @import { Engine, GenerationResult } from 'block-attention' */
/** @import { Progress } from '../common/progress.mjs' */

export const ATTENTIONS = /** @type {const} */ (['full', 'block']);

/** @typedef {typeof ATTENTIONS[number]} Attention */

/**
 * @typedef {object} Percentiles ms
 * @property {number} p50
 * @property {number} p95
 */

/**
 * @typedef {object} Row
 * @property {number} concurrency
 * @property {Attention} attention
 * @property {number} requests
 * @property {number} requestRate requests per second
 * @property {number} tokenRate generated tokens per second
 * @property {Percentiles} ttft
 * @property {Percentiles} itl
 * @property {number} cachedShare of the prompt's tokens, 0 to 1
 */

/**
 * @typedef {object} Workload
 * @property {number} corpus documents
 * @property {number} documentTokens
 * @property {number} documents of a request
 * @property {number} answerTokens
 * @property {number} requests
 */

/**
 * @param {Workload} workload
 * @param {number} vocabSize
 * @param {() => number} random
 * @returns {{ blocks: Int32Array[], query: Int32Array }[]}
 */
export function makeRequests({ corpus, documentTokens, documents, requests }, vocabSize, random) {
  const texts = Array.from({ length: corpus }, () => randomTokens(documentTokens, vocabSize, random));
  const rank = zipf(corpus, 1, random);
  return Array.from({ length: requests }, () => {
    /** @type {Set<number>} */
    const chosen = new Set();
    while (chosen.size < Math.min(documents, corpus)) chosen.add(rank());
    return {
      blocks: [...chosen].flatMap((index) => texts[index] ?? []),
      query: randomTokens(QUERY_TOKENS, vocabSize, random),
    };
  });
}

/**
 * @param {Engine} engine
 * @param {object} plan
 * @param {Workload} plan.workload
 * @param {readonly number[]} plan.concurrency
 * @param {number} plan.seconds after which a row takes up no more requests
 * @param {number} plan.seed
 * @param {Progress} progress
 * @returns {Promise<Row[]>}
 */
export async function measureThroughput(engine, { workload, concurrency, seconds, seed }, progress) {
  const requests = makeRequests(workload, engine.model.vocabSize, randomOf(seed));
  progress.begin(concurrency.length * ATTENTIONS.length * requests.length);
  await engine.generate({ query: [1], maxTokens: 2, ignoreEos: true }).result();
  /** @type {Row[]} */
  const rows = [];
  for (const clients of concurrency) {
    for (const attention of ATTENTIONS) {
      const queue = requests.map((request) => ({ ...request, attention, namespace: attention }));
      const begun = performance.now();
      /** @type {GenerationResult[]} */
      const results = [];
      const client = async () => {
        for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
          const request = { ...next, maxTokens: workload.answerTokens, ignoreEos: true };
          results.push(await engine.generate(request).result());
          progress.add(1);
          progress.show(`throughput: ${clients} at once, ${attention}`);
          if (performance.now() - begun > 1000 * seconds) break;
        }
      };
      await Promise.all(Array.from({ length: clients }, client));
      rows.push(rowOf(clients, attention, results, (performance.now() - begun) / 1000));
      progress.add(queue.length);
      await engine.delete({ namespace: attention });
    }
  }
  return rows;
}

/**
 * @param {number} concurrency
 * @param {Attention} attention
 * @param {readonly GenerationResult[]} results
 * @param {number} seconds
 * @returns {Row}
 */
export function rowOf(concurrency, attention, results, seconds) {
  /** @param {(result: GenerationResult) => number} of */
  const sum = (of) => results.reduce((total, result) => total + of(result), 0);
  /** @param {readonly number[]} values */
  const percentiles = (values) => ({ p50: quantile(values, 0.5), p95: quantile(values, 0.95) });
  return {
    concurrency,
    attention,
    requests: results.length,
    requestRate: results.length / seconds,
    tokenRate: sum(({ tokens }) => tokens.length) / seconds,
    ttft: percentiles(results.flatMap(({ timings }) => timings.firstToken ?? [])),
    itl: percentiles(results.flatMap(({ timings }) => timings.perToken)),
    cachedShare: sum(({ usage }) => usage.cachedTokens) / sum(({ usage }) => usage.promptTokens),
  };
}
