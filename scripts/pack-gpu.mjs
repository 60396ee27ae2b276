// Packs the built project into build/pack: Node, the libraries that it links, the addon, the tests and the benchmarks, so
// that `build/pack/run.sh test` or `run.sh bench ...` works on an x86-64 machine with a GPU that has no Node.
// With nvcc, the addon in the pack has the CUDA backend.
//   npm run pack:gpu
import { cpSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { currentCommit } from '../bench/common/record.mjs';
import { packageFolders } from './pack/packages.mjs';
import { outputOf, root, runMain, runStep, SetupError } from './setup/process.mjs';
import { ensureReady } from './setup.mjs';

const pack = `${root}build/pack`;
const cudaFolder = 'build/pack-cuda';
const kMostBytes = 60e6;

/** Native programs for the GPU. */
const programs = ['cuda_tests', 'cuda_bench'];

/** What a run reads of the repository; test/vocabularies (540 MB of real tokenizers) stays behind. */
const contents = [
  ...['package.json', 'vitest.config.ts', 'tsconfig.json', 'dist', 'models', 'bench', 'examples', 'scripts'],
  ...['test/bench', 'test/fixtures', 'test/fuzz', 'test/lib', 'build/Release/block_attention.node'],
];

/** The addon and the native tests with the CUDA backend, for every architecture. */
async function buildWithCuda() {
  await runStep('configuring with the CUDA backend', process.execPath, [
    ...['node_modules/cmake-js/bin/cmake-js', 'configure', '--out', cudaFolder, '--log-level', 'warn'],
    ...['--CDBLOCK_ATTENTION_CUDA=ON', '--CDBLOCK_ATTENTION_TESTS=ON', '--CDBLOCK_ATTENTION_BENCH=ON'],
    `--CDBLOCK_ATTENTION_ADDON_FOLDER=${root}${cudaFolder}/addon`,
  ]);
  await runStep('building with the CUDA backend (some minutes the first time)', 'cmake', [
    ...['--build', cudaFolder, '--parallel', String(availableParallelism())],
    ...['--target', 'block_attention', ...programs],
  ]);
}

/** Shared libraries that Node links and a machine may lack. @returns {string[]} */
function nodeLibraries() {
  const linked = outputOf('ldd', [process.execPath]);
  if (linked === undefined) throw new SetupError('ldd could not be run');
  return [...linked.matchAll(/=> (\/\S*\/lib(?:stdc\+\+|gcc_s|atomic)\.so\S*)/g)].map(
    ([, path = '']) => path,
  );
}

await runMain(async () => {
  await ensureReady({ tests: false });
  const cuda = outputOf('nvcc', ['--version']) !== undefined;
  if (cuda) await buildWithCuda();
  else process.stderr.write('[pack] nvcc was not found: the pack computes on the CPU alone\n');

  const { dependencies } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));
  const stage = `${pack}/stage`;
  rmSync(pack, { recursive: true, force: true });
  for (const path of [
    ...contents,
    ...packageFolders(root, [...Object.keys(dependencies), 'vitest', 'fast-check']),
  ]) {
    mkdirSync(dirname(join(stage, path)), { recursive: true });
    cpSync(join(root, path), join(stage, path), {
      recursive: true,
      // A nested node_modules comes by its own entry, if at all.
      filter: (from) => !from.slice(root.length + path.length).includes('node_modules'),
    });
  }
  mkdirSync(`${stage}/runtime`);
  for (const library of nodeLibraries())
    cpSync(library, join(stage, 'runtime', library.split('/').at(-1) ?? ''), { dereference: true });
  writeFileSync(`${stage}/runtime/commit`, currentCommit());
  cpSync(process.execPath, `${stage}/runtime/node`, { dereference: true });
  if (cuda) {
    cpSync(`${root}${cudaFolder}/addon/block_attention.node`, `${stage}/build/Release/block_attention.node`);
    for (const program of programs) cpSync(`${root}${cudaFolder}/${program}`, `${stage}/runtime/${program}`);
  }
  // The kernels are in the addon and in each program: a dictionary that holds all of them.
  const xz = 'xz --lzma2=preset=9,dict=192MiB';
  await runStep('packing', 'tar', ['-C', stage, '-I', xz, '-cf', `${pack}/project.tar.xz`, '.']);
  rmSync(stage, { recursive: true });
  cpSync(`${root}scripts/pack/run.sh`, `${pack}/run.sh`);
  const { size } = statSync(`${pack}/project.tar.xz`);
  if (size > kMostBytes) throw new SetupError(`the pack is ${size} bytes, more than ${kMostBytes}`);
  process.stdout.write(
    `build/pack: ${(size / 1e6).toFixed(1)} MB, ${cuda ? 'with' : 'without'} the CUDA backend\n`,
  );
  return 0;
});
