/** What a user is told of the device that 'auto' chose. */

/**
 * Undefined if there is nothing to say. That a build without CUDA computes on the CPU is news only to somebody who asked for
 * the choice.
 */
export function deviceRemark(choice: {
  /** `engine.deviceProblem`. */
  problem: string | undefined;
  /** `builtDevices()`. */
  built: readonly string[];
  /** Whether the user wrote `--device auto`. */
  asked: boolean;
}): string | undefined {
  const { problem, built, asked } = choice;
  if (problem === undefined || !(asked || built.includes('cuda'))) return undefined;
  return `computing on the CPU: ${problem}`;
}
