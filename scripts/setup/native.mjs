// The native build folder, build/cmake: configured through cmake-js (which knows Node's headers), built through CMake.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { root, runStep } from './process.mjs';

export const buildFolder = `${root}build/cmake`;

/** What the build folder was configured with. @returns {(name: string) => string | undefined} */
function readCache() {
  const file = `${buildFolder}/CMakeCache.txt`;
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
  return (name) => new RegExp(`^${name}(?::\\w+)?=(.*)$`, 'm').exec(text)?.[1];
}

/** @param {{ tests: boolean }} options */
export async function configureNative({ tests }) {
  const cached = readCache();
  const home = cached('CMAKE_HOME_DIRECTORY');
  // A checkout that was moved or copied: CMake refuses the old folder.
  if (home !== undefined && resolve(home) !== resolve(root)) rmSync(buildFolder, { recursive: true });
  else if (
    existsSync(`${buildFolder}/compile_commands.json`) &&
    cached('CMAKE_BUILD_TYPE') === 'Release' &&
    (!tests || cached('BLOCK_ATTENTION_TESTS') === 'ON')
  ) {
    return;
  }
  await runStep('configuring the native build', process.execPath, [
    'node_modules/cmake-js/bin/cmake-js',
    'configure',
    '--out',
    'build/cmake',
    '--log-level',
    'warn',
    ...(tests ? ['--CDBLOCK_ATTENTION_TESTS=ON'] : []),
  ]);
}

/** @param {{ tests: boolean }} options */
export async function buildNative({ tests }) {
  await configureNative({ tests });
  const targets = tests
    ? [
        'block_attention',
        'block_attention_emulated',
        'native_tests',
        'cuda_emulated_tests',
        'cuda_planted_tests',
      ]
    : ['block_attention'];
  await runStep(`building ${targets.join(' and ')} (a minute or two the first time)`, 'cmake', [
    '--build',
    'build/cmake',
    '--parallel',
    String(availableParallelism()),
    '--target',
    ...targets,
  ]);
}
