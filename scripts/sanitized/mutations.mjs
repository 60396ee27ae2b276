// Runs test/fuzz/mutations/program.mjs over many seeds, in several processes that are started anew now and then. A process
// that crashes, or stands still, is a finding with the seed that it was at; the next one goes on behind that seed.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../setup/process.mjs';

/**
 * @typedef {object} Finding
 * @property {number} seed
 * @property {string} what
 * @property {string} [base]
 * @property {string[]} [steps]
 */

/**
 * @typedef {object} Report
 * @property {number} inputs how many were tried
 * @property {Record<string, number>} outcomes how often each
 * @property {Finding[]} findings
 */

/**
 * @typedef {object} Plan
 * @property {number} first the first seed
 * @property {number | undefined} [count] how many seeds; as many as the time allows unless said
 * @property {number | undefined} [seconds] no process is started after so long
 * @property {number} processes at a time
 * @property {Record<string, string>} [environment] of the processes
 * @property {readonly string[]} [nodeArguments]
 * @property {string} [program]
 * @property {number} [chunk] inputs of one process
 * @property {number} [patience] ms that one input may take
 * @property {(finding: Finding) => void} [onFinding]
 * @property {(report: Report) => void} [onProgress]
 */

const PROGRAM = 'test/fuzz/mutations/program.mjs';
/** After so many findings the rest would say the same. */
const MOST_FINDINGS = 20;

/** @param {Plan} plan @returns {Promise<Report>} */
export async function runMutations(plan) {
  const { first, count = Number.POSITIVE_INFINITY, seconds = Number.POSITIVE_INFINITY, chunk = 2000 } = plan;
  /** @type {Report} */
  const report = { inputs: 0, outcomes: {}, findings: [] };
  const end = first + count;
  const deadline = performance.now() + 1000 * seconds;
  let next = first;
  const worker = async () => {
    while (next < end && performance.now() < deadline && report.findings.length < MOST_FINDINGS) {
      let at = next;
      next = Math.min(end, next + chunk);
      for (const last = next; at < last; ) {
        const { done, outcomes, findings } = await runProcess(plan, at, last - at, deadline);
        report.inputs += done;
        for (const [what, times] of Object.entries(outcomes))
          report.outcomes[what] = (report.outcomes[what] ?? 0) + times;
        report.findings.push(...findings);
        for (const finding of findings) plan.onFinding?.(finding);
        at += done;
        if (performance.now() >= deadline || report.findings.length >= MOST_FINDINGS) break;
      }
      plan.onProgress?.(report);
    }
  };
  await Promise.all(Array.from({ length: plan.processes }, worker));
  return report;
}

/**
 * @param {Plan} plan
 * @param {number} first
 * @param {number} count
 * @param {number} deadline
 * @returns {Promise<{ done: number, outcomes: Record<string, number>, findings: Finding[] }>}
 */
function runProcess(plan, first, count, deadline) {
  const { environment = {}, nodeArguments = [], program = PROGRAM, patience = 20_000 } = plan;
  // In memory where that is possible: most of the time would otherwise be the disk's.
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'mutations-'));
  const state = join(folder, 'seed');
  const child = spawn(
    process.execPath,
    [
      ...nodeArguments,
      program,
      String(first),
      String(count),
      state,
      String(Math.max(0, deadline - performance.now())),
    ],
    { cwd: root, env: { ...process.env, TMPDIR: folder, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data) => {
    stdout += data;
  });
  child.stderr.on('data', (data) => {
    stderr = (stderr + data).slice(-20_000);
  });
  const seedOf = () => (existsSync(state) ? Number.parseInt(readFileSync(state, 'latin1'), 10) : Number.NaN);
  let seen = Number.NaN;
  let stuck = false;
  const watch = setInterval(() => {
    const seed = seedOf();
    if (seed === seen || (Number.isNaN(seed) && Number.isNaN(seen))) {
      stuck = true;
      child.kill('SIGKILL');
    }
    seen = seed;
  }, patience);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearInterval(watch);
      const at = seedOf();
      rmSync(folder, { recursive: true, force: true });
      const result = code === 0 ? parse(stdout) : undefined;
      if (result !== undefined) {
        resolve(result);
        return;
      }
      const seed = Number.isNaN(at) ? first : at;
      const how = stuck
        ? `no progress within ${patience / 1000} s`
        : `the process ended with ${signal ?? code}`;
      resolve({
        done: seed - first + 1,
        outcomes: { crashed: 1 },
        findings: [{ seed, what: `${how}\n${stderr}` }],
      });
    });
  });
}

/**
 * @param {string} stdout
 * @returns {{ done: number, outcomes: Record<string, number>, findings: Finding[] } | undefined}
 */
function parse(stdout) {
  try {
    return JSON.parse(stdout);
  } catch {
    return undefined;
  }
}

/** @param {Finding} finding */
export function findingText({ seed, base, steps, what }) {
  const input = base === undefined ? '' : ` (${base}; ${steps?.join('; ')})`;
  return `seed ${seed}${input}: ${what}`;
}
