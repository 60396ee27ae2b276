// clang-format over all C++ sources: checks, or with --write rewrites.
import { exitCodeOf, runMain } from './setup/process.mjs';
import { filesIn } from './setup/sources.mjs';
import { ensureSystem } from './setup/system.mjs';

await runMain(async () => {
  await ensureSystem(['clangFormat']);
  const mode = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '--Werror'];
  return exitCodeOf('clang-format', [
    ...mode,
    ...filesIn(['native', 'test/native', 'test/fuzz', 'bench'], /\.(cpp|hpp|cu|cuh)$/),
  ]);
});
