/** Encoding blocks ahead of time: one job per part of the plan, one after the other. */
import { BlockAttentionError } from '../errors.js';
import type { NativeModelConfig } from '../native.js';
import type { Plan } from './blocks.js';
import { blockCost } from './flops.js';
import type { BlockStatus, Job } from './job.js';
import type { BlockUsage } from './result.js';
import type { Scheduler } from './scheduler.js';
import { type SplitLimits, splitPlan } from './split-plan.js';
import { blockUsages } from './usage.js';

export async function encodePlan(
  plan: Plan,
  shape: NativeModelConfig,
  scheduler: Scheduler,
  limits: SplitLimits,
  signal: AbortSignal | undefined,
): Promise<BlockUsage[]> {
  const statuses: BlockStatus[] = plan.blocks.map(() => 'hit');
  const done = new Set<number>();
  for (const part of splitPlan(plan, limits)) {
    const partStatuses = await encodePart(part.plan, shape, scheduler, signal);
    for (const [place, index] of part.indices.entries()) {
      // A context goes with several parts: what counts is how it was come by first.
      if (!done.has(index)) statuses[index] = partStatuses[place] ?? 'hit';
      done.add(index);
    }
  }
  return blockUsages(plan, statuses);
}

function encodePart(
  plan: Plan,
  shape: NativeModelConfig,
  scheduler: Scheduler,
  signal: AbortSignal | undefined,
): Promise<readonly BlockStatus[]> {
  return new Promise((resolve, reject) => {
    let statuses: readonly BlockStatus[] = [];
    const abort = () => {
      scheduler.cancel(job);
      reject(new BlockAttentionError('ABORTED', 'Encoding was aborted.', { cause: signal?.reason }));
    };
    const over = () => signal?.removeEventListener('abort', abort);
    const job: Job = {
      plan,
      cost: blockCost(shape),
      final: undefined,
      user: {
        admitted: (admitted) => {
          statuses = admitted;
        },
        encoded: () => undefined,
        generated: () => undefined,
        ready: () => {
          over();
          resolve(statuses);
        },
        failed: (error) => {
          over();
          reject(error);
        },
      },
    };
    if (signal?.aborted) {
      abort();
      return;
    }
    signal?.addEventListener('abort', abort, { once: true });
    try {
      scheduler.enqueue(job);
    } catch (error) {
      over();
      reject(error);
    }
  });
}
