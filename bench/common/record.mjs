// One run as data: what was measured, where, and when. A file of results is a JSON array of such records.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { UsageError } from './arguments.mjs';

/**
 * @typedef {object} Machine
 * @property {string} cpu
 * @property {number} cores that this process may use
 * @property {number} memoryBytes
 * @property {string} platform
 * @property {string} node
 * @property {number} loadBefore load average of the minute before the run
 * @property {boolean} busy whether other work took cores away: times are then not to be believed, ratios hardly
 */

/**
 * @typedef {object} Record
 * @property {string} benchmark
 * @property {string} date ISO 8601
 * @property {string} commit '' outside a checkout or a pack; with "+" if the checkout has changes
 * @property {Machine} machine
 * @property {import('./subject.mjs').Subject | undefined} subject undefined: no model was involved
 * @property {number} seed of the random tokens
 * @property {unknown} results
 */

/** @returns {Machine} taken before a run, whose own work would count as load */
export function describeMachine() {
  const [loadBefore = 0] = loadavg();
  const cores = availableParallelism();
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores,
    memoryBytes: totalmem(),
    platform: `${process.platform}-${process.arch}`,
    node: process.version,
    loadBefore,
    busy: isBusy(loadBefore, cores),
  };
}

/**
 * @param {number} load
 * @param {number} cores
 */
export const isBusy = (load, cores) => load > 1.25 * cores;

/** $BLOCK_ATTENTION_COMMIT, which a pack sets (scripts/pack/run.sh), or else the checkout's. */
export function currentCommit() {
  const { BLOCK_ATTENTION_COMMIT: packed } = process.env;
  if (packed) return packed;
  const cwd = fileURLToPath(new URL('../..', import.meta.url));
  try {
    /** @param {readonly string[]} args */
    const git = (args) =>
      execFileSync('git', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const changed = git(['status', '--porcelain', '--untracked-files=no']).trim() !== '';
    return `${git(['rev-parse', '--short=12', 'HEAD']).trim()}${changed ? '+' : ''}`;
  } catch {
    return '';
  }
}

/**
 * What computed: a GPU's name says it all, a CPU's device is its instruction set and the number of threads.
 *
 * @param {Pick<Record, 'machine' | 'subject'>} record
 * @returns {string}
 */
export function hardwareOf({ machine, subject }) {
  const device = subject?.device ?? machine.platform;
  return device.startsWith('cuda ') ? device : `${machine.cpu}, ${device}`;
}

/**
 * @param {string} file
 * @returns {Record[]}
 */
export function readRecords(file) {
  let records;
  try {
    records = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new UsageError(`${file}: ${error instanceof Error ? error.message : error}`);
  }
  if (!Array.isArray(records) || !records.every((record) => typeof record?.benchmark === 'string')) {
    throw new UsageError(`${file} is not a file of results`);
  }
  return records;
}

/**
 * Adds a record to a file of results, which need not be there yet.
 *
 * @param {string} file
 * @param {Record} record
 */
export function addRecord(file, record) {
  const records = existsSync(file) ? readRecords(file) : [];
  writeFileSync(file, `${JSON.stringify([...records, record], null, 1)}\n`);
}
