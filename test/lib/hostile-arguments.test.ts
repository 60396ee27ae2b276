/**
 * Every function of the addon with every kind of wrong argument: a typed JavaScript error each time, and an engine that
 * works as before. The addon is called directly, since TypeScript's types and the checks of lib/engine are no defence.
 */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CONFIG, OPTIONS, SAMPLING } from './lifecycle/programs/support.mjs';

type Method = (this: unknown, ...args: unknown[]) => unknown;
type Native = Record<'submit' | 'abort' | 'release' | 'stats' | 'close', Method> & {
  constructor: new (...args: unknown[]) => object;
  info: { pages: number };
};
interface Addon {
  findGpu(...args: unknown[]): Promise<{ available: boolean }>;
  load(...args: unknown[]): { promise: Promise<Native>; abort(...args: unknown[]): void };
}

const addon: Addon = createRequire(import.meta.url)('bindings')({
  bindings: 'block_attention',
  module_root: resolve('.'),
});

type Fields = Record<string, unknown>;

const config = (): Fields => ({
  ...CONFIG,
  vocabSize: 64,
  hiddenSize: 32,
  intermediateSize: 32,
  numLayers: 2,
  numHeads: 2,
  numKvHeads: 1,
  headDim: 16,
  windows: [0, 0],
  invFreq: CONFIG.invFreq.slice(0, 8),
});
const weights = (): Fields => ({ seed: 1, dtype: 'bf16' });
const options = (): Fields => ({
  ...OPTIONS,
  threads: 1,
  cacheBytes: 1 << 20,
  maxBatchTokens: 16,
  maxPositions: 1000,
});
const sampling = (): Fields => ({ ...SAMPLING, topLogprobs: 0, logitBias: [[3, 1]] });
const params = (): Fields => ({
  maxTokens: 3,
  stopTokens: [63],
  sampling: sampling(),
  history: new Int32Array([1, 2]),
});
let nextId = 1000;
const sequence = (more: Fields = {}): Fields => ({
  id: nextId++,
  segments: [],
  offset: 0,
  tokens: new Int32Array([1, 2, 3]),
  generation: params(),
  ...more,
});

const detached = () => {
  const array = new Int32Array([1, 2, 3]);
  structuredClone(array, { transfer: [array.buffer] });
  return array;
};
/** Nothing that any field takes. Made anew for each use. */
const NEVER: [string, () => unknown][] = [
  ['null', () => null],
  ['NaN', () => Number.NaN],
  ['infinity', () => Number.POSITIVE_INFINITY],
  ['-1e308', () => -1e308],
  ['1e308', () => 1e308],
  ['a fraction', () => -0.5],
  ['2^53', () => 2 ** 53],
  ['2^64', () => 2 ** 64],
  ['-2^63', () => -(2 ** 63)],
  ['a bigint', () => 1n],
  ['a symbol', () => Symbol('planted')],
  ['a string', () => 'planted'],
  ['a lone surrogate', () => '\ud800'],
  ['a function', () => () => 1],
  ['an object', () => ({})],
  ['a Proxy that throws', () => new Proxy({}, throwingTraps())],
  ['a Proxy of an array', () => new Proxy([1], {})],
  ['a revoked Proxy', revoked],
  ['a Date', () => new Date(0)],
  ['a sparse array', () => Array(3)],
  ['nested arrays', () => [[[]]]],
  ['a Float64Array', () => new Float64Array(3)],
  ['an ArrayBuffer', () => new ArrayBuffer(8)],
  ['a SharedArrayBuffer', () => new SharedArrayBuffer(8)],
  ['a DataView', () => new DataView(new ArrayBuffer(8))],
  ['a detached Int32Array', detached],
];

function throwingTraps(): ProxyHandler<object> {
  const trap = () => {
    throw new RangeError('planted');
  };
  return { get: trap, has: trap, ownKeys: trap, getPrototypeOf: trap, getOwnPropertyDescriptor: trap };
}

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

const CODES = ['INVALID_ARGUMENT', 'MODEL_FORMAT', 'UNSUPPORTED', 'OUT_OF_MEMORY', 'OUT_OF_PAGES', 'CLOSED'];

/** What came of a call. An error of the addon has a code; others are those that the argument's own code threw. */
function outcome(call: () => unknown): string {
  try {
    call();
    return 'accepted';
  } catch (error) {
    if (!(error instanceof Error)) return 'threw no error';
    if (error.message === 'planted' || error instanceof TypeError) return 'passed on';
    return CODES.find((code) => 'code' in error && error.code === code) ?? `untyped: ${error}`;
  }
}

const ignore = () => undefined;
const load = (...args: unknown[]) => addon.load(...args, ignore, ignore).promise;

describe('the native addon', () => {
  let engine: Native;
  const events: { id: number; finish?: string }[] = [];

  beforeAll(async () => {
    engine = await addon.load(
      config(),
      weights(),
      options(),
      (batch: typeof events) => events.push(...batch),
      ignore,
    ).promise;
  });
  afterAll(async () => {
    await works();
    await engine.close();
  });

  async function comesToRest() {
    const running = () => (engine.stats() as { running: number }).running;
    while (running() !== 0) await new Promise((done) => setImmediate(done));
  }

  /** The engine answers as ever, and all its pages are there afterwards. */
  async function works() {
    const spec = sequence();
    engine.submit([spec]);
    while (!events.some(({ id, finish }) => id === spec.id && finish !== undefined))
      await new Promise((done) => setImmediate(done));
    expect(events.at(-1)).toMatchObject({ id: spec.id, finish: 'length' });
    engine.release(spec.id);
    for (const { id } of events) engine.release(id);
    expect(engine.stats()).toMatchObject({ freePages: engine.info.pages, running: 0 });
    events.length = 0;
  }

  /** Every value in the place of every field; `allowed`: those that are in range there. */
  function inEveryField(
    make: () => Fields,
    call: (argument: unknown) => unknown,
    allowed: Record<string, string[]> = {},
  ) {
    for (const field of Object.keys(make())) {
      for (const [name, value] of [...NEVER, ['undefined', ignore] as [string, () => unknown]]) {
        const result = outcome(() => call({ ...make(), [field]: value() }));
        const right = allowed[field]?.includes(name) ? ['accepted'] : [...CODES, 'passed on'];
        expect(right, `${field}: ${name}`).toContain(result);
      }
      const missing = { ...make() };
      delete missing[field];
      const result = outcome(() => call(missing));
      const optional = allowed[field]?.includes('undefined');
      expect(optional ? ['accepted'] : CODES, `${field} missing`).toContain(result);
      const throws = Object.defineProperty({ ...make() }, field, {
        get() {
          throw new RangeError('planted');
        },
      });
      expect(
        outcome(() => call(throws)),
        `${field} throws`,
      ).toBe('passed on');
    }
  }

  it('exports what is tested here, and nothing else', () => {
    const functions = Object.entries(addon).filter(([, value]) => typeof value === 'function');
    expect(functions.map(([name]) => name)).toEqual(['load', 'findGpu']);
    const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(engine));
    expect(methods.sort()).toEqual(['abort', 'close', 'constructor', 'release', 'stats', 'submit']);
    const loading = addon.load(config(), weights(), options(), ignore, ignore);
    expect(Object.keys(loading)).toEqual(['promise', 'abort']);
    return loading.promise.then((loaded) => loaded.close());
  });

  it('checks the arguments of load', () => {
    for (const [name, value] of NEVER) {
      const places = [
        () => load(value(), weights(), options()),
        () => load(config(), value(), options()),
        () => load(config(), weights(), value()),
        () => addon.load(config(), weights(), options(), name === 'a function' ? 1 : value(), ignore),
        () => addon.load(config(), weights(), options(), ignore, name === 'a function' ? 1 : value()),
      ];
      for (const call of places) expect([...CODES, 'passed on'], name).toContain(outcome(call));
    }
    for (let count = 0; count < 5; count++) {
      const args = [config(), weights(), options(), ignore].slice(0, count);
      expect(outcome(() => addon.load(...args))).toBe('INVALID_ARGUMENT');
    }
    inEveryField(config, (argument) => load(argument, weights(), options()));
    inEveryField(weights, (argument) => load(config(), argument, options()));
    inEveryField(options, (argument) => load(config(), weights(), argument), {
      kvDtype: ['undefined'],
      cacheBytes: ['undefined'],
    });
    for (const weightsCache of ['', 1, {}, 'folder']) {
      const more = { weightFormat: 'int8', weightsCache };
      expect(outcome(() => load(config(), weights(), { ...options(), ...more }))).toBe('INVALID_ARGUMENT');
    }
  });

  it('checks the fields of files and tensors', async () => {
    const tensor = () => ({ name: 'x', file: 0, dtype: 'bf16', shape: [1], offset: 0, bytes: 2 });
    const loaded = (tensors: unknown) => load(config(), { files: ['/dev/null'], tensors }, options());
    for (const field of Object.keys(tensor())) {
      for (const [name, value] of NEVER) {
        const broken = { ...tensor(), [field]: value() };
        let result: string;
        try {
          const promise = loaded([broken]);
          result = await promise.then(
            () => 'accepted',
            (error: { code?: string }) => error.code ?? 'untyped',
          );
        } catch (error) {
          result = outcome(() => {
            throw error;
          });
        }
        expect([...CODES, 'IO', 'passed on'], `${field}: ${name}`).toContain(result);
      }
    }
    for (const offset of [0, 1, 2 ** 53 - 1])
      await expect(loaded([{ ...tensor(), offset }])).rejects.toMatchObject({ code: /MODEL_FORMAT|IO/ });
  });

  it('refuses configs whose sizes are absurd, without allocating for them', async () => {
    const huge = 2 ** 31 - 1;
    const cases: Fields[] = [
      { numLayers: 0 },
      { numLayers: 1e9 },
      { numHeads: 3, numKvHeads: 2 },
      { numKvHeads: 0 },
      { vocabSize: huge },
      { hiddenSize: huge },
      { intermediateSize: huge },
      { headDim: huge },
      { windows: [-1, 0] },
      { windows: [0] },
      { invFreq: [] },
      { invFreq: Array(1000).fill(1) },
      { rmsNormEps: -1 },
    ];
    for (const broken of cases) {
      const call = () => load({ ...config(), ...broken }, weights(), options());
      expect(['MODEL_FORMAT', 'INVALID_ARGUMENT'], JSON.stringify(broken).slice(0, 80)).toContain(
        outcome(call),
      );
    }
    for (const broken of [{ cacheBytes: 2 ** 53 - 1 }, { cacheBytes: 2 ** 45 }, { cacheBytes: 1 }]) {
      const promise = load(config(), weights(), { ...options(), ...broken });
      await expect(promise).rejects.toMatchObject({
        code: broken.cacheBytes === 1 ? 'INVALID_ARGUMENT' : 'OUT_OF_MEMORY',
      });
    }
  });

  it('checks every field of a sequence', async () => {
    const submit = (argument: unknown) => engine.submit([argument]);
    // What is empty or in range by accident: `generation` may be left out; a detached array is an empty one.
    inEveryField(sequence, submit, { generation: ['undefined'] });
    inEveryField(params, (generation) => submit(sequence({ generation })), {
      history: ['a detached Int32Array'],
    });
    inEveryField(sampling, (more) => submit(sequence({ generation: { ...params(), sampling: more } })), {
      presencePenalty: ['a fraction'],
      frequencyPenalty: ['a fraction'],
    });
    for (const [, value] of NEVER) {
      const segments = [
        { id: value(), offset: 0 },
        { id: 0, offset: value() },
      ];
      for (const segment of [value(), ...segments])
        expect([...CODES, 'passed on']).toContain(outcome(() => submit(sequence({ segments: [segment] }))));
      expect([...CODES, 'passed on']).toContain(outcome(() => engine.submit(value())));
    }
    await works();
  });

  it.each([
    ['a negative token', { tokens: new Int32Array([-1]) }],
    ['a token behind the vocabulary', { tokens: new Int32Array([64]) }],
    ['a token of history', { generation: { ...params(), history: new Int32Array([64]) } }],
    ['no tokens', { tokens: new Int32Array() }],
    ['a position behind the last', { offset: 998 }],
    ['a position of two thousand million', { offset: 2e9 }],
    ['too many new tokens', { generation: { ...params(), maxTokens: 2 ** 31 - 1 } }],
    ['a block that does not exist', { segments: [{ id: 5, offset: 0 }], offset: 10 }],
    ['itself', { id: 7, segments: [{ id: 7, offset: 0 }], offset: 10 }],
    ['a fork of what does not exist', { forkOf: 5 }],
    ['a fork of itself', { id: 7, forkOf: 7 }],
    ['a fork of nonsense', { forkOf: '7' }],
    ['a fork of nothing', { forkOf: null }],
    ['a fork of a fraction', { forkOf: 0.5 }],
  ])('refuses %s', (_what, more) => {
    expect(outcome(() => engine.submit([sequence(more)]))).toBe('INVALID_ARGUMENT');
    // One wrong sequence, and none of the call is taken up.
    expect(outcome(() => engine.submit([sequence({ id: 9 }), sequence(more)]))).toBe('INVALID_ARGUMENT');
    expect(engine.stats()).toMatchObject({ freePages: engine.info.pages, running: 0 });
  });

  it('takes tokens out of shared memory, and copies them before it looks', async () => {
    const shared = new Int32Array(new SharedArrayBuffer(12));
    engine.submit([sequence({ id: 1, tokens: shared })]);
    shared.fill(-1);
    expect(outcome(() => engine.submit([sequence({ id: 2, tokens: shared })]))).toBe('INVALID_ARGUMENT');
    await works();
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
      const id = nextId++;
      outcomes.add(
        outcome(() => {
          engine.submit([sequence({ id, tokens: shared.subarray(0, 100) })]);
          engine.release(id);
        }),
      );
    }
    await writer.terminate();
    expect(['accepted', 'INVALID_ARGUMENT', 'OUT_OF_PAGES']).toEqual(expect.arrayContaining([...outcomes]));
    await comesToRest();
    await works();
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
      expect(outcome(() => engine.submit([spec]))).toBe(bytes === 0 ? 'INVALID_ARGUMENT' : 'accepted');
      engine.release(spec.id);
    }
    const buffer = new Resizable(400, { maxByteLength: 4000 });
    const behind = new Int32Array(buffer, 200, 10);
    buffer.resize(100);
    expect(outcome(() => engine.submit([sequence({ tokens: behind })]))).toBe('INVALID_ARGUMENT');
    await comesToRest();
    await works();
  });

  it('survives getters that change or use what is being read', async () => {
    const spec = sequence();
    const tokens = new Int32Array([1, 2, 3]);
    const sequences: unknown[] = [];
    const mutating = Object.defineProperty({ ...spec, tokens }, 'segments', {
      get() {
        sequences.length = 0;
        structuredClone(tokens, { transfer: [tokens.buffer] });
        engine.submit([sequence({ id: 3 })]);
        engine.release(3);
        return [];
      },
    });
    sequences.push(mutating, mutating, mutating);
    expect(outcome(() => engine.submit(sequences))).toBe('INVALID_ARGUMENT');
    expect(outcome(() => engine.submit([sequence({ id: 4 }), sequence({ id: 4 })]))).toBe('INVALID_ARGUMENT');
    await works();
  });

  it('checks ids', () => {
    for (const [name, value] of NEVER) {
      for (const method of ['abort', 'release'] as const)
        expect(
          outcome(() => engine[method](value())),
          name,
        ).toBe('INVALID_ARGUMENT');
    }
    for (const id of [123, 2 ** 53 - 1]) {
      engine.abort(id);
      engine.release(id);
    }
    expect(outcome(() => engine.abort())).toBe('INVALID_ARGUMENT');
  });

  it('knows its own objects', () => {
    const others = [undefined, null, 1, {}, Object.create(engine), new Proxy(engine, {}), addon, []];
    for (const method of ['submit', 'abort', 'release', 'stats', 'close'] as const)
      for (const other of others) expect(() => engine[method].call(other, [])).toThrow(TypeError);
    const NativeEngine = engine.constructor;
    for (const argument of [undefined, {}, engine, 1])
      expect(() => new NativeEngine(argument)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(() => Reflect.construct(NativeEngine, [], Map)).toThrow();
    expect(() => Reflect.apply(NativeEngine, {}, [])).toThrow();
    class Derived extends NativeEngine {}
    expect(() => new Derived()).toThrow();
  });

  it('does not leave its thread', () => {
    const { port1 } = new MessageChannel();
    const clone = expect.objectContaining({ name: 'DataCloneError' });
    expect(() => port1.postMessage(engine.submit)).toThrow(clone);
    expect(() => port1.postMessage(addon)).toThrow(clone);
    // Its methods stay behind: what arrives elsewhere is its `info`, and no engine.
    expect(structuredClone(engine)).toEqual({ info: engine.info });
    port1.close();
  });

  it('checks its arguments in another thread, too, while this one uses it', async () => {
    const worker = new Worker(new URL('./hostile-worker.mjs', import.meta.url), {
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
    while (running) await works();
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
    await works();
  });

  it('aborts a load at any time, with anything', async () => {
    const loading = addon.load(config(), weights(), options(), ignore, ignore);
    loading.abort.call(null, Symbol('planted'), detached());
    await loading.promise.then(
      (loaded) => loaded.close(),
      (error) => expect(error).toMatchObject({ code: 'ABORTED' }),
    );
    loading.abort();
  });
});
