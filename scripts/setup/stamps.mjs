// Whether a step has to run again: a stamp file in build/stamps carries the time at which its last good run began, and
// anything among its inputs that is newer makes it stale. Folders count too, so a removed file is seen.
import { mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { root } from './process.mjs';

const folder = `${root}build/stamps/`;

/** @param {string} path @returns {number} mtime in milliseconds, -1 when absent */
export function mtimeOf(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? -1;
}

/** @param {string} path @returns {number} the newest mtime at or below it */
function newestBelow(path) {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) return -1;
  if (!stats.isDirectory()) return stats.mtimeMs;
  return readdirSync(path).reduce(
    (newest, name) => Math.max(newest, newestBelow(`${path}/${name}`)),
    stats.mtimeMs,
  );
}

/**
 * Runs `step` unless its stamp is newer than all inputs and every output exists.
 *
 * @param {string} name
 * @param {{ inputs: readonly string[], outputs: readonly string[] }} paths relative to the root
 * @param {() => Promise<void>} step
 */
export async function whenStale(name, { inputs, outputs }, step) {
  const stamp = `${folder}${name}`;
  const stamped = mtimeOf(stamp);
  const fresh =
    inputs.every((input) => newestBelow(`${root}${input}`) < stamped) &&
    outputs.every((output) => mtimeOf(`${root}${output}`) >= 0);
  if (fresh) return;
  const began = new Date();
  await step();
  mkdirSync(folder, { recursive: true });
  writeFileSync(stamp, '');
  utimesSync(stamp, began, began);
}
