/** How an engine is doing. */
import type { BlockCache } from '../cache/block-cache.js';
import type { NativeEngine, OpTime } from '../native.js';
import type { Scheduler } from './scheduler.js';

export interface EngineStats {
  /** What computes, and on a GPU what its linear layers run on: `engine.device`. */
  device: string;
  /** Requests that the native engine works on. */
  running: number;
  /** Requests that wait for pages of the cache. */
  waiting: number;
  /** Steps of the model, and tokens computed by them, since load. */
  steps: number;
  rows: number;
  cache: {
    /** Blocks that a request would find. */
    blocks: number;
    /** Bytes of cached blocks, in whole pages; running answers are not in it. */
    bytes: number;
    /** Bytes that are neither a block's nor an answer's. */
    freeBytes: number;
    capacityBytes: number;
    /** Uses of blocks by requests since load. */
    hits: number;
    misses: number;
    evictions: number;
  };
  /** Bytes of the weights in memory. */
  weightBytes: number;
  /** With the option `profile`: where the time of all steps since load went. Differences tell of the time in between. */
  profile?: OpTime[];
}

export function engineStats(native: NativeEngine, cache: BlockCache, scheduler: Scheduler): EngineStats {
  const { freePages, steps, rows, profile } = native.stats();
  const { blocks, pages, hits, misses, evictions } = cache.stats();
  const { device, pageBytes, weightBytes } = native.info;
  return {
    device,
    running: scheduler.running,
    waiting: scheduler.waiting,
    steps,
    rows,
    cache: {
      blocks,
      bytes: pages * pageBytes,
      freeBytes: freePages * pageBytes,
      capacityBytes: native.info.pages * pageBytes,
      hits,
      misses,
      evictions,
    },
    weightBytes,
    ...(profile === undefined ? {} : { profile }),
  };
}
