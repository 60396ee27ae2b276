/** Arguments that change while they are read: shared and shrinking memory, and getters. */
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { openEngine, outcome, sequence } from './support.js';

describe('the native addon: changing arguments', () => {
  const opened = openEngine();

  it('takes tokens out of shared memory, and copies them before it looks', async () => {
    const shared = new Int32Array(new SharedArrayBuffer(12));
    opened.engine.submit([sequence({ id: 1, tokens: shared })]);
    shared.fill(-1);
    expect(outcome(() => opened.engine.submit([sequence({ id: 2, tokens: shared })]))).toBe(
      'INVALID_ARGUMENT',
    );
    await opened.works();
  });

  it('survives shared memory that another thread writes to all the time', async () => {
    const shared = new Int32Array(new SharedArrayBuffer(4000));
    const writer = new Worker(
      `const { workerData } = require('node:worker_threads');
      for (let i = 0; ; i++) workerData[i % workerData.length] = i % 70;`,
      { eval: true, workerData: shared },
    );
    while (Atomics.load(shared, 999) === 0) await new Promise((done) => setImmediate(done));
    const outcomes = new Set<string>();
    for (let round = 0; round < 200; round++) {
      const spec = sequence({ tokens: shared.subarray(0, 100) });
      outcomes.add(
        outcome(() => {
          opened.engine.submit([spec]);
          opened.engine.release(spec.id);
        }),
      );
    }
    await writer.terminate();
    expect(['accepted', 'INVALID_ARGUMENT', 'OUT_OF_PAGES']).toEqual(expect.arrayContaining([...outcomes]));
    await opened.comesToRest();
    await opened.works();
  });

  it('survives buffers that shrink while they are read', async () => {
    // Of ES2024; TypeScript's library does not know it yet.
    const Resizable = ArrayBuffer as unknown as new (
      bytes: number,
      more: { maxByteLength: number },
    ) => ArrayBuffer & { resize(bytes: number): void };
    for (const bytes of [0, 4, 10]) {
      const buffer = new Resizable(400, { maxByteLength: 4000 });
      const tokens = new Int32Array(buffer);
      const spec = Object.defineProperty(sequence({ tokens }), 'offset', {
        get() {
          buffer.resize(bytes);
          return 0;
        },
      });
      expect(outcome(() => opened.engine.submit([spec]))).toBe(bytes === 0 ? 'INVALID_ARGUMENT' : 'accepted');
      opened.engine.release(spec.id);
    }
    const buffer = new Resizable(400, { maxByteLength: 4000 });
    const behind = new Int32Array(buffer, 200, 10);
    buffer.resize(100);
    expect(outcome(() => opened.engine.submit([sequence({ tokens: behind })]))).toBe('INVALID_ARGUMENT');
    await opened.comesToRest();
    await opened.works();
  });

  it('survives getters that change or use what is being read', async () => {
    const spec = sequence();
    const tokens = new Int32Array([1, 2, 3]);
    const sequences: unknown[] = [];
    const mutating = Object.defineProperty({ ...spec, tokens }, 'segments', {
      get() {
        sequences.length = 0;
        structuredClone(tokens, { transfer: [tokens.buffer] });
        opened.engine.submit([sequence({ id: 3 })]);
        opened.engine.release(3);
        return [];
      },
    });
    sequences.push(mutating, mutating, mutating);
    expect(outcome(() => opened.engine.submit(sequences))).toBe('INVALID_ARGUMENT');
    expect(outcome(() => opened.engine.submit([sequence({ id: 4 }), sequence({ id: 4 })]))).toBe(
      'INVALID_ARGUMENT',
    );
    await opened.works();
  });
});
