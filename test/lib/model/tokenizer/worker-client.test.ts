// Turns, time limits, aborts and crashes, with a worker that fails on demand.
import { getEventListeners } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { BlockAttentionError } from '#lib/errors.js';
import type { WorkerRequest } from '#lib/model/tokenizer/messages.js';
import { type TokenizerJob, TokenizerWorker } from '#lib/model/tokenizer/worker-client.js';
import { expectError } from '../../errors.js';

const entry = new URL('./failing-worker.js', import.meta.url);
let worker = new TokenizerWorker(entry);

afterEach(async () => {
  await worker.stop();
  worker = new TokenizerWorker(entry);
});

function request(path: string): WorkerRequest {
  return { kind: 'encode', path, digest: '', inputs: [] };
}

function run(paths: string[], options: { timeLimit?: number; signal?: AbortSignal } = {}): TokenizerJob {
  return worker.run(paths.map(request), { timeLimit: 20_000, ...options });
}

/** [what was asked, how many requests this thread had answered] for each request. */
async function answers(job: TokenizerJob): Promise<number[][]> {
  return (await job.promise).map((response) => {
    if (response.kind !== 'encoded') throw new Error('unexpected response');
    return [...(response.tokens[0] ?? [])];
  });
}

describe('turns', () => {
  it('jobs go on in turn, one request each', async () => {
    const long = run(['1', '2', '3']);
    const short = run(['9']);
    expect(await answers(short)).toEqual([[9, 2]]);
    expect(await answers(long)).toEqual([
      [1, 1],
      [2, 3],
      [3, 4],
    ]);
  });

  it('one thread serves all jobs', async () => {
    expect(await answers(run(['1']))).toEqual([[1, 1]]);
    expect(await answers(run(['2']))).toEqual([[2, 2]]);
    expect(worker.alive).toBe(true);
  });

  it('stop ends the thread unless somebody waits for it, and a new one comes up', async () => {
    const job = run(['1']);
    expect(await worker.stop()).toBe(false);
    await answers(job);
    expect(await worker.stop()).toBe(true);
    expect(worker.alive).toBe(false);
    expect(await answers(run(['2']))).toEqual([[2, 1]]);
  });

  it('stop does not wait for what nobody waits for', async () => {
    const controller = new AbortController();
    const hanging = run(['hang'], { signal: controller.signal });
    controller.abort();
    await expectError(() => hanging.promise, 'ABORTED');
    expect(await worker.stop()).toBe(true);
    expect(await answers(run(['2']))).toEqual([[2, 1]]);
  });
});

describe('a time limit', () => {
  it('ends the job that computes for too long; the others go on in a new thread', async () => {
    await answers(run(['1']));
    const hanging = run(['hang'], { timeLimit: 100 });
    const other = run(['2'], { timeLimit: 20_000 });
    await expectError(() => hanging.promise, 'TIMEOUT', expect.stringContaining('100 ms'));
    expect(await answers(other)).toEqual([[2, 1]]);
  });

  it('does not count the time until its turn', async () => {
    const hanging = run(['hang'], { timeLimit: 1500 });
    const other = run(['2'], { timeLimit: 1400 });
    await expectError(() => hanging.promise, 'TIMEOUT');
    expect(await answers(other)).toHaveLength(1);
  });

  it('holds for what an aborted job left behind', async () => {
    const controller = new AbortController();
    const hanging = run(['hang'], { timeLimit: 300, signal: controller.signal });
    const other = run(['2']);
    controller.abort();
    await expectError(() => hanging.promise, 'ABORTED');
    expect(await answers(other)).toEqual([[2, 1]]);
  });
});

describe('a crash', () => {
  it.each([
    ['exit', 'it exited'],
    ['throw', 'worker broke'],
  ])('%s: fails the job that ran; the others go on in a new thread', async (path, reason) => {
    await answers(run(['1']));
    const crashing = run([path]);
    const others = [run(['2']), run(['3', '4'])];
    await expectError(() => crashing.promise, 'INTERNAL', expect.stringContaining(reason));
    expect(await Promise.all(others.map(answers))).toEqual([
      [[2, 1]],
      [
        [3, 2],
        [4, 3],
      ],
    ]);
  });
});

describe('a thread that runs out of memory', () => {
  it('fails the job that ran; the others go on in a new thread', async () => {
    await worker.stop();
    worker = new TokenizerWorker(entry, { maxOldGenerationSizeMb: 32 });
    await answers(run(['1']));
    const filling = run(['fill']);
    const other = run(['2']);
    await expectError(() => filling.promise, 'OUT_OF_MEMORY');
    expect(await answers(other)).toEqual([[2, 1]]);
  });
});

describe('an abort', () => {
  it('before the start starts nothing', async () => {
    await expectError(() => run(['1'], { signal: AbortSignal.abort() }).promise, 'ABORTED');
    expect(worker.alive).toBe(false);
  });

  it('while waiting, and between two requests', async () => {
    const [first, second] = [new AbortController(), new AbortController()];
    const running = run(['1', '2', '3'], { signal: first.signal });
    const waiting = run(['4'], { signal: second.signal });
    second.abort();
    await expectError(() => waiting.promise, 'ABORTED');
    first.abort();
    await expectError(() => running.promise, 'ABORTED');
    expect(await answers(run(['5']))).toEqual([[5, 2]]);
  });

  it('leaves no listener on the signal', async () => {
    const { signal } = new AbortController();
    const job = run(['1'], { signal });
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    await answers(job);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('of a job by its owner has the owner’s error', async () => {
    const job = run(['1']);
    job.cancel(new BlockAttentionError('CLOSED', 'closed'));
    await expectError(() => job.promise, 'CLOSED', 'closed');
  });
});
