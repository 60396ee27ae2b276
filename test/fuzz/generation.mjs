// A real generation, to be run with an addon that is built with a sanitizer: the model that ships answers the questions of
// its demonstration, several at once, over a cache that is too small for all of their documents, in both modes, some of
// them given up halfway. Argument: how many times over. Reports JSON on stdout: { answers, wrong }.
import { readFileSync } from 'node:fs';
import { Engine } from 'block-attention';

const MODEL = 'models/tiny-rag';
const rounds = Number(process.argv[2] ?? 1);

/** @type {{ question: string, output: string, documents: { title: string, text: string }[] }[]} */
const samples = readFileSync(`${MODEL}/demo.jsonl`, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line));

let answers = 0;
let wrong = 0;

/**
 * @param {Engine} engine
 * @param {(typeof samples)[number]} sample
 * @param {number} index
 */
async function answer(engine, { question, documents, output }, index) {
  /** @type {import('block-attention').GenerateRequest} */
  const request = { documents, query: question, maxTokens: 24, logprobs: 2 };
  const { text } = await engine.generate(request).result();
  answers += 1;
  if (text !== output) wrong += 1;
  await engine.generate({ ...request, attention: 'full', temperature: 1, topP: 0.9, seed: index }).result();
  const abandoned = engine.generate({ ...request, repetitionPenalty: 1.1 });
  for await (const part of abandoned) if (part.tokens.length > 0) break;
}

for (let round = 0; round < rounds; round++) {
  const kvDtype = round % 2 === 0 ? 'bf16' : 'f32';
  // 'bf16' gives the answers of the demonstration, and on this model f32 gives the same.
  const engine = await Engine.load(MODEL, { device: 'cpu', threads: 2, cacheBytes: 8 << 20, kvDtype });
  await Promise.all(samples.map((sample, index) => answer(engine, sample, index)));
  await engine.close();
}
process.stdout.write(JSON.stringify({ answers, wrong }));
