// clang-tidy (.clang-tidy) over the C++ sources, one file per core at a time. The kernels of native/cpu are left out:
// each is compiled once per instruction set there, and would take longer than all the rest.
// Arguments: files to look at instead.
import { availableParallelism } from 'node:os';
import { ensurePackages } from './setup.mjs';
import { buildFolder, configureNative } from './setup/native.mjs';
import { exitCodeOf, runMain, runStep } from './setup/process.mjs';
import { filesIn } from './setup/sources.mjs';
import { buildRequirements, ensureSystem } from './setup/system.mjs';

const folders = ['core', 'kv', 'model', 'engine', 'addon'].map((name) => `native/${name}`);

await runMain(async () => {
  await ensurePackages();
  await ensureSystem([...buildRequirements, 'clangTidy']);
  await configureNative({ tests: false });
  // Files that came or went since then: the list of compile commands has to know them.
  await runStep('refreshing the compile commands', 'cmake', [buildFolder]);

  const named = process.argv.slice(2);
  const queue = named.length > 0 ? named : filesIn(folders, /\.cpp$/);
  /** @type {string[]} */
  const failed = [];
  const worker = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      if ((await exitCodeOf('clang-tidy', ['--quiet', '-p', buildFolder, file])) !== 0) failed.push(file);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  if (failed.length > 0) process.stderr.write(`clang-tidy: findings in ${failed.join(', ')}\n`);
  return failed.length === 0 ? 0 : 1;
});
