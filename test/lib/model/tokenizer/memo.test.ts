import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TokenMemo, textDigest } from '#lib/model/tokenizer/memo.js';
import type { TextInput } from '#lib/model/types.js';

const tokens = (length: number) => new Int32Array(length);

describe('TokenMemo', () => {
  it('remembers what was set, the last of it', () => {
    const memo = new TokenMemo(10_000);
    const [first, second] = [tokens(3), tokens(4)];
    memo.set('a', first);
    expect(memo.get('a')).toBe(first);
    memo.set('a', second);
    expect(memo.get('a')).toBe(second);
    expect(memo.get('b')).toBeUndefined();
  });

  it('forgets what was not used for longest', () => {
    const memo = new TokenMemo(3 * (256 + 400));
    for (const name of ['a', 'b', 'c']) memo.set(name, tokens(100));
    memo.get('a');
    memo.set('d', tokens(100));
    expect(['a', 'b', 'c', 'd'].filter((name) => memo.get(name) !== undefined)).toEqual(['a', 'c', 'd']);
  });

  it('does not take what is larger than all of it, and keeps the rest', () => {
    const memo = new TokenMemo(1000);
    memo.set('a', tokens(10));
    memo.set('b', tokens(1000));
    expect(memo.get('a')).toBeDefined();
    expect(memo.get('b')).toBeUndefined();
    memo.set('a', tokens(1000));
    expect(memo.get('a')).toBeUndefined();
    expect(memo.bytes).toBe(0);
  });

  it('remembers nothing without room', () => {
    const memo = new TokenMemo(0);
    memo.set('a', tokens(0));
    expect(memo.get('a')).toBeUndefined();
  });

  it('never takes more than it may, and counts right', () => {
    fc.assert(
      fc.property(fc.nat(4000), fc.array(fc.tuple(fc.nat(9), fc.nat(300))), (capacity, sets) => {
        const memo = new TokenMemo(capacity);
        const lengths = new Map<string, number>();
        for (const [name, length] of sets) {
          memo.set(`${name}`, tokens(length));
          lengths.set(`${name}`, length);
          expect(memo.bytes).toBeLessThanOrEqual(capacity);
        }
        let bytes = 0;
        for (const [name, length] of lengths) {
          const kept = memo.get(name);
          if (kept === undefined) continue;
          expect(kept).toHaveLength(length);
          bytes += 4 * length + 256;
        }
        expect(memo.bytes).toBe(bytes);
        memo.clear();
        expect(memo.bytes).toBe(0);
      }),
    );
  });
});

describe('textDigest', () => {
  const plain = (...texts: string[]): TextInput => ({ parts: texts.map((text) => ({ text })) });
  const special = (...texts: string[]): TextInput => ({
    parts: texts.map((text) => ({ text, special: true })),
  });

  it('is the same for the same input alone', () => {
    const inputs: TextInput[] = [
      '',
      'a',
      'ab',
      plain(),
      plain('ab'),
      plain('a', 'b'),
      special('ab'),
      special('a', 'b'),
      { parts: [{ text: 'a', special: true }, { text: 'b' }] },
      plain('a', 'plain 1\0b'),
      plain('aplain 1\0b'),
    ];
    const digests = inputs.map(textDigest);
    expect(new Set(digests).size).toBe(inputs.length);
    expect(inputs.map(textDigest)).toEqual(digests);
    expect(textDigest({ parts: [{ text: 'a', special: false }] })).toBe(textDigest(plain('a')));
  });
});
