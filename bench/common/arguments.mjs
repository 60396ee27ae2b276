// The command line of the benchmarks.
import { parseArgs } from 'node:util';

/** A mistake of the caller: its message is printed without a stack. */
export class UsageError extends Error {}

/**
 * Options of all benchmarks.
 *
 * @typedef {object} Settings
 * @property {string | undefined} model a model folder
 * @property {string | undefined} shape a named shape, with random weights
 * @property {number | undefined} randomWeights seed of random weights of the model's or the shape's config
 * @property {string} device
 * @property {number | undefined} threads
 * @property {string | undefined} dtype of the weights in memory
 * @property {string | undefined} kvDtype of cached keys and values
 * @property {string | undefined} json a file that the run is added to
 * @property {boolean} short a form of a few seconds on the tiny model: that it runs, not how fast
 * @property {number | undefined} rounds
 * @property {number} seconds most seconds for one row of a table, except that one round always ends
 * @property {number} seed of the random tokens
 */

/** @type {Record<string, { type: 'string' | 'boolean', short?: string, help: string }>} */
export const COMMON_OPTIONS = {
  model: { type: 'string', help: 'DIR: a model folder' },
  shape: { type: 'string', help: 'NAME: a published shape with random weights (smollm2-135m unless said)' },
  'random-weights': {
    type: 'string',
    help: 'SEED: random weights instead of those of --model, whose config.json alone is read, or of this seed for --shape',
  },
  device: {
    type: 'string',
    help: 'NAME: auto, cpu, cuda or (in test builds) cuda-emulated; auto unless said',
  },
  dtype: {
    type: 'string',
    help: 'int8: weights are quantised when they are loaded (as they are stored unless said)',
  },
  'kv-dtype': { type: 'string', help: 'bf16, f32 or int8: of cached keys and values; bf16 unless said' },
  threads: { type: 'string', help: 'N: as many as there are cores unless said' },
  json: { type: 'string', help: 'FILE: add the results to this file' },
  short: { type: 'boolean', help: 'a few seconds on the tiny model: that it runs, not how fast' },
  rounds: { type: 'string', help: 'N: most rounds that are measured (the first one more is not counted)' },
  seconds: { type: 'string', help: 'S: most seconds for one row, 300 unless said; one round always ends' },
  seed: { type: 'string', help: 'N: of the random tokens' },
  help: { type: 'boolean', short: 'h', help: 'this text' },
};

/**
 * @param {string} text
 * @param {string} name for the message
 * @param {number} min
 */
export function wholeNumber(text, name, min = 1) {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= min) return value;
  throw new UsageError(`--${name} ${text}: a whole number from ${min} up`);
}

/**
 * @param {string} text whole numbers, by commas; "8K" is 8192
 * @param {string} name for the message
 * @param {number} min
 */
export function wholeNumbers(text, name, min = 1) {
  return text.split(',').map((part) => {
    const kilo = /^(\d+)k$/i.exec(part.trim())?.[1];
    return wholeNumber(kilo === undefined ? part.trim() : String(1024 * Number(kilo)), name, min);
  });
}

/**
 * @param {readonly string[]} args
 * @param {Record<string, { type: 'string' | 'boolean', help: string }>} own the benchmark's own options
 * @returns {{ settings: Settings, own: Record<string, string | undefined>, files: string[], help: boolean }}
 *   files: the arguments that are no options
 */
export function parseArguments(args, own) {
  const { values, positionals } = parse(args, { ...COMMON_OPTIONS, ...own });
  /** @param {string} name */
  const text = (name) => {
    const value = values[name];
    return typeof value === 'string' ? value : undefined;
  };
  /** @param {string} name */
  const whole = (name, min = 1) => {
    const value = text(name);
    return value === undefined ? undefined : wholeNumber(value, name, min);
  };
  if (text('model') !== undefined && text('shape') !== undefined)
    throw new UsageError('give either --model or --shape, not both');
  return {
    settings: {
      model: text('model'),
      shape: text('shape'),
      randomWeights: whole('random-weights', 0),
      device: text('device') ?? 'auto',
      threads: whole('threads'),
      dtype: text('dtype'),
      kvDtype: text('kv-dtype'),
      json: text('json'),
      short: values.short === true,
      rounds: whole('rounds'),
      seconds: whole('seconds') ?? 300,
      seed: whole('seed', 0) ?? Date.now() % 2 ** 31,
    },
    own: Object.fromEntries(Object.keys(own).map((name) => [name, text(name)])),
    files: positionals,
    help: values.help === true,
  };
}

/**
 * @param {readonly string[]} args
 * @param {Record<string, { type: 'string' | 'boolean', short?: string }>} options
 */
function parse(args, options) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw error instanceof TypeError ? new UsageError(error.message) : error;
  }
}
