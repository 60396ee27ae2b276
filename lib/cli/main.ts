#!/usr/bin/env node
/**
 * The command `block-attention`.
 *
 * Exit codes: 0 done (lines of --input that failed say so themselves; a reader of stdout that went away is no failure);
 * 1 it could not be done: the model, a file, an answer; 2 wrong usage; 128 + n ended by signal n (130: Ctrl-C).
 */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { Command, CommanderError } from 'commander';
import { BlockAttentionError } from '../index.js';
import { generateCommand } from './generate.js';
import { inspectCommand } from './inspect.js';
import { pullCommand } from './pull.js';
import { tokenizeCommand } from './tokenize.js';

const FAILED = 1;
const WRONG_USAGE = 2;

const manifest: { version: string } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
);

const interruption = new AbortController();
let interruptedBy: 'SIGINT' | 'SIGTERM' | undefined;
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  // Once: the second one ends the process the hard way.
  process.once(name, () => {
    interruptedBy = name;
    interruption.abort();
  });
}

// Nobody reads the remarks any more: no reason to stop.
process.stderr.on('error', () => undefined);

process.exitCode = await main();

async function main(): Promise<number> {
  const { stdin, stdout, stderr } = process;
  const context = { stdin, stdout, stderr, signal: interruption.signal };
  let done = 0;
  const fail = () => {
    done = FAILED;
  };
  const program = new Command('block-attention')
    .description('LLM inference for retrieval-augmented generation: every document is encoded once')
    .version(manifest.version)
    .exitOverride()
    .addCommand(generateCommand(context).exitOverride())
    .addCommand(inspectCommand(context, fail).exitOverride())
    .addCommand(pullCommand(context).exitOverride())
    .addCommand(tokenizeCommand(context).exitOverride());
  try {
    await program.parseAsync();
    return interruptedBy === undefined ? done : 128 + constants.signals[interruptedBy];
  } catch (error) {
    if (interruptedBy !== undefined) return 128 + constants.signals[interruptedBy];
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : WRONG_USAGE;
    const code = error instanceof BlockAttentionError ? `${error.code}: ` : '';
    stderr.write(`block-attention: ${code}${error instanceof Error ? error.message : String(error)}\n`);
    return FAILED;
  } finally {
    // A stdin that somebody still holds open would keep the process alive.
    stdin.destroy();
  }
}
