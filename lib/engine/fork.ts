/** Which answer another one to the same prompt can be a fork of. */
import type { CachedBlock } from '../cache/cached-block.js';
import type { BlockKey } from '../cache/key.js';
import type { Plan } from './blocks.js';

/** A job that the native engine works on. */
export interface Running {
  readonly job: { readonly plan: Plan };
  /** Pinned for this job. */
  readonly blocks: readonly CachedBlock[];
  /** Undefined: there is no final block. */
  readonly finalId: number | undefined;
}

/**
 * The id of the final block of a running answer to the prompt of `plan`. Its blocks must be those of `ids`: one that was
 * deleted since, and is encoded anew, is another.
 */
export function forkSource(
  plan: Plan,
  ids: ReadonlyMap<BlockKey, number>,
  running: Iterable<Running>,
): number | undefined {
  for (const { job, blocks, finalId } of running) {
    const same = job.plan === plan && blocks.every(({ key, id }) => ids.get(key) === id);
    if (same && finalId !== undefined) return finalId;
  }
  return undefined;
}
