/**
 * A binary heap whose items know their place in it, so that any of them can be taken out in O(log n): a cached block
 * leaves the heap whenever a request begins to use it. The item with the least priority is on top; among equals the one
 * that came first.
 */

export interface HeapItem {
  priority: number;
  /** Place in the heap, -1 outside of it; the heap alone writes it. */
  heapIndex: number;
  /** Order of arrival; the heap alone writes it. */
  heapOrder: number;
}

export class EvictionHeap<Item extends HeapItem> {
  readonly #items: Item[] = [];
  #arrivals = 0;

  get size(): number {
    return this.#items.length;
  }

  peek(): Item | undefined {
    return this.#items[0];
  }

  push(item: Item): void {
    item.heapOrder = this.#arrivals++;
    this.#items.push(item);
    this.#rise(item, this.#items.length - 1);
  }

  remove(item: Item): void {
    const index = item.heapIndex;
    if (this.#items[index] !== item) throw new RangeError('the item is not in this heap');
    item.heapIndex = -1;
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    this.#rise(last, index);
    this.#sink(last, last.heapIndex);
  }

  #rise(item: Item, start: number): void {
    let index = start;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = this.#items[above];
      if (parent === undefined || !before(item, parent)) break;
      this.#place(parent, index);
      index = above;
    }
    this.#place(item, index);
  }

  #sink(item: Item, start: number): void {
    let index = start;
    for (;;) {
      let below = 2 * index + 1;
      let child = this.#items[below];
      const right = this.#items[below + 1];
      if (child !== undefined && right !== undefined && before(right, child)) {
        child = right;
        below += 1;
      }
      if (child === undefined || !before(child, item)) break;
      this.#place(child, index);
      index = below;
    }
    this.#place(item, index);
  }

  #place(item: Item, index: number): void {
    this.#items[index] = item;
    item.heapIndex = index;
  }
}

function before(a: HeapItem, b: HeapItem): boolean {
  return a.priority < b.priority || (a.priority === b.priority && a.heapOrder < b.heapOrder);
}
