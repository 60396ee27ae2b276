/**
 * The plan of a prompt: where each block stands, and what it sees while it is encoded. Everything the field ships is one
 * mechanism: no context is Block-Attention, all blocks before is ordinary full attention (so that reuse of a common start
 * falls out), the first block alone is a shared prefix.
 */
import type { BlockKey, KeyScheme } from '../cache/key.js';

export interface PlanOptions {
  attention: 'block' | 'full';
  /** Block mode only: the first block is the context of all others. */
  sharedPrefix: boolean;
  namespace: string;
}

export interface PlannedContext {
  /** Which block of the plan. */
  index: number;
  /** Where it stands while the block that sees it is encoded. */
  offset: number;
}

export interface PlannedBlock {
  key: BlockKey;
  /** Key of the same tokens without a context. */
  content: BlockKey;
  /** Contents of the context. */
  seen: readonly BlockKey[];
  /** May be empty: then there is nothing to encode, and nobody sees it. */
  tokens: Int32Array;
  /** In the prompt. */
  offset: number;
  /** While it is encoded, behind its context: the same distances wherever the prompt puts it. */
  encodeOffset: number;
  context: readonly PlannedContext[];
}

export interface Plan {
  namespace: string;
  blocks: readonly PlannedBlock[];
  /** Tokens of all blocks: where the final block begins. */
  length: number;
}

export function planBlocks(blocks: readonly Int32Array[], options: PlanOptions, keys: KeyScheme): Plan {
  const planned: PlannedBlock[] = [];
  let offset = 0;
  for (const tokens of blocks) {
    const context = contextOf(planned, options);
    const encodeOffset = context.reduce(
      (end, { index, offset: at }) => Math.max(end, at + lengthOf(planned, index)),
      0,
    );
    const content = keys.key({ namespace: options.namespace, context: [], tokens });
    const key =
      context.length === 0
        ? content
        : keys.key({
            namespace: options.namespace,
            context: context.map(({ index, offset: at }) => ({
              key: blockAt(planned, index).key,
              distance: encodeOffset - at,
            })),
            tokens,
          });
    const seen = context.map(({ index }) => blockAt(planned, index).content);
    planned.push({ key, content, seen, tokens, offset, encodeOffset, context });
    offset += tokens.length;
  }
  return { namespace: options.namespace, blocks: planned, length: offset };
}

/** What the block behind `earlier` sees. */
function contextOf(earlier: readonly PlannedBlock[], options: PlanOptions): PlannedContext[] {
  const all = earlier.map((block, index) => ({ index, offset: block.offset }));
  const visible = options.attention === 'full' ? all : options.sharedPrefix ? all.slice(0, 1) : [];
  return visible.filter(({ index }) => lengthOf(earlier, index) > 0);
}

function lengthOf(blocks: readonly PlannedBlock[], index: number): number {
  return blockAt(blocks, index).tokens.length;
}

function blockAt(blocks: readonly PlannedBlock[], index: number): PlannedBlock {
  const block = blocks[index];
  if (block === undefined) throw new RangeError(`the plan has no block ${index}`);
  return block;
}
