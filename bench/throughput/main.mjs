// `throughput`: requests per second and latencies over the number of clients.
import { wholeNumber, wholeNumbers } from '../common/arguments.mjs';
import { number, percent } from '../common/format.mjs';
import { openEngine } from '../common/subject.mjs';
import { measureThroughput } from './measure.mjs';

/** @import { Benchmark } from '../common/benchmark.mjs' */
/** @import { Table } from '../common/table.mjs' */
/** @import { Row, Workload } from './measure.mjs' */

/** @typedef {{ workload: Workload, rows: Row[] }} Results */

/** @type {Benchmark} */
export const throughput = {
  summary: 'requests/s, TTFT and ITL percentiles over concurrency, documents drawn from a corpus (Zipf)',
  options: {
    concurrency: { type: 'string', help: 'N,N,…: clients; 1,4,16 unless said' },
    requests: { type: 'string', help: 'N: of each row; 48 unless said' },
    corpus: { type: 'string', help: 'N: documents in the corpus; 100 unless said' },
    documents: { type: 'string', help: 'N: documents of a request, 200 tokens each; 8 unless said' },
    answer: { type: 'string', help: 'N: tokens of an answer; 32 unless said' },
  },
  async run({ settings, own, progress }) {
    const { short } = settings;
    /**
     * @param {string} name
     * @param {number} usual
     * @param {number} quick
     */
    const whole = (name, usual, quick) => wholeNumber(own[name] ?? String(short ? quick : usual), name);
    const workload = {
      corpus: whole('corpus', 100, 10),
      documentTokens: 200,
      documents: whole('documents', 8, 3),
      answerTokens: whole('answer', 32, 8),
      requests: whole('requests', 48, 8),
    };
    const concurrency = wholeNumbers(own.concurrency ?? (short ? '1,4' : '1,4,16'), 'concurrency');
    const { engine, subject } = await openEngine(settings, progress);
    try {
      const plan = { workload, concurrency, seconds: settings.seconds, seed: settings.seed };
      return { subject, results: { workload, rows: await measureThroughput(engine, plan, progress) } };
    } finally {
      await engine.close();
    }
  },
  tables: throughputTables,
};

/**
 * @param {Results} results
 * @returns {Table[]}
 */
export function throughputTables({ workload, rows }) {
  return [
    {
      title: 'Throughput and latency',
      columns: [
        'clients',
        'attention',
        'requests/s',
        'tokens/s',
        'TTFT p50, ms',
        'TTFT p95, ms',
        'ITL p50, ms',
        'ITL p95, ms',
        'tokens cached',
        'requests',
      ],
      rows: rows.map((row) => [
        String(row.concurrency),
        row.attention,
        number(row.requestRate),
        number(row.tokenRate),
        number(row.ttft.p50),
        number(row.ttft.p95),
        number(row.itl.p50),
        number(row.itl.p95),
        percent(row.cachedShare),
        String(row.requests),
      ]),
      notes: [
        `Each request: ${workload.documents} of ${workload.corpus} documents of ${workload.documentTokens} tokens (Zipf, exponent 1), a query of 50, an answer of ${workload.answerTokens}. Every row begins with an empty cache; full attention reuses equal beginnings of prompts.`,
      ],
    },
  ];
}
