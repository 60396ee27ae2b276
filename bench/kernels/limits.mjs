// The limits of the machine, for benchmarks that set their own rates beside them.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { buildPrograms, pathOf } from './build.mjs';

/** @import { OpsOutput } from './tables.mjs' */

const run = promisify(execFile);

/**
 * Measures them now, which takes some seconds; builds the program first if need be.
 *
 * @param {object} options
 * @param {number} options.threads
 * @param {boolean} options.short
 * @returns {Promise<OpsOutput['limits']>}
 */
export async function measureLimits({ threads, short }) {
  await buildPrograms();
  const quick = short ? ['--rounds', '1', '--megabytes', '8'] : [];
  const args = ['--only', 'limits', '--threads', String(threads), ...quick];
  const { stdout } = await run(pathOf('ops_bench'), args);
  return JSON.parse(stdout).limits;
}
