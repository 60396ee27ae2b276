// The C++ tests under sanitizers, in a build folder of their own. A long form: not part of the usual checks.
//   npm run test:sanitized -- address;undefined      npm run test:sanitized -- thread
// Further arguments go to ctest.
import { availableParallelism } from 'node:os';
import { exitCodeOf, runMain, runStep, SetupError } from './setup/process.mjs';
import { buildRequirements, ensureSystem } from './setup/system.mjs';

await runMain(async () => {
  const [sanitizers = 'address;undefined', ...ctestArguments] = process.argv.slice(2);
  if (!/^(address|undefined|thread)(;(address|undefined|thread))*$/.test(sanitizers)) {
    throw new SetupError(`Unknown sanitizers "${sanitizers}": give "address;undefined" or "thread".`);
  }
  const folder = `build/sanitized-${sanitizers.replaceAll(';', '-')}`;
  const parallel = ['--parallel', String(availableParallelism())];
  await ensureSystem([...buildRequirements, 'googletest']);
  await runStep('configuring', 'cmake', [
    ...['-S', '.', '-B', folder],
    '-DCMAKE_BUILD_TYPE=RelWithDebInfo',
    '-DBLOCK_ATTENTION_ADDON=OFF',
    '-DBLOCK_ATTENTION_TESTS=ON',
    `-DBLOCK_ATTENTION_SANITIZE=${sanitizers}`,
  ]);
  await runStep('building', 'cmake', ['--build', folder, ...parallel, '--target', 'native_tests']);
  return exitCodeOf('ctest', ['--test-dir', folder, ...parallel, '--output-on-failure', ...ctestArguments]);
});
