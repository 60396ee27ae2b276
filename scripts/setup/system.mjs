// The system packages that the scripts need: found by trying them, installed through apt where that is allowed
// (Debian or Ubuntu, as root or with sudo that asks nothing), otherwise named in one message with the command.
import { existsSync } from 'node:fs';
import { exitCodeOf, outputOf, runStep, SetupError } from './process.mjs';

const kMinCMake = [3, 22];
const compiler = process.env.CXX ?? 'c++';

/** @param {string} header @returns {boolean} whether the compiler finds it */
function hasHeader(header) {
  const source = `#if !__has_include(<${header}>)\n#error missing\n#endif\n`;
  return outputOf(compiler, ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], source) !== undefined;
}

/** @param {string} program @returns {boolean} whether it can be run */
function hasProgram(program) {
  return outputOf(program, ['--version']) !== undefined;
}

const kEmptyFuzzer =
  'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }\n';

function hasRecentCMake() {
  const version = /version (\d+)\.(\d+)/.exec(outputOf('cmake', ['--version']) ?? '');
  if (!version) return false;
  const [major = 0, minor = 0] = version.slice(1).map(Number);
  const [minMajor = 0, minMinor = 0] = kMinCMake;
  return major > minMajor || (major === minMajor && minor >= minMinor);
}

/** @type {Record<string, { what: string, apt: string, found: () => boolean }>} */
const requirements = {
  compiler: {
    what: 'a C++20 compiler (g++ 12 or newer)',
    apt: 'g++',
    found: () =>
      outputOf(compiler, ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], '#include <span>\n') !==
      undefined,
  },
  cmake: { what: `CMake ${kMinCMake.join('.')} or newer`, apt: 'cmake', found: hasRecentCMake },
  make: { what: 'make or ninja', apt: 'make', found: () => hasProgram('ninja') || hasProgram('make') },
  highway: {
    what: "Highway's headers (1.0.3 or newer)",
    apt: 'libhwy-dev',
    found: () => hasHeader('hwy/highway.h'),
  },
  googletest: { what: 'GoogleTest', apt: 'libgtest-dev', found: () => hasHeader('gtest/gtest.h') },
  clangFormat: { what: 'clang-format', apt: 'clang-format', found: () => hasProgram('clang-format') },
  clangTidy: { what: 'clang-tidy', apt: 'clang-tidy', found: () => hasProgram('clang-tidy') },
  clang: { what: 'clang', apt: 'clang', found: () => hasProgram('clang++') },
  clangRuntimes: {
    what: "the run-time libraries of clang's sanitizers",
    apt: 'libclang-rt-dev',
    found: () =>
      outputOf(
        'clang++',
        ['-fsanitize=fuzzer,address', '-x', 'c++', '-', '-o', '/dev/null'],
        kEmptyFuzzer,
      ) !== undefined,
  },
  arm64Compiler: {
    what: 'the arm64 cross compiler',
    apt: 'g++-aarch64-linux-gnu',
    found: () => hasProgram('aarch64-linux-gnu-g++'),
  },
};

export const buildRequirements = ['compiler', 'cmake', 'make', 'highway'];

/** @param {readonly string[]} names @returns {{ what: string, apt: string }[]} */
function missingOf(names) {
  return names.flatMap((name) => {
    const requirement = requirements[name];
    if (!requirement) throw new Error(`Unknown requirement "${name}".`);
    return requirement.found() ? [] : [requirement];
  });
}

/** The words before `apt-get` that need no password, or undefined where installing is not ours to do. */
function aptPrefix() {
  if (!existsSync('/etc/debian_version')) return undefined;
  if (process.getuid?.() === 0) return [];
  return outputOf('sudo', ['-n', 'true']) === undefined ? undefined : ['sudo', '-n'];
}

/** @param {readonly { what: string, apt: string }[]} missing */
function messageFor(missing) {
  const sudo = process.getuid?.() === 0 ? '' : 'sudo ';
  const packages = missing.map(({ apt }) => apt).join(' ');
  return [
    `Missing on this machine: ${missing.map(({ what }) => what).join(', ')}.`,
    'Install with (Debian 12, Ubuntu 24.04 or newer):',
    '',
    `  ${sudo}apt-get update && ${sudo}apt-get install -y --no-install-recommends ${packages}`,
    '',
    'or the same from the package manager of your system, then run this again.',
  ].join('\n');
}

/**
 * Makes sure that the named requirements are there; throws SetupError with the exact command when they are not and
 * cannot be installed from here.
 *
 * @param {readonly string[]} names keys of `requirements`
 */
export async function ensureSystem(names) {
  let missing = missingOf(names);
  if (missing.length === 0) return;
  const prefix = aptPrefix();
  if (prefix === undefined) throw new SetupError(messageFor(missing));

  const packages = missing.map(({ apt }) => apt);
  const [program = 'env', ...args] = [
    ...prefix,
    'env',
    'DEBIAN_FRONTEND=noninteractive',
    'apt-get',
    '-q',
    '-y',
  ];
  // One list that cannot be updated does not keep the others' packages from being installed.
  await exitCodeOf(program, [...args, 'update'], { quietStdout: true });
  try {
    await runStep(`installing ${packages.join(', ')}`, program, [
      ...args,
      'install',
      '--no-install-recommends',
      ...packages,
    ]);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    throw new SetupError(`${error.message}\n\n${messageFor(missing)}`);
  }
  missing = missingOf(names);
  if (missing.length > 0) {
    throw new SetupError(`The packages of this system are too old or incomplete.\n${messageFor(missing)}`);
  }
}
