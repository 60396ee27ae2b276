// A study of one's own in a few lines: time to first token of one question over the same documents, never seen and seen.
// node examples/ttft.mjs [model folder]
import { Engine } from 'block-attention';

const engine = await Engine.load(process.argv[2] ?? new URL('../models/tiny-rag', import.meta.url).pathname);
const text = 'Liros lies on the river Shornos. Luta Flinnos went to college in Liros. '.repeat(5);
for (const count of [1, 4, 16]) {
  const documents = Array.from({ length: count }, (_, index) => ({
    title: `Document ${index} of ${count}`,
    text,
  }));
  const ask = () => engine.generate({ documents, query: 'On which river?', maxTokens: 1 }).result();
  const [cold, warm] = [await ask(), await ask()];
  console.log(
    `${cold.usage.promptTokens} tokens: ${cold.timings.firstToken} ms, again ${warm.timings.firstToken} ms`,
  );
}
await engine.close();
