/**
 * Nothing that the package does holds up the event loop: not loading, not tokenising, not computing. The bounds are 10 ms
 * at the 99th percentile and 50 ms at most. A busy machine makes any loop late, so they count as they are where an idle
 * loop under the same load from elsewhere keeps half of them; otherwise what that loop sees comes on top.
 */
import { describe, expect, it } from 'vitest';
import { reportOf, runProgram } from './child.js';

interface Delay {
  p99: number;
  max: number;
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

const P99 = 10;
const MAX = 50;

describe('the event loop', () => {
  it('stays free', async ({ annotate }) => {
    const { delays, outcomes, tokens } = reportOf(
      await runProgram('event-loop.mjs', [], ['--expose-gc']),
    ) as {
      delays: Record<string, Delay>;
      outcomes: string[];
      tokens: number;
    };
    const { 'control before': before, 'control after': after, ...phases } = delays;
    expect(Object.keys(phases)).toEqual(PHASES);
    expect(outcomes).toEqual(['PROMPT_TOO_LONG', 'PROMPT_TOO_LONG', 'length']);
    expect(tokens).toBeGreaterThan(1000);

    const control = {
      p99: Math.max(before?.p99 ?? 0, after?.p99 ?? 0),
      max: Math.max(before?.max ?? 0, after?.max ?? 0),
    };
    const isQuiet = control.p99 <= P99 / 2 && control.max <= MAX / 2;
    const bounds = isQuiet
      ? { p99: P99, max: MAX }
      : { p99: P99 + 4 * control.p99, max: 2 * MAX + 4 * control.max };
    const context = `${isQuiet ? 'absolute' : 'relative'} bounds ${JSON.stringify(bounds)}: ${JSON.stringify(delays)}`;
    await annotate(context);
    for (const [name, { p99, max }] of Object.entries(phases)) {
      expect(p99, `${name}, p99, ${context}`).toBeLessThan(bounds.p99);
      expect(max, `${name}, max, ${context}`).toBeLessThan(bounds.max);
    }
  }, 60_000);
});
