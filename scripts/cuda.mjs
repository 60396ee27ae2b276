// Compiles the CUDA backend for every architecture, and compares what its kernels take of the chip (registers, shared
// and local memory) with the report in native/cuda/resources.json. Without nvcc there is nothing to do.
//   npm run check:cuda                npm run check:cuda -- --write
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { problemsOf } from './cuda/compare.mjs';
import { readUsage } from './cuda/usage.mjs';
import { outputOf, root, runMain, runStep, SetupError } from './setup/process.mjs';
import { buildRequirements, ensureSystem } from './setup/system.mjs';

/** @import { Report } from './cuda/compare.mjs' */

const folder = 'build/cuda';
const reportFile = 'native/cuda/resources.json';
const nvcc = process.env.CUDACXX ?? 'nvcc';

/** @returns {Report} */
function committedReport() {
  if (!existsSync(`${root}${reportFile}`)) return { nvcc: '', reasons: {}, kernels: {} };
  return JSON.parse(readFileSync(`${root}${reportFile}`, 'utf8'));
}

await runMain(async () => {
  const version = /release ([\d.]+)/.exec(outputOf(nvcc, ['--version']) ?? '')?.[1];
  if (version === undefined) {
    process.stdout.write('skipped: the CUDA backend was not compiled, since nvcc was not found\n');
    return 0;
  }
  await ensureSystem(buildRequirements);
  await runStep('configuring the CUDA backend', 'cmake', [
    ...['-S', '.', '-B', folder],
    '-DBLOCK_ATTENTION_ADDON=OFF',
    '-DBLOCK_ATTENTION_CUDA=ON',
    `-DCMAKE_CUDA_COMPILER=${nvcc}`,
    `-DCMAKE_CUDA_COMPILER_LAUNCHER=${process.execPath};${root}scripts/cuda/record-usage.mjs`,
  ]);
  await runStep(`compiling the CUDA backend by nvcc ${version}`, 'cmake', [
    ...['--build', folder],
    ...['--parallel', String(availableParallelism())],
    ...['--target', 'block_attention_cuda'],
  ]);
  const now = { nvcc: version, kernels: readUsage(`${root}${folder}`) };
  const report = committedReport();
  if (process.argv.includes('--write')) {
    const { reasons } = report;
    writeFileSync(
      `${root}${reportFile}`,
      `${JSON.stringify({ nvcc: version, reasons, kernels: now.kernels }, null, 2)}\n`,
    );
  }
  const problems = problemsOf(committedReport(), now);
  if (problems.length > 0) {
    throw new SetupError(
      `${problems.join('\n')}\n\nIf this is meant: npm run check:cuda -- --write, and commit ${reportFile}.`,
    );
  }
  process.stdout.write(
    `${Object.keys(now.kernels).length} kernels compiled by nvcc ${version}; none spills\n`,
  );
  return 0;
});
