// A study of one's own in a dozen lines: time to first token over the number of documents, with full attention, and with block
// attention over documents never seen (cold) and seen (warm). One request each; a study to publish takes medians of several.
//   node examples/ttft.mjs [model folder]
import { Engine } from 'block-attention';

// Unless said, a cache on a GPU takes most of what is free there.
const engine = await Engine.load(process.argv[2] ?? 'models/tiny-rag', { cacheBytes: 1 << 30 });
for (const count of [1, 4, 16]) {
  const text = 'Liros lies on the river Shornos. Luta Flinnos went to college in Liros. '.repeat(5);
  const blocks = Array.from({ length: count }, (_, index) => `Document ${index} of ${count}. ${text}`);
  const request = { blocks, query: 'On which river?', maxTokens: 1 };
  const full = await engine.generate({ ...request, attention: 'full' }).result();
  const cold = await engine.generate(request).result();
  const warm = await engine.generate(request).result();
  const times = [full, cold, warm].map(({ timings }) => timings.firstToken?.toFixed(1));
  console.log(`${full.usage.promptTokens} tokens: full ${times[0]}, cold ${times[1]}, warm ${times[2]} ms`);
}
await engine.close();
