// Child processes for the scripts: their output goes to the terminal (stderr where a script's stdout is data).
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The repository root, with a trailing slash. */
export const root = fileURLToPath(new URL('../../', import.meta.url));

/** A failure whose message is all that the user needs: printed without a stack. */
export class SetupError extends Error {}

/**
 * Runs a program in the repository root and resolves with its exit code (128 when a signal ended it).
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ quietStdout?: boolean, env?: Record<string, string> }} [options] quietStdout: its stdout goes to our stderr.
 * @returns {Promise<number>}
 */
export function exitCodeOf(command, args, { quietStdout = false, env = {} } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['inherit', quietStdout ? 2 : 'inherit', 'inherit'],
    });
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 128));
  });
}

/**
 * Like exitCodeOf with stdout on stderr, but a failure is a SetupError that names what was tried.
 *
 * @param {string} purpose
 * @param {string} command
 * @param {readonly string[]} args
 * @param {Record<string, string>} [env]
 */
export async function runStep(purpose, command, args, env = {}) {
  process.stderr.write(`[setup] ${purpose}\n`);
  const started = performance.now();
  const code = await exitCodeOf(command, args, { quietStdout: true, env });
  if (code !== 0) {
    throw new SetupError(`${purpose}: failed (exit ${code}): ${[command, ...args].join(' ')}`);
  }
  process.stderr.write(
    `[setup] ${purpose}: done in ${((performance.now() - started) / 1000).toFixed(1)} s\n`,
  );
}

/**
 * The stdout of a short command, or undefined when it cannot be run or fails.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {string} [input] its stdin
 * @returns {string | undefined}
 */
export function outputOf(command, args, input = '') {
  const result = spawnSync(command, args, { cwd: root, input, encoding: 'utf8' });
  return result.status === 0 ? result.stdout : undefined;
}

/**
 * Runs a script's main function; a SetupError is printed as its message, and its result is the exit code.
 *
 * @param {() => Promise<number>} main
 */
export async function runMain(main) {
  try {
    process.exitCode = await main();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`\n${error.message}\n`);
    process.exitCode = 1;
  }
}
