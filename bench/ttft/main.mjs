// `ttft`: the paper's table on this machine.
import { wholeNumbers } from '../common/arguments.mjs';
import { randomOf } from '../common/random.mjs';
import { openEngine } from '../common/subject.mjs';
import { measureTtft } from './measure.mjs';
import { ttftTables } from './tables.mjs';

/** @import { Benchmark } from '../common/benchmark.mjs' */
/** @import { Row } from './measure.mjs' */

const LENGTHS = [50, 512, 1024, 2048, 4096, 8192];
const SHORT_LENGTHS = [50, 512, 1024];

/** @type {Benchmark} */
export const ttft = {
  summary: "the paper's table: TTFT and FLOPs over prompt length for full, cold and warm requests",
  options: {
    lengths: { type: 'string', help: 'L,L,…: prompt tokens, e.g. 50,8K,32K; 50 to 8K unless said' },
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
      const plan = { lengths, rounds, seconds: settings.seconds, random: randomOf(settings.seed) };
      return { subject, results: await measureTtft(engine, plan, progress) };
    } finally {
      await engine.close();
    }
  },
  tables: (results) => ttftTables(/** @type {Row[]} */ (results)),
};
