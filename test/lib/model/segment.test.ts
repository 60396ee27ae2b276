import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { segment } from '#lib/model/segment.js';

const pieces = (prompt: string) => {
  const { blocks, query } = segment(prompt);
  return [...blocks, query];
};

describe('segment', () => {
  it.each([
    ['one piece', 'abc', ['abc']],
    ['empty lines first', 'a\nb\n\nc---d\n\ne', ['a\nb\n\n', 'c---d\n\n', 'e']],
    ['dashes before lines, and they begin a block', 'a\n---\nb\n---\nc', ['a\n', '---\nb\n', '---\nc']],
    ['equal signs', 'a===b\nc', ['a', '===b\nc']],
    ['an indented line', 'a\n\tb\nc\n\td', ['a\n\t', 'b\nc\n\t', 'd']],
    ['lines', 'a\nb\nc', ['a\n', 'b\n', 'c']],
    ['no white space alone', 'a\n\n\n\n  \n\nb\n\n', ['a\n\n\n\n  \n\n', 'b\n\n']],
    ['not at the beginning either', '\n\na\n\nb', ['\n\na\n\n', 'b']],
  ])('%s', (_, prompt, expected) => {
    expect(pieces(prompt)).toEqual(expected);
  });

  it('merges the shortest with its shorter neighbour, never the last', () => {
    const words = [
      'dddd',
      'ccc',
      'a',
      'bb',
      ...Array.from({ length: 11 }, (_, i) => 'x'.repeat(10 + i)),
      'q',
    ];
    const lines = words.join('\n').split(/(?<=\n)/);
    const merged = pieces(lines.join(''));
    // 16 pieces: "a" goes to "bb", then "ccc" and "a bb" are alike, and the first is merged with its shorter neighbour.
    expect(merged).toHaveLength(14);
    expect(merged.slice(0, 2)).toEqual(['dddd\nccc\n', 'a\nbb\n']);
    expect(merged.at(-1)).toBe('q');
  });

  it('keeps every character, and has fewer than 15 blocks, none empty', () => {
    const text = fc.string({
      unit: fc.constantFrom('a', 'b', '\n', '\n\n', '---', '===', '\t', ' '),
      maxLength: 200,
    });
    fc.assert(
      fc.property(text, (prompt) => {
        const found = pieces(prompt);
        expect(found.join('')).toBe(prompt);
        expect(found.length).toBeLessThan(15);
        if (prompt !== '') expect(found).not.toContain('');
      }),
    );
  });

  it('merges as the rule says, also many pieces', () => {
    const length = fc.integer({ min: 0, max: 6 });
    fc.assert(
      fc.property(fc.array(length, { minLength: 14, maxLength: 60 }), (lengths) => {
        const lines = lengths.map((count) => `${'x'.repeat(count + 1)}\n`);
        const blocks = [...lines];
        while (blocks.length > 13) {
          const shortest = blocks.findIndex((b) => b.length === Math.min(...blocks.map((x) => x.length)));
          const at = (i: number) => blocks[i]?.length ?? Number.POSITIVE_INFINITY;
          const first = at(shortest - 1) <= at(shortest + 1) ? shortest - 1 : shortest;
          blocks.splice(first, 2, blocks.slice(first, first + 2).join(''));
        }
        expect(segment(`${lines.join('')}q`)).toEqual({ blocks, query: 'q' });
      }),
    );
  });

  it('does not take quadratic time over many lines', () => {
    const prompt = Array.from({ length: 100_000 }, (_, i) => `line ${i}`).join('\n');
    const start = performance.now();
    expect(pieces(prompt)).toHaveLength(14);
    // The square would take minutes.
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});
