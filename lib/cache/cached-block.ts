/** A block whose KV states the native engine holds, as the cache keeps its books about it. */
import type { HeapItem } from './eviction-heap.js';
import type { BlockKey } from './key.js';

export interface NewBlock {
  key: BlockKey;
  /** The key that the same tokens would have without a context: names the content wherever it stands. */
  content: BlockKey;
  /** Contents of all blocks that it saw, directly or through a block that it saw. */
  seen: readonly BlockKey[];
  namespace: string;
  tokens: Int32Array;
  /** Id of the native sequence that encodes it. */
  id: number;
  /** Pages of the KV pool. */
  pages: number;
  /** What encoding it again would cost, in floating-point operations. */
  cost: number;
  /** The blocks that its encoding reads. */
  context: readonly CachedBlock[];
}

/**
 * encoding: being computed, other requests may refer to it already; ready: computed; abandoned: the encoding was aborted
 * because nobody waits for it any more, the native engine has yet to confirm; gone: the native engine was told to drop it.
 */
export type BlockState = 'encoding' | 'ready' | 'abandoned' | 'gone';

export interface CachedBlock extends Readonly<NewBlock>, HeapItem {
  state: BlockState;
  /** Users: requests, and encodings of blocks that see this one. */
  pins: number;
  /** Requests that used it, the one that encoded it included. */
  uses: number;
  /** Whether a look-up finds it. */
  listed: boolean;
}

export function newCachedBlock(block: NewBlock): CachedBlock {
  return {
    ...block,
    state: 'encoding',
    pins: 0,
    uses: 0,
    listed: true,
    priority: 0,
    heapIndex: -1,
    heapOrder: 0,
  };
}
