// All benchmarks by name, in the order in which `--short` runs them.
import { decode } from './decode/main.mjs';
import { eventLoop } from './event-loop/main.mjs';
import { kernels } from './kernels/main.mjs';
import { load } from './load/main.mjs';
import { peers } from './peers/main.mjs';
import { quality } from './quality/main.mjs';
import { throughput } from './throughput/main.mjs';
import { ttft } from './ttft/main.mjs';

/** @type {ReadonlyMap<string, import('./common/benchmark.mjs').Benchmark>} */
export const benchmarks = new Map([
  ['ttft', ttft],
  ['decode', decode],
  ['throughput', throughput],
  ['load', load],
  ['event-loop', eventLoop],
  ['kernels', kernels],
  ['peers', peers],
  ['quality', quality],
]);
