// The demonstration: real questions over real documents on the model that ships with the repository, then the same on a
// model of a real size with random weights, where the time can be felt. Run by `npm run demo`, which builds first.
import { readFileSync } from 'node:fs';
import { Engine } from 'block-attention';
import { progressLine, renderTable, seconds } from './output.mjs';

const root = new URL('../../', import.meta.url).pathname;
const QUESTIONS = 3;
const TIMING_SHAPE = 'smollm2-135m';
const TIMING_TOKENS = 2048;
const QUERY_TOKENS = 50;

/** @param {number} flops */
const gigaFlops = (flops) =>
  flops < 1e9 ? `${(flops / 1e6).toFixed(0)} M` : `${(flops / 1e9).toFixed(1)} G`;

/**
 * One line of a table: what a request cost, and what it reused.
 *
 * @param {string} name
 * @param {import('block-attention').GenerationResult} result
 * @param {string[]} more
 */
function row(name, result, ...more) {
  const { usage, flops } = result;
  return [
    name,
    `${timeToFirstToken(result).toFixed(1)} ms`,
    gigaFlops(flops.executed.request),
    `${usage.cachedTokens} of ${usage.promptTokens}`,
    ...more,
  ];
}

/** @param {import('block-attention').GenerationResult} result */
function timeToFirstToken({ timings }) {
  if (timings.firstToken === undefined) throw new Error('the answer has no token');
  return timings.firstToken;
}

/**
 * @param {Engine} engine
 * @param {import('block-attention').GenerateRequest} request
 */
async function ask(engine, request) {
  return engine.generate({ maxTokens: 32, ...request }).result();
}

async function answerQuestions() {
  const engine = await Engine.load(`${root}models/tiny-rag`, { cacheBytes: 256 << 20 });
  const questions = readFileSync(`${root}models/tiny-rag/demo.jsonl`, 'utf8')
    .trim()
    .split('\n')
    .slice(0, QUESTIONS)
    .map((line) => JSON.parse(line));

  console.log(`tiny-rag (2.3 M parameters), ${engine.device}: answers from documents\n`);
  // The first request of a process also pays for memory that is touched for the first time.
  await ask(engine, { query: [1], blocks: [[1, 2, 3]], namespace: 'warm-up' });

  const rows = [];
  for (const [index, { question, documents, answers }] of questions.entries()) {
    const request = { documents, query: question };
    rows.push([`“${question}” (expected: ${answers.join(', ')})`]);
    // Each way in a namespace of its own, so that nothing is shared with another question.
    const full = await ask(engine, { ...request, attention: 'full', namespace: `full-${index}` });
    const cold = await ask(engine, { ...request, namespace: `block-${index}` });
    const warm = await ask(engine, { ...request, namespace: `block-${index}` });
    const reordered = await ask(engine, {
      ...request,
      documents: documents.toReversed(),
      namespace: `block-${index}`,
    });
    rows.push(row('full attention', full, full.text));
    rows.push(row('block, nothing cached', cold, cold.text));
    rows.push(row('block, documents cached', warm, warm.text));
    rows.push(row('block, cached, other order', reordered, reordered.text));
  }
  console.log(renderTable(['', 'TTFT', 'FLOPs-TFT', 'tokens reused', 'answer'], rows));
  await engine.close();
}

/** Documents of random tokens: their content does not change the time. */
function timingPrompt() {
  /** @param {number} index */
  const token = (index) => 1000 + ((index * 7919) % 40_000);
  /** @param {number} start @param {number} length */
  const block = (start, length) => Array.from({ length }, (_, index) => token(start + index));
  const documents = 10;
  const length = Math.floor((TIMING_TOKENS - QUERY_TOKENS) / documents);
  return {
    blocks: Array.from({ length: documents }, (_, index) => block(index * length, length)),
    query: block(1_000_000, TIMING_TOKENS - documents * length),
    maxTokens: 1,
  };
}

async function measure() {
  console.log(
    `\n${TIMING_SHAPE} shape with random weights, ${TIMING_TOKENS} tokens of prompt: timing only, it cannot answer\n`,
  );
  const progress = progressLine();
  const engine = await Engine.random(TIMING_SHAPE, {
    cacheBytes: 1 << 30,
    onProgress: ({ done, total }) =>
      progress.show(`making random weights: ${10 * Math.floor((10 * done) / total)} %`),
  });
  progress.show('warming up');
  await ask(engine, { query: [1], blocks: [[1, 2, 3]], namespace: 'warm-up' });

  const prompt = timingPrompt();
  /** @type {[string, Partial<import('block-attention').GenerateRequest>][]} */
  const runs = [
    ['full attention', { attention: 'full', namespace: 'full' }],
    ['block, nothing cached', { namespace: 'block' }],
    ['block, documents cached', { namespace: 'block' }],
    ['block, cached, other order', { namespace: 'block', blocks: prompt.blocks.toReversed() }],
  ];
  const rows = [];
  let full;
  for (const [index, [name, options]] of runs.entries()) {
    progress.show(`measuring ${index + 1} of ${runs.length}: ${name}`);
    const result = await ask(engine, { ...prompt, ...options });
    full ??= timeToFirstToken(result);
    rows.push(row(name, result, `${((100 * timeToFirstToken(result)) / full).toFixed(1)} %`));
  }
  progress.clear();

  console.log(renderTable(['', 'TTFT', 'FLOPs-TFT', 'tokens reused', 'of full TTFT'], rows));
  await engine.close();
}

const start = performance.now();
await answerQuestions();
await measure();
console.log(`\nDone in ${seconds(performance.now() - start)}. Next: README.md, or ask it yourself:`);
console.log('  npx block-attention generate --doc a.txt --doc b.txt "your question"');
