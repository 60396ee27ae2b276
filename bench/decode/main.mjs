// `decode`: tokens per second at 1 and 8 streams, and how near the reading of the weights comes to the rate of memory.
import { defaultThreads } from '#lib/engine/threads.js';
import { wholeNumber, wholeNumbers } from '../common/arguments.mjs';
import { number, percent, spread } from '../common/format.mjs';
import { randomOf } from '../common/random.mjs';
import { openEngine } from '../common/subject.mjs';
import { measureLimits } from '../kernels/limits.mjs';
import { measureDecode } from './measure.mjs';

/** @import { Benchmark } from '../common/benchmark.mjs' */
/** @import { Table } from '../common/table.mjs' */
/** @import { Row } from './measure.mjs' */

/**
 * @typedef {object} Results
 * @property {number} stepBytes weights that one step reads
 * @property {number} readGBs the fastest streaming read; of a GPU the copy bandwidth
 * @property {Row[]} rows
 */

/** @type {Benchmark} */
export const decode = {
  summary: 'tokens/s at 1 and 8 streams; GB/s of weights beside the streaming rate of memory',
  options: {
    streams: { type: 'string', help: 'N,N,…: answers at once; 1,8 unless said' },
    tokens: { type: 'string', help: 'N: of each answer; 128 unless said' },
  },
  async run({ settings, own, progress }) {
    const { short, seconds } = settings;
    const { device } = settings;
    const threads = settings.threads ?? defaultThreads();
    const measureRead = async () => (await measureLimits({ device, threads, short })).readGBs;
    progress.show('decode: the streaming rate of memory');
    const before = await measureRead();
    const { engine, subject, stepBytes } = await openEngine(settings, progress);
    try {
      const plan = {
        streams: wholeNumbers(own.streams ?? '1,8', 'streams'),
        tokens: wholeNumber(own.tokens ?? (short ? '32' : '128'), 'tokens', 2),
        rounds: settings.rounds ?? (short ? 2 : 5),
        seconds,
        stepBytes,
        // A GPU's memory is the engine's by now.
        readGBs: device.startsWith('cuda') ? () => Promise.resolve(before) : measureRead,
        random: randomOf(settings.seed),
      };
      return { subject, results: { stepBytes, ...(await measureDecode(engine, plan, progress)) } };
    } finally {
      await engine.close();
    }
  },
  tables: decodeTables,
};

/**
 * @param {Results} results
 * @returns {Table[]}
 */
export function decodeTables({ stepBytes, readGBs, rows }) {
  return [
    {
      title: 'Decoding',
      columns: [
        'streams',
        'tokens/s',
        'tokens/s of one',
        'ms per step',
        'GB/s of weights',
        'of streaming read',
      ],
      rows: rows.map(({ streams, rate, share }) => {
        const steps = rate.median / streams;
        const bytes = (steps * stepBytes) / 1e9;
        return [
          String(streams),
          spread(rate),
          number(steps),
          number(1000 / steps),
          number(bytes),
          share === undefined ? percent(bytes / readGBs) : spread(share, percent),
        ];
      }),
      notes: [
        `Fastest streaming read in the same run: ${number(readGBs)} GB/s.`,
        ...(rows.some(({ share }) => share !== undefined)
          ? ['Shares are of the better of two streaming reads, right before and right after.']
          : []),
      ],
    },
  ];
}
