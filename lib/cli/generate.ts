/** `block-attention generate`: lines of requests, or questions of a person. */
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { builtDevices, Engine, type LoadOptions } from '../index.js';
import { answerQuestions, readDocument } from './answer-questions.js';
import type { CommandContext } from './context.js';
import { deviceRemark } from './device-remark.js';
import { openInput } from './input.js';
import { readLines } from './lines.js';
import { Output } from './output.js';
import { serveLines } from './serve-lines.js';
import { collect, parseBytes, parseCount, parseNumber } from './values.js';

interface GenerateOptions {
  model: string;
  input?: string;
  concurrency: number;
  doc: string[];
  attention?: 'block' | 'full';
  maxTokens?: number;
  temperature?: number;
  device: 'auto' | 'cpu' | 'cuda';
  deterministic?: boolean;
  threads?: number;
  dtype?: 'int8';
  weightsCache?: string;
  arithmetic?: 'auto' | 'f32';
  kvDtype?: 'bf16' | 'f32' | 'int8';
  cacheBytes?: number;
}

/** The model that ships with the package. */
const EMBEDDED_MODEL = fileURLToPath(new URL('../../models/tiny-rag', import.meta.url));

const HELP = `
With --input: one request a line, a JSON object with "blocks" (or "documents", "messages", "prompt"; and "format"), "query",
"attention", "maxTokens", "temperature", "logprobs", "ignoreEos" and the other options of engine.generate(); one result a
line on stdout, in the order of the input. With "n", several answers: {"answers":[...]}. A line that fails gives
{"error":{"code","message"}}, and the rest go on.

With questions: each is answered over the documents of --doc; a line on stderr says what was cached and what it saved.

Examples:
  $ block-attention generate --model ./model --input requests.jsonl > results.jsonl
  $ block-attention generate --model ./model --doc a.txt --doc b.txt "Who founded it?" "And when?"`;

export function generateCommand(context: CommandContext): Command {
  return new Command('generate')
    .description('answer requests or questions over documents')
    .argument('[questions...]', 'questions to answer over the documents of --doc')
    .option('--model <dir>', 'Hugging Face model folder', EMBEDDED_MODEL)
    .option('--input <file>', 'requests, one a line; - for stdin')
    .option('--concurrency <n>', 'requests of --input under way at once', parseCount, 1)
    .option('--doc <file>', 'document for the questions; may be repeated', collect, [])
    .addOption(new Option('--attention <mode>', 'for the questions').choices(['block', 'full']))
    .option('--max-tokens <n>', 'longest answer to a question', parseCount)
    .option('--temperature <t>', 'for the questions', parseNumber)
    .addOption(
      new Option('--device <name>', 'where to compute').choices(['auto', 'cpu', 'cuda']).default('auto'),
    )
    .option('--deterministic', 'results of a GPU that do not depend on what else runs')
    .option('--threads <n>', 'threads that compute (default: all)', parseCount)
    .addOption(
      new Option('--dtype <type>', 'type of the weights in memory (default: as the files have them)').choices(
        ['int8'],
      ),
    )
    .option('--weights-cache <dir>', 'with --dtype int8: folder that keeps the weights so for the next time')
    .addOption(
      new Option('--arithmetic <type>', 'f32: round nothing that is multiplied (default: auto)').choices([
        'auto',
        'f32',
      ]),
    )
    .addOption(
      new Option('--kv-dtype <type>', 'type of cached states (default: bf16)').choices([
        'bf16',
        'f32',
        'int8',
      ]),
    )
    .option(
      '--cache-bytes <bytes>',
      'size of the cache, e.g. 512M or 4G (default: a quarter of the memory, 85% of what is free on a GPU)',
      parseBytes,
    )
    .addHelpText('after', HELP)
    .action((questions: string[], options: GenerateOptions, command: Command) => {
      checkForm(questions, options, command);
      const askedForAuto = options.device === 'auto' && command.getOptionValueSource('device') === 'cli';
      return run(questions, options, askedForAuto, context);
    });
}

function checkForm(questions: readonly string[], options: GenerateOptions, command: Command): void {
  if (options.input === undefined && questions.length === 0) {
    command.error('error: give --input, or at least one question');
  }
  if (options.input !== undefined && (questions.length > 0 || options.doc.length > 0)) {
    command.error('error: questions and --doc have no place beside --input');
  }
  if (options.weightsCache !== undefined && options.dtype === undefined) {
    command.error('error: --weights-cache has no place without --dtype int8');
  }
}

async function run(
  questions: readonly string[],
  options: GenerateOptions,
  askedForAuto: boolean,
  context: CommandContext,
): Promise<void> {
  const { stderr, signal } = context;
  const output = new Output(context.stdout);
  // Before the model, which takes longer to load than a wrong path to notice.
  const documents = await Promise.all(options.doc.map(readDocument));
  const input = options.input === undefined ? undefined : await openInput(options.input, 'requests', context);
  await using engine = await Engine.load(options.model, loadOptions(options, context));
  const warn = (text: string) => stderr.write(`block-attention: ${text}\n`);
  const remark = deviceRemark({
    problem: engine.deviceProblem,
    built: builtDevices(),
    asked: askedForAuto,
  });
  if (remark !== undefined) warn(remark);
  if (engine.weightsCache?.problem !== undefined) warn(`weights cache: ${engine.weightsCache.problem}`);
  if (input === undefined) {
    const { attention, maxTokens, temperature } = options;
    const request = { attention, maxTokens, temperature };
    const remark = (text: string) => stderr.write(`${text}\n`);
    await answerQuestions(engine, documents, questions, output, { request, signal, remark });
  } else {
    await serveLines(engine, readLines(input), output, { concurrency: options.concurrency, signal, warn });
  }
  output.check();
}

function loadOptions(options: GenerateOptions, context: CommandContext): LoadOptions {
  const { device, deterministic, threads, dtype, weightsCache, arithmetic, kvDtype, cacheBytes } = options;
  return {
    device,
    deterministic,
    threads,
    dtype,
    weightsCache,
    arithmetic,
    kvDtype,
    cacheBytes,
    signal: context.signal,
    onProgress: progressOn(context.stderr),
  };
}

/** A line that is overwritten while a model loads; nothing if nobody watches. */
function progressOn(stderr: NodeJS.WriteStream): LoadOptions['onProgress'] {
  if (!stderr.isTTY) return undefined;
  let shown = -1;
  return ({ done, total }) => {
    const percent = Math.floor((100 * done) / total);
    if (percent === shown) return;
    shown = percent;
    stderr.write(percent < 100 ? `\rloading ${percent}%` : '\r\u001b[K');
  };
}
