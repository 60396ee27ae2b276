// All the set-up that `npm test`, `npm run demo` and `npm run bench` need, on a machine with Node and nothing else:
// system packages, npm packages, the TypeScript and the native build. Each step runs only when it is stale, so a second
// start costs a few file system calls. Plain JavaScript without dependencies: it runs before there are any.
import { exitCodeOf, root, runMain, runStep } from './setup/process.mjs';
import { buildNative } from './setup/native.mjs';
import { mtimeOf, whenStale } from './setup/stamps.mjs';
import { buildRequirements, ensureSystem } from './setup/system.mjs';

/**
 * Installs a folder's npm packages when they are absent or older than its lockfile. Builds nothing.
 *
 * @param {string} folder relative to the root, with a slash at its end, or ''
 * @param {string} what for the progress line
 */
export async function ensurePackagesOf(folder, what) {
  const at = `${root}${folder}`;
  if (mtimeOf(`${at}node_modules/.package-lock.json`) >= mtimeOf(`${at}package-lock.json`)) return;
  const prefix = folder === '' ? [] : ['--prefix', folder];
  await runStep(`installing ${what}`, 'npm', [
    'ci',
    ...prefix,
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
  ]);
}

/** The npm packages of the repository. */
export function ensurePackages() {
  return ensurePackagesOf('', 'the npm packages');
}

/** dist/, from lib/. The npm packages are there. */
export function ensureTypeScript() {
  return whenStale('typescript', { inputs: ['lib', 'tsconfig.json'], outputs: ['dist'] }, () =>
    runStep('compiling TypeScript', process.execPath, [
      'node_modules/typescript/bin/tsc',
      '-p',
      'tsconfig.json',
    ]),
  );
}

/**
 * Everything built and up to date. Throws SetupError with what to do when that is not possible.
 *
 * @param {{ tests: boolean }} options tests: the C++ tests as well (needs GoogleTest)
 */
export async function ensureReady({ tests }) {
  await ensurePackages();
  if (tests) await ensurePackagesOf('test/vocabularies/', 'real tokenizers to test with (540 MB)');
  await ensureTypeScript();
  const inputs = ['native', 'CMakeLists.txt', 'cmake', 'node_modules/.package-lock.json'];
  const outputs = ['build/Release/block_attention.node', 'build/cmake/CMakeCache.txt'];
  const requirements = tests ? [...buildRequirements, 'googletest'] : buildRequirements;
  await whenStale(
    tests ? 'native-tests' : 'native',
    {
      inputs: tests ? [...inputs, 'test/native'] : inputs,
      outputs: tests
        ? [...outputs, 'build/Release/block_attention_emulated.node', 'build/cmake/native_tests']
        : outputs,
    },
    async () => {
      await ensureSystem(requirements);
      await buildNative({ tests });
    },
  );
}

/** All that runs without the addon. */
export async function ensureCompiled() {
  await ensurePackages();
  await ensureTypeScript();
}

/**
 * Makes everything ready, then runs a script of this repository with the arguments of this process.
 *
 * @param {string} script relative to the root
 * @param {() => Promise<void>} [ensure] what it needs, if it is less
 */
export function startReady(script, ensure = () => ensureReady({ tests: false })) {
  return runMain(async () => {
    await ensure();
    return exitCodeOf(process.execPath, [script, ...process.argv.slice(2)]);
  });
}
