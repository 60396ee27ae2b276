// All benchmarks by name, in the order in which `--short` runs them.
import { ttft } from './ttft/main.mjs';

/** @type {ReadonlyMap<string, import('./common/benchmark.mjs').Benchmark>} */
export const benchmarks = new Map([['ttft', ttft]]);
