/** A plan's blocks and final block as the native engine takes them. `ids`: the native id of each block, by its key. */
import type { BlockKey } from '../cache/key.js';
import { BlockAttentionError } from '../errors.js';
import type { NativeSequence } from '../native.js';
import type { Plan, PlannedBlock } from './blocks.js';
import type { FinalBlock } from './job.js';

export function encodingOf(
  block: PlannedBlock,
  plan: Plan,
  ids: ReadonlyMap<BlockKey, number>,
): NativeSequence {
  return {
    id: idOf(ids, block.key),
    segments: block.context.map(({ index, offset }) => ({
      id: idOf(ids, plan.blocks[index]?.key ?? ''),
      offset,
    })),
    offset: block.encodeOffset,
    tokens: block.tokens,
  };
}

export function finalOf(
  plan: Plan,
  final: FinalBlock,
  { id, forkOf }: { id: number; forkOf: number | undefined },
  ids: ReadonlyMap<BlockKey, number>,
): NativeSequence {
  return {
    id,
    segments: plan.blocks
      .filter((block) => block.tokens.length > 0)
      .map((block) => ({ id: idOf(ids, block.key), offset: block.offset })),
    offset: plan.length,
    tokens: final.tokens,
    generation: final.generation,
    ...(forkOf === undefined ? {} : { forkOf }),
  };
}

export function idOf(ids: ReadonlyMap<BlockKey, number>, key: BlockKey): number {
  const id = ids.get(key);
  if (id === undefined) throw new BlockAttentionError('INTERNAL', `Block ${key} has no native id.`);
  return id;
}
