/** How the blocks of a plan were come by. */
import type { Plan } from './blocks.js';
import type { BlockUsage } from './result.js';
import type { BlockStatus } from './job.js';

/** Empty if the plan was not admitted. */
export function blockUsages(plan: Plan | undefined, statuses: readonly BlockStatus[]): BlockUsage[] {
  return statuses.flatMap((status, index) => {
    const block = plan?.blocks[index];
    return block === undefined ? [] : [{ tokens: block.tokens.length, status, key: block.key }];
  });
}

export function cachedTokens(blocks: readonly BlockUsage[]): number {
  return blocks.reduce((sum, block) => sum + (block.status === 'hit' ? block.tokens : 0), 0);
}
