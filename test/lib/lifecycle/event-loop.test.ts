/**
 * Nothing that the package does holds up the event loop: not loading, not tokenising, not computing. The bounds are 10 ms
 * at the 99th percentile and 50 ms at most, for what the main thread computes between two turns, and for how late the loop
 * is. A busy machine makes any loop late, so they count as they are where an idle loop under the same load from elsewhere
 * keeps half of them. Otherwise a loop may be as much later as that one is, and compute for twice as long, since processors
 * that are shared are slower.
 */
import { describe, expect, it } from 'vitest';
import { reportOf, runProgram } from './child.js';

/** Milliseconds. */
interface Spread {
  p99: number;
  max: number;
}
interface Phase {
  late: Spread;
  computed: Spread;
  milliseconds: number;
}

const PHASES = [
  'load a model',
  'load a tokenizer',
  'tokenise a megabyte',
  'take a quarter of a million ids',
  'compute long steps',
  'stream 64 answers',
];

const BOUNDS: Spread = { p99: 10, max: 50 };

function boundsBeside({ p99, max }: Spread): { kind: string; late: Spread; computed: Spread } {
  if (p99 <= BOUNDS.p99 / 2 && max <= BOUNDS.max / 2)
    return { kind: 'absolute', late: BOUNDS, computed: BOUNDS };
  return {
    kind: 'relative',
    late: { p99: BOUNDS.p99 + 4 * p99, max: 2 * BOUNDS.max + 4 * max },
    computed: { p99: 2 * BOUNDS.p99, max: 2 * BOUNDS.max },
  };
}

/** Other work on the machine can make one attempt look bad; what holds the loop up fails all of them. */
const ATTEMPTS = 3;

/** What is beyond the bounds, a line each. */
function excesses(delays: Record<string, Phase>): { kind: string; lines: string[] } {
  const { 'control before': before, 'control after': after, ...phases } = delays;
  expect(Object.keys(phases)).toEqual(PHASES);
  const bounds = boundsBeside({
    p99: Math.max(before?.late.p99 ?? 0, after?.late.p99 ?? 0),
    max: Math.max(before?.late.max ?? 0, after?.late.max ?? 0),
  });
  const lines = Object.entries(phases).flatMap(([name, phase]) =>
    (['computed', 'late'] as const).flatMap((kind) =>
      (['p99', 'max'] as const)
        // A value that is no number is beyond them, too.
        .filter((rank) => !(phase[kind][rank] < bounds[kind][rank]))
        .map((rank) => `${name}, ${kind}, ${rank}: ${phase[kind][rank]} of ${bounds[kind][rank]} ms`),
    ),
  );
  return { kind: bounds.kind, lines };
}

describe('the event loop', () => {
  it('stays free', { timeout: 120_000 }, async ({ annotate }) => {
    const attempts: string[] = [];
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { delays, outcomes, tokens } = reportOf(
        await runProgram('event-loop.mjs', [], ['--expose-gc']),
      ) as { delays: Record<string, Phase>; outcomes: Record<string, number>; tokens: number };
      expect(outcomes).toEqual({ PROMPT_TOO_LONG: 151, length: 1 });
      expect(tokens).toBeGreaterThan(1000);
      const { kind, lines } = excesses(delays);
      await annotate(`${kind} bounds: ${JSON.stringify(delays)}`);
      if (lines.length === 0) return;
      attempts.push(`${kind} bounds\n  ${lines.join('\n  ')}`);
    }
    expect.fail(attempts.join('\n'));
  });
});
