// `event-loop`: what decoding loses to a host that blocks its event loop.
import { wholeNumber } from '../common/arguments.mjs';
import { number, percent } from '../common/format.mjs';
import { randomOf } from '../common/random.mjs';
import { median } from '../common/statistics.mjs';
import { openEngine } from '../common/subject.mjs';
import { BLOCKERS, measureBlockedHost } from './blocked-host.mjs';

/** @import { Benchmark } from '../common/benchmark.mjs' */
/** @import { Table } from '../common/table.mjs' */

/**
 * @typedef {object} Row
 * @property {string} host what it does while it blocks
 * @property {number} freeRate tokens per second of all streams, median of the phases with a free event loop
 * @property {number[]} ratios of each blocked phase to the free ones beside it
 */

/** @typedef {{ streams: number, rows: Row[] }} Results */

/** @type {Benchmark} */
export const eventLoop = {
  summary: 'decode throughput while the host blocks its event loop for 200 ms again and again',
  options: { streams: { type: 'string', help: 'N: answers at once; 8 unless said' } },
  async run({ settings, own, progress }) {
    const streams = wholeNumber(own.streams ?? '8', 'streams');
    const phases = settings.rounds ?? (settings.short ? 1 : 10);
    const { engine, subject } = await openEngine(settings, progress);
    const random = randomOf(settings.seed);
    const blockers = Object.entries(BLOCKERS);
    progress.begin(blockers.length);
    try {
      /** @type {Row[]} */
      const rows = [];
      for (const [host, block] of blockers) {
        progress.show(`event-loop: ${host}`);
        const { freeRates, ratios } = await measureBlockedHost(engine, { streams, phases, block, random });
        rows.push({ host, freeRate: median(freeRates), ratios });
        progress.add(1);
      }
      return { subject, results: { streams, rows } };
    } finally {
      await engine.close();
    }
  },
  tables: eventLoopTables,
};

/**
 * @param {Results} results
 * @returns {Table[]}
 */
export function eventLoopTables({ streams, rows }) {
  return [
    {
      title: `${streams} streams while the event loop is blocked for 200 ms again and again`,
      columns: ['host', 'tokens/s, free', 'tokens/s, blocked', 'lost (median)', 'least', 'most'],
      rows: rows.map(({ host, freeRate, ratios }) => [
        host,
        number(freeRate),
        number(freeRate * median(ratios)),
        percent(1 - median(ratios)),
        percent(1 - Math.max(...ratios)),
        percent(1 - Math.min(...ratios)),
      ]),
      notes: [
        'A waiting host leaves its core to the engine, as a synchronous system call does. A computing one takes a core for itself: with as many threads as cores the engine then has less to compute with.',
      ],
    },
  ];
}
