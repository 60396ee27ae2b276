/** Loading a model: configs, files, options, and aborting it. */
import { describe, expect, it } from 'vitest';
import type { Fields } from './support.js';
import {
  addon,
  CODES,
  config,
  detached,
  ignore,
  inEveryField,
  load,
  NEVER,
  openEngine,
  options,
  outcome,
  weights,
} from './support.js';

describe('the native addon: loading', () => {
  // One that goes on meanwhile.
  openEngine();

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
