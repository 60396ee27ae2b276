/** The form for a person: documents from files, questions from the command line, answers streamed as they come. */
import { readFile } from 'node:fs/promises';
import { basename, extname } from 'node:path';
import {
  BlockAttentionError,
  type Engine,
  type GenerateRequest,
  type GenerationResult,
  type ReferenceDocument,
} from '../index.js';
import type { Output } from './output.js';

export interface QuestionOptions {
  request: Pick<GenerateRequest, 'attention' | 'maxTokens' | 'temperature'>;
  signal: AbortSignal;
  /** Where the line about each answer goes. */
  remark: (text: string) => void;
}

/** The file's name without its ending is the document's title. */
export async function readDocument(path: string): Promise<ReferenceDocument> {
  try {
    const text = await readFile(path, 'utf8');
    return { title: basename(path, extname(path)), text: text.trim() };
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    throw new BlockAttentionError('IO', `Cannot read the document ${path}: ${cause}`, { cause: error });
  }
}

export async function answerQuestions(
  engine: Engine,
  documents: readonly ReferenceDocument[],
  questions: readonly string[],
  output: Output,
  options: QuestionOptions,
): Promise<void> {
  const signal = AbortSignal.any([options.signal, output.gone]);
  for (const query of questions) {
    const generation = engine.generate({ ...options.request, documents, query, signal });
    for await (const part of generation) if (part.text !== '') await output.write(part.text);
    await output.write('\n');
    options.remark(savings(await generation.result()));
  }
}

/** What was cached, and what that saved. */
export function savings(result: GenerationResult): string {
  const { usage, timings, flops } = result;
  const hits = usage.blocks.filter(({ status }) => status === 'hit').length;
  const { request, full } = flops.executed;
  const spared = Math.max(0, 100 * (1 - request / full));
  const first =
    timings.firstToken === undefined ? 'no token' : `first token after ${timings.firstToken.toFixed(1)} ms`;
  return (
    `[${hits} of ${usage.blocks.length} blocks and ${usage.cachedTokens} of ${usage.promptTokens} tokens came from the ` +
    `cache; ${first}, with ${spared.toFixed(1)}% less computing than full attention over everything]`
  );
}
