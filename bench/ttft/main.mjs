// `ttft`: the paper's table on this machine.
import { UsageError, wholeNumbers } from '../common/arguments.mjs';
import { randomOf } from '../common/random.mjs';
import { openEngine } from '../common/subject.mjs';
import { ttftCharts } from './charts.mjs';
import { textBlocks, tokenBlocks } from './content.mjs';
import { measureTtft } from './measure.mjs';
import { ttftTables } from './tables.mjs';

/** @import { Engine } from 'block-attention' */
/** @import { Benchmark } from '../common/benchmark.mjs' */
/** @import { Row } from './measure.mjs' */

const LENGTHS = [50, 512, 1024, 2048, 4096, 8192];
const SHORT_LENGTHS = [50, 512, 1024];

/** @type {Benchmark} */
export const ttft = {
  summary: "the paper's table: TTFT and FLOPs over prompt length for full, cold and warm requests",
  options: {
    lengths: { type: 'string', help: 'L,L,…: prompt tokens, e.g. 50,8K,32K; 50 to 8K unless said' },
    input: { type: 'string', help: 'tokens, or text (about as many; needs a tokenizer); tokens unless said' },
  },
  async run({ settings, own, progress }) {
    const lengths =
      own.lengths !== undefined
        ? wholeNumbers(own.lengths, 'lengths', 50)
        : settings.short
          ? SHORT_LENGTHS
          : LENGTHS;
    const rounds = settings.rounds ?? (settings.short ? 2 : 5);
    const { engine, subject } = await openEngine(settings, progress);
    try {
      const random = randomOf(settings.seed);
      const makeBlock = await contentOf(own.input ?? 'tokens', engine, random);
      const plan = { lengths, rounds, seconds: settings.seconds, random, makeBlock };
      return { subject, results: await measureTtft(engine, plan, progress) };
    } finally {
      await engine.close();
    }
  },
  tables: (results) => ttftTables(/** @type {Row[]} */ (results)),
  charts: ttftCharts,
};

/**
 * @param {string} input
 * @param {Engine} engine
 * @param {() => number} random
 */
async function contentOf(input, engine, random) {
  if (input === 'tokens') return tokenBlocks(engine, random);
  if (input !== 'text') throw new UsageError(`--input ${input}: there are tokens and text`);
  if (!engine.model.hasTokenizer) throw new UsageError('--input text: this model has no tokenizer');
  return textBlocks(engine, random);
}
