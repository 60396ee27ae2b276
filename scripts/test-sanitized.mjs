// Everything that is run with sanitizers. `npm run test:sanitized` is the long form (hours of one core); `-- --short` is
// that of the usual checks, a few minutes with the build: a real generation, a minute of mutated model folders and of
// fuzzing. Where there is no clang, and none can be installed, the fuzzers are left out, by name, and g++ builds the rest.
//
//   --only a,b           stages: tests, generation, fuzzers, mutations, thread-tests, thread-generation
//   --mutations N        how many mutated folders (100 000 in the long form)
//   --fuzz-minutes N     for each fuzzer (10 in the long form)
//   --seed N             the first seed of the mutations (1 in the long form, from the clock in the short one)
//   --record             writes what came out into test/RESULTS.md
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { ensurePackages, ensureTypeScript } from './setup.mjs';
import { runMain, SetupError } from './setup/process.mjs';
import { buildRequirements, ensureSystem } from './setup/system.mjs';
import { buildOf, compile, configure } from './sanitized/build.mjs';
import { record } from './sanitized/record.mjs';
import { fuzzers, generation, mutations, nativeTests } from './sanitized/stages.mjs';

/** @typedef {import('./sanitized/stages.mjs').Outcome} Outcome */

const SHORT = ['generation', 'mutations', 'fuzzers'];
const LONG = ['tests', 'generation', 'fuzzers', 'mutations', 'thread-tests', 'thread-generation'];

/** Of the short form: for the mutations, and for each fuzzer. */
const SHORT_MUTATIONS = 30;
const SHORT_FUZZER = 15;

/** Clang with its run-time libraries, where it is or can be had. @returns {Promise<boolean>} */
async function findClang() {
  try {
    await ensureSystem(['clang', 'clangRuntimes']);
    return true;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return false;
  }
}

/** @param {string | undefined} text @param {number} absent */
function wholeNumber(text, absent) {
  const value = text === undefined ? absent : Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new SetupError(`${text}: a whole number is expected.`);
  return value;
}

/** @param {Outcome} outcome */
function print({ stage, seconds, ok, what }) {
  process.stdout.write(`${ok ? 'ok    ' : 'FAILED'} ${stage} (${seconds.toFixed(0)} s): ${what}\n`);
}

await runMain(async () => {
  const { values } = parseArgs({
    options: {
      short: { type: 'boolean', default: false },
      record: { type: 'boolean', default: false },
      only: { type: 'string' },
      mutations: { type: 'string' },
      'fuzz-minutes': { type: 'string' },
      seed: { type: 'string' },
    },
  });
  const stages = values.only?.split(',') ?? (values.short ? SHORT : LONG);
  for (const stage of stages)
    if (!LONG.includes(stage)) throw new SetupError(`No stage ${stage}: there are ${LONG.join(', ')}.`);
  const hasTests = stages.some((stage) => stage.endsWith('tests'));
  await ensureSystem([...buildRequirements, ...(hasTests ? ['googletest'] : [])]);
  await ensurePackages();
  await ensureTypeScript();
  const clang = await findClang();
  // g++ would take hours for instrumented kernels.
  const kernels = clang && !values.short;
  const addresses = buildOf('address;undefined', { clang, kernels });
  const threads = buildOf('thread', { clang, kernels });
  // Node does not start with clang's run-time library of this sanitizer, but with g++'s.
  const nodeThreads = buildOf('thread', { clang: false, kernels: false });
  const processes = availableParallelism();

  /** @type {Record<string, () => Promise<Outcome>>} */
  const runs = {
    tests: () => nativeTests(addresses),
    generation: () => generation(addresses, values.short ? 1 : 10),
    fuzzers: () =>
      fuzzers(addresses, {
        seconds: values.short ? SHORT_FUZZER : 60 * wholeNumber(values['fuzz-minutes'], 10),
        processes,
      }),
    mutations: () =>
      mutations(addresses, {
        first: wholeNumber(values.seed, values.short ? Date.now() % 2 ** 31 : 1),
        count: values.short ? undefined : wholeNumber(values.mutations, 100_000),
        seconds: values.short ? SHORT_MUTATIONS : undefined,
        processes,
      }),
    'thread-tests': () => nativeTests(threads),
    'thread-generation': () => generation(nodeThreads, 1),
  };

  /** @param {string} stage */
  const buildFor = (stage) =>
    stage === 'thread-generation' ? nodeThreads : stage === 'thread-tests' ? threads : addresses;
  for (const build of [addresses, threads, nodeThreads]) {
    const own = stages.filter((stage) => buildFor(stage) === build);
    if (own.length === 0) continue;
    const needsTests = own.some((stage) => stage.endsWith('tests'));
    await configure(build, { tests: needsTests });
    await compile(build, [
      ...(own.some((stage) => /mutations|generation/.test(stage)) ? ['block_attention'] : []),
      ...(needsTests ? ['native_tests'] : []),
      ...(own.includes('fuzzers') && clang ? ['fuzzers'] : []),
    ]);
  }

  /** @type {Outcome[]} */
  const outcomes = [];
  for (const stage of stages) {
    const run = runs[stage];
    if (run === undefined) continue;
    const began = performance.now();
    const outcome = await run();
    outcome.seconds = (performance.now() - began) / 1000;
    print(outcome);
    outcomes.push(outcome);
  }
  process.stdout.write('\n');
  for (const outcome of outcomes) print(outcome);
  if (values.record) record(outcomes);
  return outcomes.every(({ ok }) => ok) ? 0 : 1;
});
