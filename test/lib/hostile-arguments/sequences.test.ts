/** What is submitted, and by which id it is asked for. */
import { describe, expect, it } from 'vitest';
import { CODES, inEveryField, NEVER, openEngine, outcome, params, sampling, sequence } from './support.js';

describe('the native addon: sequences', () => {
  const opened = openEngine();

  it('checks every field of a sequence', async () => {
    const submit = (argument: unknown) => opened.engine.submit([argument]);
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
      expect([...CODES, 'passed on']).toContain(outcome(() => opened.engine.submit(value())));
    }
    await opened.works();
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
    expect(outcome(() => opened.engine.submit([sequence(more)]))).toBe('INVALID_ARGUMENT');
    // One wrong sequence, and none of the call is taken up.
    expect(outcome(() => opened.engine.submit([sequence({ id: 9 }), sequence(more)]))).toBe(
      'INVALID_ARGUMENT',
    );
    expect(opened.engine.stats()).toMatchObject({ freePages: opened.engine.info.pages, running: 0 });
  });

  it('checks ids', () => {
    for (const [name, value] of NEVER) {
      for (const method of ['abort', 'release'] as const)
        expect(
          outcome(() => opened.engine[method](value())),
          name,
        ).toBe('INVALID_ARGUMENT');
    }
    for (const id of [123, 2 ** 53 - 1]) {
      opened.engine.abort(id);
      opened.engine.release(id);
    }
    expect(outcome(() => opened.engine.abort())).toBe('INVALID_ARGUMENT');
  });
});
