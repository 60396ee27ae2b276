/**
 * Which blocks' KV states are in memory. The cache decides and keeps the books; it touches no memory itself but tells its
 * owner which native ids to abort or release.
 *
 * Invariants: a block that is pinned is never evicted; a block is in the eviction heap exactly if it is ready, listed and
 * not pinned; every id is released exactly once; `pages` counts the blocks that are not gone.
 *
 * Eviction is GDSF (greedy-dual size frequency, Cherkasova 1998): priority = age + uses x cost / bytes, where the age is
 * the priority of the block evicted last, so that what was popular long ago goes in the end.
 */
import { type CachedBlock, newCachedBlock, type NewBlock } from './cached-block.js';
import { EvictionHeap } from './eviction-heap.js';
import type { BlockKey } from './key.js';

export interface BlockOwner {
  /** Abort the encoding of this id; `ended(id)` is to follow. */
  abort(id: number): void;
  /** Drop the id: its pages are not needed any more. */
  release(id: number): void;
}

export interface CacheStats {
  /** Blocks that a look-up finds. */
  blocks: number;
  /** Pages held, blocks that wait for their last user included. */
  pages: number;
  /** Pages of blocks that nobody uses now: what could be had by eviction. */
  evictablePages: number;
  /** Uses of blocks that were there, or being encoded for somebody else. */
  hits: number;
  misses: number;
  evictions: number;
}

export class BlockCache {
  readonly #owner: BlockOwner;
  readonly #byKey = new Map<BlockKey, CachedBlock>();
  readonly #byId = new Map<number, CachedBlock>();
  readonly #evictable = new EvictionHeap<CachedBlock>();
  #age = 0;
  #pages = 0;
  #evictablePages = 0;
  #hits = 0;
  #misses = 0;
  #evictions = 0;

  constructor(owner: BlockOwner) {
    this.#owner = owner;
  }

  get evictablePages(): number {
    return this.#evictablePages;
  }

  /** The block of this key, ready or being encoded. The tokens are compared: a hash is not an identity. */
  find(key: BlockKey, tokens: Int32Array): CachedBlock | undefined {
    const block = this.#byKey.get(key);
    return block !== undefined && sameTokens(block.tokens, tokens) ? block : undefined;
  }

  /** Takes up a block whose encoding was submitted, pinned once; what it saw is pinned until it is ready. */
  insert(block: NewBlock): CachedBlock {
    const replaced = this.#byKey.get(block.key);
    if (replaced !== undefined) this.#remove(replaced);
    const entry = newCachedBlock(block);
    this.#byKey.set(entry.key, entry);
    this.#byId.set(entry.id, entry);
    this.#pages += entry.pages;
    for (const seen of entry.context) this.pin(seen);
    entry.pins = 1;
    entry.uses = 1;
    this.#misses += 1;
    return entry;
  }

  /** Counts a use of a block that `find` gave and that the request has pinned. */
  hit(block: CachedBlock): void {
    block.uses += 1;
    this.#hits += 1;
  }

  pin(block: CachedBlock): void {
    if (block.heapIndex >= 0) {
      this.#evictable.remove(block);
      this.#evictablePages -= block.pages;
    }
    block.pins += 1;
  }

  /** The end of a `pin` or `insert`. An encoding that nobody waits for any more is aborted. */
  unpin(block: CachedBlock): void {
    block.pins -= 1;
    if (block.pins > 0) return;
    if (block.state === 'ready') this.#rest(block);
    if (block.state === 'encoding') {
      block.state = 'abandoned';
      this.#unlist(block);
      this.#owner.abort(block.id);
      // At once: what it saw may be needed by nobody else, and then a whole chain ends in one go.
      this.#leaveContext(block);
    }
  }

  /**
   * The native engine is done with an encoding. Returns the block if it is one of the cache's and somebody waits for it.
   * If it was not encoded, look-ups do not find it any more.
   */
  ended(id: number, encoded: boolean): CachedBlock | undefined {
    const block = this.#byId.get(id);
    if (block === undefined || block.state === 'ready') return undefined;
    const awaited = block.state === 'encoding';
    if (awaited && encoded) {
      block.state = 'ready';
    } else {
      this.#unlist(block);
      this.#drop(block);
    }
    if (!awaited) return undefined;
    this.#leaveContext(block);
    return block;
  }

  /** Evicts the block that is worth least. False: everything is in use. */
  evict(): boolean {
    const block = this.#evictable.peek();
    if (block === undefined) return false;
    this.#age = block.priority;
    this.#evictions += 1;
    this.#remove(block);
    return true;
  }

  /** Removes the blocks that `condemned` holds for. Those in use go when their last user is done. Returns how many. */
  delete(condemned: (block: CachedBlock) => boolean): number {
    const blocks = [...this.#byKey.values()].filter(condemned);
    for (const block of blocks) this.#remove(block);
    return blocks.length;
  }

  stats(): CacheStats {
    return {
      blocks: this.#byKey.size,
      pages: this.#pages,
      evictablePages: this.#evictablePages,
      hits: this.#hits,
      misses: this.#misses,
      evictions: this.#evictions,
    };
  }

  #remove(block: CachedBlock): void {
    this.#unlist(block);
    if (block.heapIndex < 0) return;
    this.#evictable.remove(block);
    this.#evictablePages -= block.pages;
    this.#drop(block);
  }

  /** A ready block without users: evictable, or gone at once if it was deleted meanwhile. */
  #rest(block: CachedBlock): void {
    if (!block.listed) {
      this.#drop(block);
      return;
    }
    block.priority = this.#age + (block.uses * block.cost) / block.pages;
    this.#evictable.push(block);
    this.#evictablePages += block.pages;
  }

  #unlist(block: CachedBlock): void {
    if (!block.listed) return;
    block.listed = false;
    this.#byKey.delete(block.key);
  }

  #drop(block: CachedBlock): void {
    this.#forget(block);
    this.#owner.release(block.id);
  }

  #forget(block: CachedBlock): void {
    block.state = 'gone';
    this.#byId.delete(block.id);
    this.#pages -= block.pages;
  }

  #leaveContext(block: CachedBlock): void {
    for (const seen of block.context) this.unpin(seen);
  }
}

function sameTokens(a: Int32Array, b: Int32Array): boolean {
  return bytesOf(a).equals(bytesOf(b));
}

function bytesOf(tokens: Int32Array): Buffer {
  return Buffer.from(tokens.buffer, tokens.byteOffset, tokens.byteLength);
}
