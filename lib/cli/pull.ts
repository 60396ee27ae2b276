/** `block-attention pull`: downloads a model from a hub. The one command that uses the network. */
import { basename } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import type { CommandContext } from './context.js';
import { type PullOptions, pullModel } from './hub.js';

const HELP = `
Downloads what loading needs: config, tokenizer, chat template and safetensors. Files that are there and whole are kept, and
an interrupted download goes on where it stopped. HF_TOKEN holds the access token for models that ask for one, HF_ENDPOINT
the address of another hub. The folder is printed when all is there.

Example:
  $ block-attention pull hxia7/Llama-3.2-1B-Block-FT --out ./model`;

interface PullCommandOptions {
  out?: string;
  revision: string;
}

export function pullCommand(context: CommandContext): Command {
  return new Command('pull')
    .description('download a model from the Hugging Face hub')
    .argument('<id>', 'the model, as "owner/name"', parseId)
    .option('--out <dir>', 'folder to put it into (default: its name, in the current one)')
    .option('--revision <name>', 'branch, tag or commit', 'main')
    .addHelpText('after', HELP)
    .action((id: string, options: PullCommandOptions) => run(id, options, context));
}

/** The name becomes a folder and a part of addresses. */
export function parseId(text: string): string {
  if (/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(text)) return text;
  throw new InvalidArgumentError('Give a model as "owner/name".');
}

async function run(id: string, options: PullCommandOptions, context: CommandContext): Promise<void> {
  const folder = options.out ?? basename(id);
  const files = await pullModel(id, folder, {
    revision: options.revision,
    hubUrl: process.env.HF_ENDPOINT || undefined,
    accessToken: process.env.HF_TOKEN || undefined,
    signal: context.signal,
    onProgress: progressOn(context.stderr),
  });
  const kept = files.filter((file) => file.kept).length;
  context.stderr.write(`${files.length} files, ${kept} of them there already\n`);
  context.stdout.write(`${folder}\n`);
}

/** A line for each file; on a terminal it counts. */
function progressOn(stderr: NodeJS.WriteStream): PullOptions['onProgress'] {
  let shown = '';
  return (file, done, total) => {
    const percent = total === 0 ? 100 : Math.floor((100 * done) / total);
    if (!stderr.isTTY && percent < 100) return;
    const line = `${file} ${percent}%`;
    if (line === shown) return;
    shown = line;
    stderr.write(stderr.isTTY ? `\r\u001b[K${line}${percent < 100 ? '' : '\n'}` : `${line}\n`);
  };
}
