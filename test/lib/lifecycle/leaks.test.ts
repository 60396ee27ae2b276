/** What engines and generations leave behind: nothing. */
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { reportOf, runProgram } from './child.js';

describe('an engine that is dropped without close', () => {
  it('is collected with its threads, its tokenizer and its memory, but not before its answers are settled', async () => {
    const report = reportOf(await runProgram('collect.mjs', [], ['--expose-gc']));
    expect(report).toMatchObject({ ended: true, settled: true });
    const numbers = report as Record<string, number>;
    const { threadsBefore = 0, threadsDuring = 0, rssBefore = 0, rssDuring = 0, rssAfter = 0 } = numbers;
    if (process.platform === 'linux') expect(threadsDuring).toBeGreaterThan(threadsBefore);
    // One of the four models was in memory, and none stayed.
    expect(rssDuring - rssBefore).toBeGreaterThan(50);
    expect(rssAfter - rssBefore).toBeLessThan(50);
  }, 60_000);
});

describe('500 generations over a cache that is too small', () => {
  it('leave no page, no handle and no memory behind, a third of them aborted', async () => {
    const seed = Date.now() % 100_000;
    const report = reportOf(await runProgram('abort-at-random.mjs', [String(seed), '500']));
    const { outcomes, evictions, rss, ...rest } = report as {
      outcomes: { ended: number; aborted: number; failed: number };
      evictions: number;
      rss: { first: number; last: number };
    };
    const context = `seed ${seed}: ${JSON.stringify(report)}`;
    expect(rest, context).toEqual({ surprises: [], blocks: 0, empty: true, handles: [] });
    expect(outcomes.ended + outcomes.aborted + outcomes.failed, context).toBe(500);
    expect(outcomes.failed + outcomes.aborted, context).toBeGreaterThan(50);
    expect(evictions, context).toBeGreaterThan(20);
    expect(rss.last - rss.first, context).toBeLessThan(50 << 20);
  }, 60_000);
});

describe('the memory that V8 is told of', () => {
  it('is that of the weights, the activations and the pages that were ever used, until close', async () => {
    const report = reportOf(await runProgram('external-memory.mjs', [], ['--expose-gc']));
    const context = JSON.stringify(report);
    const { weightBytes = 0, blockBytes = 0, ...grown } = report as Record<string, number>;
    const mebibyte = 1 << 20;
    expect(blockBytes, context).toBeGreaterThan(4 * mebibyte);
    expect(grown.loaded, context).toBeGreaterThan(weightBytes);
    expect(grown.loaded, context).toBeLessThan(weightBytes + 16 * mebibyte);
    expect(Math.abs((grown.used ?? 0) - blockBytes), context).toBeLessThan(mebibyte);
    expect(Math.abs(grown.usedAgain ?? 0), context).toBeLessThan(mebibyte);
    expect(Math.abs((grown.usedMore ?? 0) - blockBytes), context).toBeLessThan(mebibyte);
    expect(Math.abs(grown.closed ?? 0), context).toBeLessThan(mebibyte);
  }, 60_000);
});

/** From util-linux, which the smallest systems lack. */
const noPrlimit = spawnSync('prlimit', ['--version']).status !== 0;

describe.runIf(process.platform === 'linux')('a process whose address space is limited', () => {
  const title = 'is told OUT_OF_MEMORY of whatever there is no room for, and goes on';
  it.skipIf(noPrlimit)(
    noPrlimit ? `skipped, there is no prlimit: ${title}` : title,
    async () => {
      expect(reportOf(await runProgram('limited-memory.mjs'))).toEqual({
        pool: 'OUT_OF_MEMORY',
        weights: 'OUT_OF_MEMORY',
        threads: 'OUT_OF_MEMORY',
        activations: 'OUT_OF_MEMORY',
        afterwards: 'length',
      });
    },
    60_000,
  );
});
