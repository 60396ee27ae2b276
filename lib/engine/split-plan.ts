/**
 * Cuts a plan of blocks to encode into smaller ones that are admitted one after the other, so that warming a thousand
 * documents lets requests in between and never needs more pages at once than there are. What a block sees goes with it.
 */
import type { Plan, PlannedBlock } from './blocks.js';

export interface SubPlan {
  plan: Plan;
  /** For each block of it, its index in the whole plan. */
  indices: readonly number[];
}

export interface SplitLimits {
  /** Tokens of one part; one block may be longer. */
  tokens: number;
  blocks: number;
}

export function splitPlan(plan: Plan, limits: SplitLimits): SubPlan[] {
  const parts: SubPlan[] = [];
  let members = new Set<number>();
  const lengthOf = (indices: Iterable<number>) => {
    let tokens = 0;
    for (const index of indices) tokens += plan.blocks[index]?.tokens.length ?? 0;
    return tokens;
  };
  for (const [index, block] of plan.blocks.entries()) {
    const needed = [...block.context.map((entry) => entry.index), index];
    const joined = new Set([...members, ...needed]);
    if (members.size > 0 && (joined.size > limits.blocks || lengthOf(joined) > limits.tokens)) {
      parts.push(subPlan(plan, members));
      members = new Set(needed);
    } else {
      members = joined;
    }
  }
  if (members.size > 0) parts.push(subPlan(plan, members));
  return parts;
}

function subPlan(plan: Plan, members: ReadonlySet<number>): SubPlan {
  const indices = [...members].sort((a, b) => a - b);
  const placeOf = new Map(indices.map((index, place) => [index, place]));
  const blocks = indices.flatMap((index): PlannedBlock[] => {
    const block = plan.blocks[index];
    if (block === undefined) return [];
    const context = block.context.map((entry) => ({ ...entry, index: placeOf.get(entry.index) ?? 0 }));
    return [{ ...block, context }];
  });
  return { plan: { ...plan, blocks }, indices };
}
