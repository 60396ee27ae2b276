// What V8 knows of the memory that hangs on an engine, from load to close. Run with --expose-gc.
import { generation, loadSmall, report, until } from './support.mjs';

// process.memoryUsage() counts buffers alone: another engine says what V8 knows.
const observer = await loadSmall();
function external() {
  globalThis.gc?.();
  return observer.stats().externalBytes;
}

const TOKENS = 4000;
let encoded = 0;
/** @param {number} id */
async function encode(id) {
  const { tokens } = generation(id, 1);
  const block = {
    id,
    segments: [],
    offset: 0,
    tokens: Int32Array.from({ length: TOKENS }, (_, i) => tokens[i % 100] ?? 0),
  };
  engine.submit([block]);
  await until(() => encoded > id);
}

const before = external();
const engine = await loadSmall(
  (events) => {
    for (const { finish } of events) if (finish === 'encoded') encoded += 1;
  },
  { config: { vocabSize: 16_384, hiddenSize: 512 } },
);
const { weightBytes, pageBytes, pageTokens } = engine.info;
const loaded = external();
await encode(0);
const used = external();
// Pages that were given back stay resident, and are used again.
engine.release(0);
await encode(1);
const usedAgain = external();
await encode(2);
const usedMore = external();
await engine.close();
const closed = external();
await observer.close();
report({
  weightBytes,
  blockBytes: Math.ceil(TOKENS / pageTokens) * pageBytes,
  loaded: loaded - before,
  used: used - loaded,
  usedAgain: usedAgain - used,
  usedMore: usedMore - usedAgain,
  closed: closed - before,
});
