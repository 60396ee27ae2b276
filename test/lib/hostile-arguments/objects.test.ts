/** The objects of the addon: what they are called on, in which thread, and when. */
import { resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import {
  addon,
  config,
  ignore,
  load,
  NEVER,
  openEngine,
  options,
  outcome,
  sequence,
  weights,
} from './support.js';

describe('the native addon: objects', () => {
  const opened = openEngine();

  it('exports what is tested here, and nothing else', () => {
    const functions = Object.entries(addon).filter(([, value]) => typeof value === 'function');
    expect(functions.map(([name]) => name)).toEqual(['load', 'findGpu']);
    const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(opened.engine));
    expect(methods.sort()).toEqual(['abort', 'close', 'constructor', 'release', 'stats', 'submit']);
    const loading = addon.load(config(), weights(), options(), ignore, ignore);
    expect(Object.keys(loading)).toEqual(['promise', 'abort']);
    return loading.promise.then((loaded) => loaded.close());
  });

  it('knows its own objects', () => {
    const others = [
      undefined,
      null,
      1,
      {},
      Object.create(opened.engine),
      new Proxy(opened.engine, {}),
      addon,
      [],
    ];
    for (const method of ['submit', 'abort', 'release', 'stats', 'close'] as const)
      for (const other of others) expect(() => opened.engine[method].call(other, [])).toThrow(TypeError);
    const NativeEngine = opened.engine.constructor;
    for (const argument of [undefined, {}, opened.engine, 1])
      expect(() => new NativeEngine(argument)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(() => Reflect.construct(NativeEngine, [], Map)).toThrow();
    expect(() => Reflect.apply(NativeEngine, {}, [])).toThrow();
    class Derived extends NativeEngine {}
    expect(() => new Derived()).toThrow();
  });

  it('does not leave its thread', () => {
    const { port1 } = new MessageChannel();
    const clone = expect.objectContaining({ name: 'DataCloneError' });
    expect(() => port1.postMessage(opened.engine.submit)).toThrow(clone);
    expect(() => port1.postMessage(addon)).toThrow(clone);
    // Its methods stay behind: what arrives elsewhere is its `info`, and no opened.engine.
    expect(structuredClone(opened.engine)).toEqual({ info: opened.engine.info });
    port1.close();
  });

  it('checks its arguments in another thread, too, while this one uses it', async () => {
    const worker = new Worker(new URL('./worker.mjs', import.meta.url), {
      workerData: { config: config(), weights: weights(), options: options() },
    });
    const said = new Promise((done, failed) => {
      worker.once('message', done);
      worker.once('error', failed);
    });
    const ended = new Promise((done) => worker.once('exit', done));
    let running = true;
    void said.then(() => {
      running = false;
    });
    while (running) await opened.works();
    expect(await said).toEqual({
      load: 'INVALID_ARGUMENT',
      submit: 'INVALID_ARGUMENT',
      abort: 'INVALID_ARGUMENT',
      release: 'INVALID_ARGUMENT',
      foreign: 'TypeError',
      closed: 'CLOSED',
    });
    // The thread may have ended by itself before.
    await worker.terminate();
    expect(await ended).toBeTypeOf('number');
  });

  it('says CLOSED after close, also when a getter closes it', async () => {
    const closing = await load(config(), weights(), options());
    let closed: unknown;
    const spec = Object.defineProperty(sequence(), 'tokens', {
      get() {
        closed = closing.close();
        return new Int32Array([1]);
      },
    });
    expect(outcome(() => closing.submit([spec]))).toBe('CLOSED');
    for (const [method, argument] of [
      ['submit', [sequence()]],
      ['abort', 1],
      ['release', 1],
      ['stats', undefined],
    ] as const)
      expect(outcome(() => closing[method](argument))).toBe('CLOSED');
    await closed;
    await closing.close();
    expect(outcome(() => closing.stats())).toBe('CLOSED');
  });

  it('looks for a GPU whatever it is given, and in a thread that ends meanwhile', async () => {
    const gpu = await addon.findGpu();
    expect(gpu.available).toBeTypeOf('boolean');
    for (const [, value] of NEVER) expect(await addon.findGpu(value())).toEqual(gpu);
    for (let round = 0; round < 10; round++) {
      const worker = new Worker(
        `const { parentPort, workerData } = require('node:worker_threads');
        const addon = require('bindings')({ bindings: 'block_attention', module_root: workerData });
        for (let i = 0; i < 20; i++) void addon.findGpu();
        parentPort.postMessage('looking');`,
        { eval: true, workerData: resolve('.') },
      );
      await new Promise((done, failed) => {
        worker.once('message', done);
        worker.once('error', failed);
      });
      await worker.terminate();
    }
    await opened.works();
  });
});
