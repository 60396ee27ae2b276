/**
 * What the tests of wrong arguments share. Each takes functions of the addon with every kind of them: a typed JavaScript
 * error each time, and an engine that works as before. The addon is called directly, since TypeScript's types and the checks
 * of lib/engine are no defence.
 */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { CONFIG, OPTIONS, SAMPLING } from '../lifecycle/programs/support.mjs';

type Method = (this: unknown, ...args: unknown[]) => unknown;
type Native = Record<'submit' | 'abort' | 'release' | 'stats' | 'close', Method> & {
  constructor: new (...args: unknown[]) => object;
  info: { pages: number };
};
interface Addon {
  findGpu(...args: unknown[]): Promise<{ available: boolean }>;
  load(...args: unknown[]): { promise: Promise<Native>; abort(...args: unknown[]): void };
}

export const addon: Addon = createRequire(import.meta.url)('bindings')({
  bindings: 'block_attention',
  module_root: resolve('.'),
});

export type Fields = Record<string, unknown>;

export const config = (): Fields => ({
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
export const weights = (): Fields => ({ seed: 1, dtype: 'bf16' });
export const options = (): Fields => ({
  ...OPTIONS,
  threads: 1,
  cacheBytes: 1 << 20,
  maxBatchTokens: 16,
  maxPositions: 1000,
});
export const sampling = (): Fields => ({ ...SAMPLING, topLogprobs: 0, logitBias: [[3, 1]] });
export const params = (): Fields => ({
  maxTokens: 3,
  stopTokens: [63],
  sampling: sampling(),
  history: new Int32Array([1, 2]),
});
let nextId = 1000;
export const sequence = (more: Fields = {}): Fields => ({
  id: nextId++,
  segments: [],
  offset: 0,
  tokens: new Int32Array([1, 2, 3]),
  generation: params(),
  ...more,
});

export const detached = () => {
  const array = new Int32Array([1, 2, 3]);
  structuredClone(array, { transfer: [array.buffer] });
  return array;
};
/** Nothing that any field takes. Made anew for each use. */
export const NEVER: [string, () => unknown][] = [
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

export const CODES = [
  'INVALID_ARGUMENT',
  'MODEL_FORMAT',
  'UNSUPPORTED',
  'OUT_OF_MEMORY',
  'OUT_OF_PAGES',
  'CLOSED',
];

/** What came of a call. An error of the addon has a code; others are those that the argument's own code threw. */
export function outcome(call: () => unknown): string {
  try {
    call();
    return 'accepted';
  } catch (error) {
    if (!(error instanceof Error)) return 'threw no error';
    if (error.message === 'planted' || error instanceof TypeError) return 'passed on';
    return CODES.find((code) => 'code' in error && error.code === code) ?? `untyped: ${error}`;
  }
}

export const ignore = () => undefined;
export const load = (...args: unknown[]) => addon.load(...args, ignore, ignore).promise;

/** Every value in the place of every field; `allowed`: those that are in range there. */
export function inEveryField(
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

export interface Opened {
  /** There from the first test on. */
  engine: Native;
  /** The engine answers as ever, and all its pages are there afterwards. */
  works(): Promise<void>;
  /** Nothing runs any more. */
  comesToRest(): Promise<void>;
}

/** An engine for the tests of a file, which works at their end, too. */
export function openEngine(): Opened {
  const events: { id: number; finish?: string }[] = [];
  const turn = () => new Promise((done) => setImmediate(done));
  const opened: Opened = {
    engine: undefined as unknown as Native,
    async works() {
      const { engine } = opened;
      const spec = sequence();
      engine.submit([spec]);
      while (!events.some(({ id, finish }) => id === spec.id && finish !== undefined)) await turn();
      expect(events.at(-1)).toMatchObject({ id: spec.id, finish: 'length' });
      engine.release(spec.id);
      for (const { id } of events) engine.release(id);
      expect(engine.stats()).toMatchObject({ freePages: engine.info.pages, running: 0 });
      events.length = 0;
    },
    async comesToRest() {
      while ((opened.engine.stats() as { running: number }).running !== 0) await turn();
    },
  };
  beforeAll(async () => {
    const take = (batch: typeof events) => events.push(...batch);
    opened.engine = await addon.load(config(), weights(), options(), take, ignore).promise;
  });
  afterAll(async () => {
    await opened.works();
    await opened.engine.close();
  });
  return opened;
}
