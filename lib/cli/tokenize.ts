/** `block-attention tokenize`: texts as lines in, token ids as lines out. Needs no weights. */
import { Command } from 'commander';
import { BlockAttentionError, Tokenizer } from '../index.js';
import { answerLines } from './answer-lines.js';
import type { CommandContext } from './context.js';
import { openInput } from './input.js';
import { readLines } from './lines.js';
import { Output } from './output.js';

const HELP = `
One JSON string a line in, one array of token ids a line out, in the order of the input: what the text becomes as a
document, without BOS and without special tokens, whatever it spells. A line that fails gives
{"error":{"code","message"}}, and the rest go on. Only tokenizer.json of the folder is read.

Example:
  $ echo '"Paris is in France."' | block-attention tokenize --model ./model`;

/** Texts under way at once: the tokenizer takes them in turn, and none waits for the next line to be read. */
const CONCURRENCY = 16;

export function tokenizeCommand(context: CommandContext): Command {
  return new Command('tokenize')
    .description('token ids of texts')
    .requiredOption('--model <dir>', 'folder with tokenizer.json')
    .option('--input <file>', 'texts, one JSON string a line; - for stdin', '-')
    .addHelpText('after', HELP)
    .action((options: { model: string; input: string }) => run(options, context));
}

async function run(options: { model: string; input: string }, context: CommandContext): Promise<void> {
  const { signal } = context;
  const output = new Output(context.stdout);
  const input = await openInput(options.input, 'texts', context);
  await using tokenizer = await Tokenizer.load(options.model, { signal });
  const answer = async (value: unknown, line: number, ended: AbortSignal) => {
    if (typeof value !== 'string')
      throw new BlockAttentionError('INVALID_ARGUMENT', `line ${line} is not a JSON string`);
    const [ids] = await tokenizer.encode([value], { signal: ended });
    return [...(ids ?? [])];
  };
  await answerLines(answer, readLines(input), output, { concurrency: CONCURRENCY, signal });
  output.check();
}
