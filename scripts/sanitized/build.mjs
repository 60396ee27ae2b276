// Builds with sanitizers, each kind in a folder of its own, and how their programs are run.
import { availableParallelism } from 'node:os';
import { outputOf, root, runStep, SetupError } from '../setup/process.mjs';

/**
 * @typedef {object} Build
 * @property {string} sanitizers "address;undefined" or "thread"
 * @property {boolean} clang whether the compiler is clang, which the fuzzers need
 * @property {boolean} kernels whether the large kernels are instrumented too
 * @property {string} folder relative to the root
 */

/**
 * @param {'address;undefined' | 'thread'} sanitizers
 * @param {{ clang: boolean, kernels: boolean }} options
 * @returns {Build}
 */
export function buildOf(sanitizers, { clang, kernels }) {
  const kind = `${sanitizers.replaceAll(';', '-')}${clang ? '-clang' : ''}${kernels ? '-kernels' : ''}`;
  return { sanitizers, clang, kernels, folder: `build/sanitized-${kind}` };
}

/**
 * @param {Build} build
 * @param {{ tests: boolean }} options tests: the C++ tests as well (needs GoogleTest)
 */
export function configure({ sanitizers, clang, kernels, folder }, { tests }) {
  const headers = ['node-api-headers/include', 'node-addon-api'].map((name) => `${root}node_modules/${name}`);
  const hasCache = outputOf('ccache', ['--version']) !== undefined;
  return runStep(`configuring for ${sanitizers}`, 'cmake', [
    ...['-S', '.', '-B', folder],
    // Neither Release nor Debug: fast enough to run real models, and with the assertions of Highway.
    '-DCMAKE_BUILD_TYPE=Sanitized',
    '-DCMAKE_CXX_FLAGS_SANITIZED=-O1',
    `-DBLOCK_ATTENTION_SANITIZE=${sanitizers}`,
    `-DBLOCK_ATTENTION_SANITIZE_KERNELS=${kernels ? 'ON' : 'OFF'}`,
    // What cmake-js would say; it would also say Release.
    `-DCMAKE_JS_INC=${headers.join(';')}`,
    `-DBLOCK_ATTENTION_TESTS=${tests ? 'ON' : 'OFF'}`,
    ...(clang ? ['-DCMAKE_CXX_COMPILER=clang++'] : []),
    ...(clang && sanitizers !== 'thread' ? ['-DBLOCK_ATTENTION_FUZZ=ON'] : []),
    ...(hasCache ? ['-DCMAKE_CXX_COMPILER_LAUNCHER=ccache'] : []),
  ]);
}

/**
 * @param {Build} build
 * @param {readonly string[]} targets
 */
export function compile({ sanitizers, folder }, targets) {
  return runStep(`building ${targets.join(', ')} for ${sanitizers}`, 'cmake', [
    ...['--build', folder, '--parallel', String(availableParallelism())],
    ...['--target', ...targets],
  ]);
}

/**
 * What a native program of a build needs in its environment.
 *
 * @returns {Record<string, string>}
 */
export function programEnvironment() {
  return {
    ASAN_OPTIONS: 'abort_on_error=1:detect_stack_use_after_return=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
    TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1',
  };
}

/**
 * What Node needs to run a program with the addon of a build: Node itself has no sanitizer, so its run-time library is
 * loaded before everything else.
 *
 * @param {Build} build
 */
export function nodeEnvironment({ sanitizers, clang, folder }) {
  const short = sanitizers === 'thread' ? 'tsan' : 'asan';
  const architecture = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  const library = clang ? `libclang_rt.${short}-${architecture}.so` : `lib${short}.so`;
  const path = outputOf(clang ? 'clang++' : 'c++', [`-print-file-name=${library}`])?.trim() ?? library;
  if (!path.startsWith('/')) throw new SetupError(`The compiler has no ${library}.`);
  const environment = programEnvironment();
  return {
    ...environment,
    // V8 never frees what lives as long as the process: the C++ tests and the fuzzers look for leaks. Node allocates a
    // lot, and to note each stack takes half of the time.
    ASAN_OPTIONS: 'abort_on_error=1:detect_leaks=0:malloc_context_size=2:quarantine_size_mb=32',
    // Of Node's own threads it cannot know who waits for whom.
    TSAN_OPTIONS: `${environment.TSAN_OPTIONS}:ignore_noninstrumented_modules=1:report_signal_unsafe=0`,
    LD_PRELOAD: path,
    BLOCK_ATTENTION_SANITIZED_ADDON: `${root}${folder}/block_attention.node`,
  };
}

/** Arguments of Node that make the package take that addon. */
export const nodeArguments = ['--import', new URL('use-addon.mjs', import.meta.url).href];
