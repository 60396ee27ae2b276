import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type KeyedBlock, type KeyScope, KeyScheme } from '#lib/cache/key.js';

const scope: KeyScope = {
  modelId: 'model',
  kvLayout: 'bf16 pages of 32',
  numerics: 'cpu avx2',
  invFreq: [1, 0.1, 0.01],
  ropeAttentionFactor: 1,
};
const first = new KeyScheme(scope).key({ namespace: '', context: [], tokens: Int32Array.of(9) });
const second = new KeyScheme(scope).key({ namespace: '', context: [], tokens: Int32Array.of(8) });
const block: KeyedBlock = {
  namespace: 'tenant',
  context: [
    { key: first, distance: 7 },
    { key: second, distance: 3 },
  ],
  tokens: Int32Array.of(1, 2, 3),
};

function keyOf(scopeChange: Partial<KeyScope> = {}, blockChange: Partial<KeyedBlock> = {}): string {
  return new KeyScheme({ ...scope, ...scopeChange }).key({ ...block, ...blockChange });
}

describe('block key', () => {
  it('is a SHA-256, the same for the same block', () => {
    expect(keyOf()).toMatch(/^[0-9a-f]{64}$/);
    expect(keyOf()).toBe(keyOf());
  });

  it('does not depend on where the token ids lie in memory', () => {
    const memory = Int32Array.of(99, 1, 2, 3, 99);
    expect(keyOf({}, { tokens: memory.subarray(1, 4) })).toBe(keyOf());
  });

  const scopeChanges: [string, Partial<KeyScope>][] = [
    ['model id', { modelId: 'model2' }],
    ['KV layout', { kvLayout: 'f32 pages of 32' }],
    ['numerics', { numerics: 'cpu avx512' }],
    ['a frequency', { invFreq: [1, 0.1, 0.010000000000000002] }],
    ['the number of frequencies', { invFreq: [1, 0.1] }],
    ['the attention factor', { ropeAttentionFactor: 1.1 }],
  ];
  const blockChanges: [string, Partial<KeyedBlock>][] = [
    ['namespace', { namespace: 'tenant2' }],
    ['no namespace', { namespace: '' }],
    ['no context', { context: [] }],
    ['order of the context', { context: [...block.context].reverse() }],
    ['a shorter context', { context: block.context.slice(0, 1) }],
    [
      'a distance',
      {
        context: [
          { key: first, distance: 8 },
          { key: second, distance: 3 },
        ],
      },
    ],
    ['a token', { tokens: Int32Array.of(1, 2, 4) }],
    ['order of the tokens', { tokens: Int32Array.of(2, 1, 3) }],
    ['one token more', { tokens: Int32Array.of(1, 2, 3, 0) }],
    ['no tokens', { tokens: new Int32Array() }],
  ];

  it.each(scopeChanges)('changes with the scope: %s', (_name, change) => {
    expect(keyOf(change)).not.toBe(keyOf());
  });

  it.each(blockChanges)('changes with the block: %s', (_name, change) => {
    expect(keyOf({}, change)).not.toBe(keyOf());
  });

  it('keeps neighbouring texts and lone surrogates apart', () => {
    expect(keyOf({ modelId: 'ab', kvLayout: 'c' })).not.toBe(keyOf({ modelId: 'a', kvLayout: 'bc' }));
    expect(keyOf({}, { namespace: '\ud800' })).not.toBe(keyOf({}, { namespace: '\ud801' }));
  });

  it('gives different blocks different keys', () => {
    const blocks = fc.record({
      namespace: fc.string({ maxLength: 3 }),
      context: fc.array(
        fc.record({ key: fc.constantFrom(first, second), distance: fc.integer({ min: 1, max: 3 }) }),
        {
          maxLength: 3,
        },
      ),
      tokens: fc
        .array(fc.integer({ min: 0, max: 2 }), { maxLength: 4 })
        .map((tokens) => Int32Array.from(tokens)),
    });
    const scheme = new KeyScheme(scope);
    fc.assert(
      fc.property(blocks, blocks, (a, b) => {
        const same = JSON.stringify([a, [...a.tokens]]) === JSON.stringify([b, [...b.tokens]]);
        expect(scheme.key(a) === scheme.key(b)).toBe(same);
      }),
    );
  });

  it('refuses a context that is not a key', () => {
    expect(() => keyOf({}, { context: [{ key: 'abcd', distance: 1 }] })).toThrow(RangeError);
  });
});
