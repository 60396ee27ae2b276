// What is run in a build with sanitizers, and what came out, in a line.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { exitCodeOf, root } from '../setup/process.mjs';
import { nodeArguments, nodeEnvironment, programEnvironment } from './build.mjs';
import { findingText, runMutations } from './mutations.mjs';

/** @typedef {import('./build.mjs').Build} Build */

/**
 * @typedef {object} Outcome
 * @property {string} stage
 * @property {boolean} ok
 * @property {string} what in a line
 * @property {number} seconds
 */

/** @param {string} stage @param {boolean} ok @param {string} what @returns {Outcome} */
const outcome = (stage, ok, what) => ({ stage, ok, what, seconds: 0 });

/** @param {Build} build @param {string} what */
const named = ({ sanitizers, clang }, what) =>
  `${what}, ${sanitizers.replace(';', ' and ')} (${clang ? 'clang' : 'g++'})`;

/** The C++ tests. @param {Build} build */
export async function nativeTests(build) {
  const results = `${root}${build.folder}/ctest.xml`;
  rmSync(results, { force: true });
  const code = await exitCodeOf(
    'ctest',
    [
      ...['--test-dir', build.folder, '--parallel', String(availableParallelism())],
      ...['--output-on-failure', '--no-tests=error', '--output-junit', results],
      // Programs that this build leaves out.
      ...['--exclude-regex', '_NOT_BUILT$'],
    ],
    { env: programEnvironment(), quietStdout: true },
  );
  const head = readFileSync(results, 'utf8').slice(0, 2000);
  const [tests, failures] = ['tests', 'failures'].map(
    (name) => new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1],
  );
  return outcome(named(build, 'C++ tests'), code === 0, `${tests} tests, ${failures} failed`);
}

/** A real generation through the addon. @param {Build} build @param {number} rounds */
export async function generation(build, rounds) {
  const { code, stdout } = await runNode(build, ['test/fuzz/generation.mjs', String(rounds)]);
  const { answers = 0, wrong = 0 } = code === 0 ? JSON.parse(stdout) : {};
  return outcome(
    named(build, 'generation'),
    code === 0 && answers > 0 && wrong === 0,
    code === 0 ? `${answers} answers, ${wrong} of them wrong` : `the process ended with ${code}`,
  );
}

/**
 * @param {Build} build
 * @param {{ first: number, count: number | undefined, seconds: number | undefined, processes: number }} plan
 */
export async function mutations(build, plan) {
  const began = performance.now();
  const report = await runMutations({
    ...plan,
    environment: nodeEnvironment(build),
    nodeArguments,
    onFinding: (finding) => process.stdout.write(`finding: ${findingText(finding)}\n`),
    onProgress: ({ inputs, findings }) => {
      const rate = (1000 * inputs) / (performance.now() - began);
      process.stderr.write(
        `mutations: ${inputs}, ${rate.toFixed(0)} a second, ${findings.length} findings\n`,
      );
    },
  });
  const counts = Object.entries(report.outcomes).sort(([, a], [, b]) => b - a);
  const what =
    `${report.inputs} inputs from seed ${plan.first}, ${report.findings.length} findings ` +
    `(${counts.map(([name, count]) => `${name} ${count}`).join(', ')})`;
  const enough = plan.count === undefined || report.inputs >= plan.count;
  return outcome(named(build, 'mutated model folders'), enough && report.findings.length === 0, what);
}

/**
 * Every fuzzer for so long, as many at a time as there are processes. The corpus stays in the build folder.
 *
 * @param {Build} build
 * @param {{ seconds: number, processes: number }} plan
 */
export async function fuzzers(build, { seconds, processes }) {
  const stage = named(build, 'fuzzers');
  if (!build.clang) return outcome(stage, true, 'skipped: they need clang, which is not there');
  const queue = readdirSync(`${root}test/fuzz`)
    .filter((name) => name.endsWith('_fuzz.cpp'))
    .map((name) => name.slice(0, -4));
  /** @type {string[]} */
  const lines = [];
  let failed = 0;
  const worker = async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      const { code, units } = await runFuzzer(build, name, seconds);
      if (code !== 0) failed += 1;
      lines.push(`${name} ${units} inputs in ${seconds} s${code === 0 ? '' : `, ended with ${code}`}`);
    }
  };
  await Promise.all(Array.from({ length: processes }, worker));
  return outcome(stage, failed === 0, `${lines.sort().join('; ')}; ${failed} findings`);
}

/**
 * @param {Build} build
 * @param {string} name
 * @param {number} seconds
 */
async function runFuzzer(build, name, seconds) {
  const corpus = `${build.folder}/corpus/${name}/`;
  const findings = `${build.folder}/findings/`;
  const seeds = `test/fuzz/seeds/${name}/`;
  for (const folder of [corpus, findings]) mkdirSync(`${root}${folder}`, { recursive: true });
  const { code, stderr } = await run(
    `${root}${build.folder}/${name}`,
    [
      ...[
        `-max_total_time=${seconds}`,
        '-timeout=20',
        '-rss_limit_mb=4096',
        '-max_len=4096',
        '-print_final_stats=1',
      ],
      ...[`-artifact_prefix=${findings}${name}-`, corpus, ...(existsSync(`${root}${seeds}`) ? [seeds] : [])],
    ],
    programEnvironment(),
  );
  if (code !== 0)
    process.stdout.write(`${stderr.slice(-8000)}\nInputs of findings are kept in ${findings}.\n`);
  return { code, units: /number_of_executed_units: (\d+)/.exec(stderr)?.[1] ?? 'unknown' };
}

/** @param {Build} build @param {readonly string[]} args */
async function runNode(build, args) {
  const result = await run(process.execPath, [...nodeArguments, ...args], nodeEnvironment(build));
  if (result.code !== 0) process.stdout.write(`${result.stderr.slice(-8000)}\n`);
  return result;
}

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {Record<string, string>} environment
 * @returns {Promise<{ code: number | string, stdout: string, stderr: string }>}
 */
function run(command, args, environment) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data) => {
      stdout += data;
    });
    child.stderr.on('data', (data) => {
      stderr = (stderr + data).slice(-100_000);
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code: code ?? signal ?? 'nothing', stdout, stderr }));
  });
}
