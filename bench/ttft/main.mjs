// `ttft`: the paper's table on this machine, and where the time of a warm request goes.
import { defaultThreads } from '#lib/engine/threads.js';
import { computedParameters } from '#lib/engine/flops.js';
import { UsageError, wholeNumbers } from '../common/arguments.mjs';
import { randomOf } from '../common/random.mjs';
import { openEngine } from '../common/subject.mjs';
import { hasLimits, measureLimits } from '../kernels/limits.mjs';
import { ttftCharts } from './charts.mjs';
import { textBlocks, tokenBlocks } from './content.mjs';
import { finalStepWork, floorOf } from './floor.mjs';
import { measureTtft } from './measure.mjs';
import { measureStepParts } from './step-parts.mjs';
import { ttftTables } from './tables.mjs';

/** @import { Engine } from 'block-attention' */
/** @import { Settings } from '../common/arguments.mjs' */
/** @import { Benchmark } from '../common/benchmark.mjs' */
/** @import { Progress } from '../common/progress.mjs' */
/** @import { Row } from './measure.mjs' */
/** @import { StepRow } from './step-table.mjs' */

const LENGTHS = [50, 512, 1024, 2048, 4096, 8192];
const SHORT_LENGTHS = [50, 512, 1024];

/** @type {Benchmark} */
export const ttft = {
  summary: "the paper's table: TTFT and FLOPs over prompt length for full, cold and warm requests",
  options: {
    lengths: { type: 'string', help: 'L,L,…: prompt tokens, e.g. 50,8K,32K; 50 to 8K unless said' },
    input: { type: 'string', help: 'tokens, or text (about as many; needs a tokenizer); tokens unless said' },
  },
  async run({ settings, own, progress }) {
    const lengths =
      own.lengths !== undefined
        ? wholeNumbers(own.lengths, 'lengths', 50)
        : settings.short
          ? SHORT_LENGTHS
          : LENGTHS;
    const rounds = settings.rounds ?? (settings.short ? 2 : 5);
    const random = randomOf(settings.seed);
    /** @param {Engine} engine */
    const planFor = async (engine) => {
      const makeBlock = await contentOf(own.input ?? 'tokens', engine, random);
      return { lengths, rounds, seconds: settings.seconds, random, makeBlock };
    };
    const { engine, subject } = await openEngine(settings, progress);
    /** @type {Row[]} */
    let rows;
    try {
      rows = await measureTtft(engine, await planFor(engine), progress);
    } finally {
      await engine.close();
    }
    const steps = await measureSteps(settings, subject.device, planFor, progress);
    const results = rows.map((row) => {
      const step = row.mode === 'warm' ? steps[lengths.indexOf(row.promptTokens)] : undefined;
      return step === undefined ? row : { ...row, step };
    });
    return { subject, results };
  },
  tables: (results) => ttftTables(/** @type {Row[]} */ (results)),
  charts: ttftCharts,
};

/** Of an element of cached keys and values. */
const KV_BYTES = /** @type {Record<string, number>} */ ({ bf16: 2, f32: 4, int8: 1 });

/**
 * With an engine of their own, since taking times costs some.
 *
 * @param {Settings} settings
 * @param {string} device as the engine named it
 * @param {(engine: Engine) => Promise<Parameters<typeof measureStepParts>[1]>} planFor
 * @param {Progress} progress
 * @returns {Promise<StepRow[]>} for each length
 */
async function measureSteps(settings, device, planFor, progress) {
  const { threads = defaultThreads(), short } = settings;
  const kind = settings.device === 'auto' && device.startsWith('cuda') ? 'cuda' : settings.device;
  progress.show('ttft: the limits of the machine');
  const limits = hasLimits(kind) ? await measureLimits({ device: kind, threads, short }) : undefined;
  const { engine, config, storedDtype, stepBytes } = await openEngine(settings, progress, { profile: true });
  try {
    const parts = await measureStepParts(engine, await planFor(engine), progress);
    return parts.map((step) => {
      const work = finalStepWork(config.native, {
        begin: step.cachedTokens,
        rows: step.rows,
        weightBytes: stepBytes / computedParameters(config),
        kvBytes: KV_BYTES[settings.kvDtype ?? 'bf16'] ?? 2,
        // Weights of f16 are widened to float32 on a CPU; on a GPU all products have one rate.
        weightProduct: settings.dtype === 'int8' ? 'int8' : storedDtype === 'bf16' ? 'bf16' : 'f32',
        // Integers of int8 pages are widened to float32 before they are multiplied.
        kvProduct: (settings.kvDtype ?? 'bf16') === 'bf16' ? 'bf16' : 'f32',
      });
      const floor = (/** @type {string} */ op) =>
        limits === undefined ? 0 : floorOf(work[op] ?? [], limits);
      const ops = step.ops.map((op) => ({ ...op, floor: floor(op.op) }));
      return { ...step, ops, limits };
    });
  } finally {
    await engine.close();
  }
}

/**
 * @param {string} input
 * @param {Engine} engine
 * @param {() => number} random
 */
async function contentOf(input, engine, random) {
  if (input === 'tokens') return tokenBlocks(engine, random);
  if (input !== 'text') throw new UsageError(`--input ${input}: there are tokens and text`);
  if (!engine.model.hasTokenizer) throw new UsageError('--input text: this model has no tokenizer');
  return textBlocks(engine, random);
}
