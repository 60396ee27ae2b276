import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EvictionHeap, type HeapItem } from '#lib/cache/eviction-heap.js';

interface Item extends HeapItem {
  name: number;
}

function item(name: number, priority: number): Item {
  return { name, priority, heapIndex: -1, heapOrder: 0 };
}

describe('eviction heap', () => {
  it('always has the least priority on top, the earliest among equals, whatever is taken out', () => {
    const steps = fc.array(
      fc.oneof(
        fc.record({ push: fc.integer({ min: 0, max: 5 }) }),
        fc.record({ remove: fc.nat({ max: 30 }) }),
        fc.constant({ pop: true as const }),
      ),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(steps, (list) => {
        const heap = new EvictionHeap<Item>();
        const model: Item[] = [];
        let names = 0;
        const leastOf = () =>
          [...model].sort((a, b) => a.priority - b.priority || a.heapOrder - b.heapOrder)[0];
        const take = (chosen: Item | undefined) => {
          if (chosen === undefined) return;
          heap.remove(chosen);
          expect(chosen.heapIndex).toBe(-1);
          model.splice(model.indexOf(chosen), 1);
        };
        for (const step of list) {
          if ('push' in step) {
            const pushed = item(names++, step.push);
            heap.push(pushed);
            model.push(pushed);
          } else if ('remove' in step) {
            take(model[step.remove % Math.max(1, model.length)]);
          } else {
            take(heap.peek());
          }
          expect(heap.size).toBe(model.length);
          expect(heap.peek()).toBe(leastOf());
        }
      }),
    );
  });

  it('refuses to remove what is not in it', () => {
    const heap = new EvictionHeap<Item>();
    heap.push(item(1, 1));
    expect(() => heap.remove(item(2, 1))).toThrow(RangeError);
    expect(() => heap.remove({ ...item(2, 1), heapIndex: 0 })).toThrow(RangeError);
  });
});
