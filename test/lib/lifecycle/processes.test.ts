/** Processes and threads that end while the native engine loads or computes. */
import { describe, expect, it } from 'vitest';
import { reportOf, runProgram } from './child.js';

describe('a process', () => {
  it.each([
    ['exit during a step', 7],
    ['exit in a callback', 7],
    ['exit while loading', 7],
    ['exit while closing', 7],
    // By itself, when nothing is left to do: an idle engine keeps no process alive, a computing one does.
    ['end without close', 0],
    ['end after a generation', 0],
    // An exception in the listener of native events ends the process as any uncaught one does.
    ['throw in a callback', 1],
  ])('may %s', async (how, status) => {
    const ended = await runProgram('exit.mjs', [how]);
    expect([ended.status, status === 1 ? '' : ended.stderr]).toEqual([status, '']);
    if (status === 1) expect(ended.stderr).toContain('Error: planted');
  });
});

describe('worker threads', () => {
  it('run engines of their own side by side, with the same bits', async () => {
    const { results, gone } = reportOf(await runProgram('workers.mjs', ['together']));
    const digest = expect.stringMatching(/^[0-9a-f]{64}$/);
    expect(results).toEqual([[digest, digest], 0, [digest, digest], 0, [digest, digest], 0]);
    const digests = (results as unknown[]).filter(Array.isArray).flat();
    expect(new Set(digests).size).toBe(1);
    expect(gone).toBe(true);
  });

  it.each(['loading', 'step', 'callback'])(
    'may be terminated while in a %s, 20 times',
    async (phase) => {
      const { results, gone } = reportOf(await runProgram('workers.mjs', [phase]));
      expect(results).toEqual(Array.from({ length: 20 }, () => 1));
      expect(gone).toBe(true);
    },
    60_000,
  );
});
