// A study of one's own in a dozen lines: floating-point operations to the first token over the number of documents, all seen before.
//   node examples/flops.mjs [model folder]
import { Engine } from 'block-attention';

// Unless said, a cache on a GPU takes most of what is free there.
const engine = await Engine.load(process.argv[2] ?? 'models/tiny-rag', { cacheBytes: 1 << 30 });
for (const count of [1, 4, 16]) {
  const text = 'Liros lies on the river Shornos. Luta Flinnos went to college in Liros. '.repeat(5);
  const blocks = Array.from({ length: count }, (_, index) => `Document ${index}. ${text}`);
  await engine.encode(blocks);
  const { usage, flops } = await engine.generate({ blocks, query: 'On which river?', maxTokens: 1 }).result();
  const { request, full } = flops.executed;
  const saved = (100 * (1 - request / full)).toFixed(1);
  console.log(`${usage.promptTokens} tokens: full ${full}, block ${request} operations, ${saved}% saved`);
}
await engine.close();
