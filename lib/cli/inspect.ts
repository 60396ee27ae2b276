/** `block-attention inspect`: what a model folder holds and needs, and what stands in the way of using it. */
import { Command, Option } from 'commander';
import { inspectModel, type ModelReport } from '../index.js';
import type { CommandContext } from './context.js';
import { Output } from './output.js';
import { parseBytes } from './values.js';

const HELP = `
The exit code is 1 if the model cannot be used; the reasons are printed.

Example:
  $ block-attention inspect ./model --cache-bytes 4G`;

interface InspectCommandOptions {
  json?: boolean;
  kvDtype: 'bf16' | 'f32' | 'int8';
  cacheBytes?: number;
}

export function inspectCommand(context: CommandContext, fail: () => void): Command {
  return new Command('inspect')
    .description('what a model folder holds and needs, without loading it')
    .argument('<dir>', 'Hugging Face model folder')
    .option('--json', 'print one JSON object')
    .addOption(
      new Option('--kv-dtype <type>', 'type of cached states')
        .choices(['bf16', 'f32', 'int8'])
        .default('bf16'),
    )
    .option('--cache-bytes <bytes>', 'size of the cache (default: a quarter of the memory)', parseBytes)
    .addHelpText('after', HELP)
    .action(async (folder: string, { json, kvDtype, cacheBytes }: InspectCommandOptions) => {
      const report = await inspectModel(folder, { kvDtype, cacheBytes, signal: context.signal });
      const output = new Output(context.stdout);
      await output.write(json ? `${JSON.stringify(report)}\n` : describe(report));
      output.check();
      if (!report.supported) fail();
    });
}

/** For a person: a line for each thing. */
export function describe(report: ModelReport): string {
  const { weights, shape, kv, memory } = report;
  const lines: [string, string][] = [['folder', report.path]];
  lines.push(['architecture', report.architecture ?? 'unknown']);
  if (weights !== undefined) {
    lines.push(['parameters', count(weights.parameters)]);
    lines.push(['weights', `${size(weights.bytes)}, ${weights.dtypes.join(' and ')}`]);
  }
  if (shape !== undefined) {
    const { layers, hiddenSize, heads, kvHeads, headDim, vocabSize } = shape;
    const grouped = `${heads} heads of ${headDim} over ${kvHeads} of keys and values`;
    lines.push(['shape', `${layers} layers, ${hiddenSize} wide, ${grouped}, ${vocabSize} tokens`]);
    lines.push(['context', `${shape.contextLength} tokens`]);
    lines.push(['RoPE', shape.rope === undefined ? 'unknown' : rope(shape.rope)]);
    lines.push(['windows', windows(shape.windows, layers)]);
  }
  if (kv !== undefined) {
    lines.push(['KV states', `${size(kv.bytesPerToken)} a token in ${kv.dtype}`]);
    lines.push(['cache', `${size(kv.cacheBytes)} hold ${kv.cacheTokens} tokens`]);
  }
  lines.push(['memory', `${size(memory.bytes)}${room(report)}`]);
  lines.push(['GPU', gpu(report.devices.cuda)]);
  lines.push(['tokenizer', report.hasTokenizer ? 'yes' : 'none: prompts are token ids']);
  lines.push(['chat template', report.hasChatTemplate ? 'yes' : "none: no format 'chat'"]);
  lines.push(['supported', report.supported ? 'yes' : 'no']);
  const problems = report.problems.map(({ code, message }) => `  ${code}: ${message}\n`).join('');
  return `${lines.map(([name, value]) => `${name.padEnd(14)} ${value}\n`).join('')}${problems}`;
}

function room({ memory }: ModelReport): string {
  if (memory.fits === undefined) return '';
  const fits = memory.fits ? 'weights and cache fit' : 'weights and cache do not fit';
  return `; ${fits}, at most ${memory.mostTokens} tokens beside the weights`;
}

function gpu(cuda: ModelReport['devices']['cuda']): string {
  if (!cuda.available) return `none: ${cuda.problem}`;
  const { name, computeCapability, memoryBytes, gemm, gemmProblem } = cuda;
  const why = gemmProblem === undefined ? '' : ` (${gemmProblem})`;
  return `${name}, ${size(memoryBytes)}, compute capability ${computeCapability}, linear layers by ${gemm}${why}`;
}

function rope({
  type,
  theta,
  ...parameters
}: NonNullable<NonNullable<ModelReport['shape']>['rope']>): string {
  const factor = 'factor' in parameters ? `, factor ${parameters.factor}` : '';
  return `${type}, theta ${theta}${factor}`;
}

function windows(found: { tokens: number; layers: number }[], layers: number): string {
  if (found.length === 0) return 'none';
  return found.map((window) => `${window.tokens} tokens in ${window.layers} of ${layers} layers`).join(', ');
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** "4.00 GiB". */
function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${UNITS[unit]}`;
}

/** "8.03 billion". */
function count(number: number): string {
  if (number >= 1e9) return `${(number / 1e9).toFixed(2)} billion`;
  return number >= 1e6 ? `${(number / 1e6).toFixed(1)} million` : `${number}`;
}
