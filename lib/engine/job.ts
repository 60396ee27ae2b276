/** What the scheduler is asked to do, and whom it tells about it. */
import type { BlockAttentionError } from '../errors.js';
import type { NativeEvent, NativeGenerationParams } from '../native.js';
import type { Plan, PlannedBlock } from './blocks.js';

export type BlockStatus = 'hit' | 'miss';

/** What a job wants to hear. */
export interface JobUser {
  /** The job left the queue at `at` (`nativeNow()`). One status for each block of its plan. */
  admitted(statuses: readonly BlockStatus[], at: number): void;
  /** A block that this job missed on is encoded. */
  encoded(event: NativeEvent): void;
  /** News of the final block. */
  generated(event: NativeEvent): void;
  /** A job without a final block is done: all its blocks are ready. */
  ready(): void;
  /** The job is over. */
  failed(error: BlockAttentionError): void;
}

export interface FinalBlock {
  tokens: Int32Array;
  generation: NativeGenerationParams;
}

export interface Job {
  readonly plan: Plan;
  /** What encoding a block costs, in floating-point operations. */
  readonly cost: (block: PlannedBlock) => number;
  /** Without it, the job encodes its blocks. */
  readonly final: FinalBlock | undefined;
  readonly user: JobUser;
}
