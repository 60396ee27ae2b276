/** Where lines of input come from. */
import { open } from 'node:fs/promises';
import { BlockAttentionError } from '../index.js';
import type { CommandContext } from './context.js';

/** A file, or stdin for "-". IO if it cannot be opened; `what` names its content in the message. */
export async function openInput(
  path: string,
  what: string,
  context: CommandContext,
): Promise<AsyncIterable<Buffer | string>> {
  if (path === '-') return context.stdin;
  try {
    return (await open(path)).createReadStream();
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    throw new BlockAttentionError('IO', `Cannot read the ${what} in ${path}: ${cause}`, { cause: error });
  }
}
