import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StopStrings } from '#lib/engine/stop-strings.js';

/** Feeds the pieces and gives the whole emitted text, what was emitted after each piece, and whether it stopped. */
function run(stops: string[], pieces: string[]) {
  const stopper = new StopStrings(stops);
  const emitted: string[] = [];
  for (const piece of pieces) {
    const { text, stopped } = stopper.push(piece);
    emitted.push(text);
    if (stopped) return { text: emitted.join(''), emitted, stopped };
  }
  return { text: emitted.join('') + stopper.end(), emitted, stopped: false };
}

describe('stop strings', () => {
  it('lets text pass that cannot become a stop string', () => {
    expect(run(['END'], ['abc', 'def'])).toEqual({ text: 'abcdef', emitted: ['abc', 'def'], stopped: false });
  });

  it('stops in front of a stop string that is spread over pieces', () => {
    expect(run(['END'], ['abE', 'N', 'Dxyz'])).toEqual({
      text: 'ab',
      emitted: ['ab', '', ''],
      stopped: true,
    });
  });

  it('gives held text out once it cannot become a stop string, or the text ends', () => {
    expect(run(['END'], ['abE', 'Nx'])).toEqual({ text: 'abENx', emitted: ['ab', 'ENx'], stopped: false });
    expect(run(['END'], ['abEN'])).toEqual({ text: 'abEN', emitted: ['ab'], stopped: false });
  });

  it('holds back what overlaps with itself', () => {
    expect(run(['aab'], ['a', 'a', 'a', 'b']).text).toBe('a');
  });

  it('takes the stop string that is complete first, of those the longest', () => {
    expect(run(['abcd', 'bc'], ['abcd']).text).toBe('a');
    expect(run(['bc', 'abc'], ['xabc']).text).toBe('x');
  });

  it('works without stop strings', () => {
    expect(run([], ['a', 'b'])).toEqual({ text: 'ab', emitted: ['a', 'b'], stopped: false });
  });

  it('gives the same for any cutting into pieces, never emits a stop string, and holds back no more than it must', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 20 });
    const stop = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.array(stop, { maxLength: 3 }), letters, fc.array(fc.nat(20)), (stops, text, cuts) => {
        const borders = [0, ...cuts.filter((cut) => cut <= text.length).sort((a, b) => a - b), text.length];
        const pieces = borders.slice(1).map((end, index) => text.slice(borders[index], end));
        const cut = run(stops, pieces);
        const whole = run(stops, [text]);
        const single = run(stops, [...text]);
        expect(cut.text).toBe(whole.text);
        expect(single.text).toBe(whole.text);
        expect([cut.stopped, single.stopped]).toEqual([whole.stopped, whole.stopped]);
        // The plain definition: the text in front of the stop string whose end comes first, the longest among equals.
        const found = stops
          .filter((candidate) => text.includes(candidate))
          .map((candidate) => ({
            begin: text.indexOf(candidate),
            end: text.indexOf(candidate) + candidate.length,
          }))
          .sort((a, b) => a.end - b.end || a.begin - b.begin)[0];
        expect(whole.text).toBe(found === undefined ? text : text.slice(0, found.begin));
        for (const candidate of stops) expect(cut.text).not.toContain(candidate);
        // What is held back after each character is a beginning of some stop string.
        let read = '';
        let given = '';
        for (const [index, piece] of single.emitted.entries()) {
          read += text[index];
          given += piece;
          const held = read.slice(given.length);
          if (!single.stopped || index < single.emitted.length - 1) {
            expect(held === '' || stops.some((candidate) => candidate.startsWith(held))).toBe(true);
          }
        }
      }),
      { numRuns: 2000 },
    );
  });
});
