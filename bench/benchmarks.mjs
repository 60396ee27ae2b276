// All benchmarks by name, in the order in which `--short` runs them.
import { kernels } from './kernels/main.mjs';
import { ttft } from './ttft/main.mjs';

/** @type {ReadonlyMap<string, import('./common/benchmark.mjs').Benchmark>} */
export const benchmarks = new Map([
  ['ttft', ttft],
  ['kernels', kernels],
]);
