import { describe, expect, it } from 'vitest';
import { type KeyScope, KeyScheme } from '#lib/cache/key.js';
import { type PlanOptions, planBlocks } from '#lib/engine/blocks.js';
import { splitPlan } from '#lib/engine/split-plan.js';

const scope: KeyScope = { modelId: '', kvLayout: '', numerics: '', invFreq: [1], ropeAttentionFactor: 1 };
const keys = new KeyScheme(scope);
const block: PlanOptions = { attention: 'block', sharedPrefix: false, namespace: '' };
const shared: PlanOptions = { ...block, sharedPrefix: true };
const full: PlanOptions = { ...block, attention: 'full' };

const A = Int32Array.of(1, 2, 3);
const B = Int32Array.of(4, 5);
const C = Int32Array.of(6);
const EMPTY = new Int32Array();

const plan = (blocks: Int32Array[], options: PlanOptions) => planBlocks(blocks, options, keys);
const keyAt = (blocks: Int32Array[], options: PlanOptions, index: number) =>
  plan(blocks, options).blocks[index]?.key;

describe('plan of a prompt', () => {
  it('puts blocks one behind the other in the prompt', () => {
    const { blocks, length } = plan([A, B, C], block);
    expect(blocks.map((b) => b.offset)).toEqual([0, 3, 5]);
    expect(length).toBe(6);
  });

  it('in block mode encodes each block on its own, so that its key is the same wherever it stands', () => {
    const { blocks } = plan([A, B], block);
    expect(blocks.map((b) => [b.encodeOffset, b.context, b.seen])).toEqual([
      [0, [], []],
      [0, [], []],
    ]);
    expect(keyAt([A, B], block, 1)).toBe(keyAt([B, A], block, 0));
    expect(keyAt([A], block, 0)).not.toBe(keyAt([B], block, 0));
  });

  it('in full mode lets each block see all before it, at their distances', () => {
    const { blocks } = plan([A, B, C], full);
    expect(blocks.map((b) => [b.encodeOffset, b.context])).toEqual([
      [0, []],
      [3, [{ index: 0, offset: 0 }]],
      [
        5,
        [
          { index: 0, offset: 0 },
          { index: 1, offset: 3 },
        ],
      ],
    ]);
    expect(blocks[2]?.seen).toEqual([blocks[0]?.content, blocks[1]?.content]);
  });

  it('in full mode reuses a common start at block boundaries, and nothing else', () => {
    expect(keyAt([A, B, C], full, 1)).toBe(keyAt([A, B], full, 1));
    expect(keyAt([A, B], full, 1)).not.toBe(keyAt([C, B], full, 1));
    expect(keyAt([A, B, C], full, 2)).not.toBe(keyAt([B, A, C], full, 2));
    expect(keyAt([A, B], full, 1)).not.toBe(keyAt([A, B], block, 1));
  });

  it('shares the first block between both modes: it saw nothing in either', () => {
    expect(keyAt([A, B], full, 0)).toBe(keyAt([A], block, 0));
  });

  it('with a shared prefix encodes every block directly behind the first one', () => {
    const { blocks } = plan([A, B, C], shared);
    expect(blocks.map((b) => [b.offset, b.encodeOffset, b.context])).toEqual([
      [0, 0, []],
      [3, 3, [{ index: 0, offset: 0 }]],
      [5, 3, [{ index: 0, offset: 0 }]],
    ]);
    expect(keyAt([A, B, C], shared, 2)).toBe(keyAt([A, C], shared, 1));
    expect(keyAt([B, C], shared, 1)).not.toBe(keyAt([A, C], shared, 1));
    // The block behind the first one sees the same in full mode.
    expect(keyAt([A, B], shared, 1)).toBe(keyAt([A, B], full, 1));
  });

  it('lets nobody see an empty block', () => {
    expect(keyAt([EMPTY, A, EMPTY, B], full, 3)).toBe(keyAt([A, B], full, 1));
    expect(plan([EMPTY, A], shared).blocks[1]?.context).toEqual([]);
    expect(plan([A, EMPTY, B], full).blocks.map((b) => b.offset)).toEqual([0, 3, 3]);
  });

  it('keeps namespaces apart', () => {
    expect(keyAt([A], { ...block, namespace: 'x' }, 0)).not.toBe(keyAt([A], block, 0));
  });
});

describe('cutting a plan', () => {
  const unlimited = { blocks: Number.POSITIVE_INFINITY, tokens: Number.POSITIVE_INFINITY };

  it('leaves a plan within the limits whole', () => {
    const whole = plan([A, B, C], full);
    expect(splitPlan(whole, unlimited)).toEqual([{ plan: whole, indices: [0, 1, 2] }]);
    expect(splitPlan(plan([], block), unlimited)).toEqual([]);
  });

  it('cuts by blocks and by tokens', () => {
    const indices = (limits: Partial<typeof unlimited>, options = block) =>
      splitPlan(plan([A, B, C, C, B], options), { ...unlimited, ...limits }).map((part) => part.indices);
    expect(indices({ blocks: 2 })).toEqual([[0, 1], [2, 3], [4]]);
    expect(indices({ tokens: 5 })).toEqual([
      [0, 1],
      [2, 3, 4],
    ]);
    expect(indices({ tokens: 1 })).toEqual([[0], [1], [2], [3], [4]]);
    expect(indices({ blocks: 2 }, shared)).toEqual([
      [0, 1],
      [0, 2],
      [0, 3],
      [0, 4],
    ]);
  });

  it('keeps what a block sees with it', () => {
    const [, second] = splitPlan(plan([A, B, C], shared), { ...unlimited, blocks: 2 });
    expect(second?.plan.blocks[1]).toMatchObject({
      tokens: C,
      encodeOffset: 3,
      context: [{ index: 0, offset: 0 }],
    });
  });
});
