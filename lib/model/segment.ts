/**
 * Cuts a plain prompt into blocks by the rules of the Block-Attention paper (arXiv 2409.15355): at the first
 * kind of delimiter that it has. No character is lost: newlines stay with the block before, other delimiters begin the
 * block behind. The shortest pieces are merged until there are few enough.
 */

/** In order of preference. */
const DELIMITERS = ['\n\n', '---', '===', '\n\t', '\n'] as const;

/** With the final block there are fewer than 15. */
const MAX_PIECES = 14;

export interface Segments {
  blocks: string[];
  /** The last piece: the final block. */
  query: string;
}

export function segment(prompt: string): Segments {
  const delimiter = DELIMITERS.find((candidate) => prompt.includes(candidate));
  const blocks = delimiter === undefined ? [prompt] : cut(prompt, delimiter);
  const query = blocks.pop() ?? '';
  mergeShortest(blocks, MAX_PIECES - 1);
  return { blocks, query };
}

function cut(prompt: string, delimiter: string): string[] {
  const staysBefore = delimiter.startsWith('\n');
  const parts = prompt.split(delimiter);
  const pieces: string[] = [];
  for (const [i, part] of parts.entries()) {
    const isLast = i === parts.length - 1;
    const piece = staysBefore ? part + (isLast ? '' : delimiter) : (i === 0 ? '' : delimiter) + part;
    // White space alone, as between three newlines, is no block.
    if (piece.trim() === '' && pieces.length > 0) pieces[pieces.length - 1] += piece;
    else if (pieces.length === 1 && pieces[0]?.trim() === '') pieces[0] += piece;
    else if (piece !== '') pieces.push(piece);
  }
  return pieces;
}

/** Again and again the shortest with the shorter one of its neighbours; the first of equals. */
function mergeShortest(pieces: string[], most: number): void {
  // A list whose entries know their neighbours, and a queue: a prompt may have very many lines.
  const lengths = pieces.map((piece) => piece.length);
  const next = pieces.map((_, i) => i + 1);
  const previous = pieces.map((_, i) => i - 1);
  const queue = new LengthQueue(lengths);
  const lengthAt = (i: number | undefined) => lengths[i ?? -1] ?? Number.POSITIVE_INFINITY;
  for (let left = pieces.length; left > most; left--) {
    const shortest = queue.take();
    const before = previous[shortest] ?? -1;
    const first = lengthAt(before) <= lengthAt(next[shortest]) ? before : shortest;
    const second = next[first] ?? pieces.length;
    const behind = next[second] ?? pieces.length;
    pieces[first] = `${pieces[first]}${pieces[second]}`;
    lengths[first] = lengthAt(first) + lengthAt(second);
    // Marks it as gone.
    lengths[second] = Number.NaN;
    next[first] = behind;
    if (behind < pieces.length) previous[behind] = first;
    queue.add(first);
  }
  const merged = pieces.filter((_, i) => !Number.isNaN(lengthAt(i)));
  pieces.splice(0, pieces.length, ...merged);
}

/** Indices by their lengths, the first of equals first: a binary heap. An index whose length has changed is added again. */
class LengthQueue {
  readonly #lengths: readonly number[];
  readonly #heap: { index: number; length: number }[] = [];

  /** @param lengths Is read again: an entry whose length is no longer this one is out of date. */
  constructor(lengths: readonly number[]) {
    this.#lengths = lengths;
    for (const index of lengths.keys()) this.add(index);
  }

  add(index: number): void {
    const heap = this.#heap;
    const entry = { index, length: this.#lengths[index] ?? Number.NaN };
    let at = heap.length;
    for (let parent = heap[(at - 1) >> 1]; at > 0 && parent && isBefore(entry, parent); ) {
      heap[at] = parent;
      at = (at - 1) >> 1;
      parent = heap[(at - 1) >> 1];
    }
    heap[at] = entry;
  }

  /** The index of the smallest length; -1 if there is none. */
  take(): number {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined) return -1;
      this.#removeFirst();
      if (this.#lengths[first.index] === first.length) return first.index;
    }
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const [left, right] = [heap[2 * at + 1], heap[2 * at + 2]];
      const child = right !== undefined && left !== undefined && isBefore(right, left) ? right : left;
      if (child === undefined || !isBefore(child, last)) break;
      heap[at] = child;
      at = 2 * at + (child === right ? 2 : 1);
    }
    heap[at] = last;
  }
}

function isBefore(a: { index: number; length: number }, b: { index: number; length: number }): boolean {
  return a.length < b.length || (a.length === b.length && a.index < b.index);
}
