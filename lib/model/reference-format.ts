/**
 * The prompt layout of the released Block-Attention models (arXiv 2409.15355; the template of Tulu 3): the system text,
 * one block for each document, and a final block with the question. Only the template's own <|user|> and <|assistant|>
 * are special tokens; documents and question are plain text, whatever they contain.
 */
import type { TextInput, TextPart } from './types.js';

export interface ReferenceDocument {
  title?: string | undefined;
  text: string;
}

export interface ReferencePrompt {
  documents: readonly ReferenceDocument[];
  query: string;
  /** Begin with the literal text `[Block-Attention]`, as in block-mode training of those models. False unless said. */
  tag?: boolean | undefined;
}

export interface ReferenceBlocks {
  /** The system text, then one per document. */
  blocks: TextInput[];
  query: TextInput;
}

/** Begins a prompt of block-mode training. */
export const TAG = '[Block-Attention]';

/** Behind the template's <|user|>. */
export const SYSTEM_TEXT =
  "\nYou are an intelligent AI assistant. Please answer questions based on the user's instructions. " +
  "Below are some reference documents that may help you in answering the user's question.\n\n";

/** Between the documents and the question. */
export const INSTRUCTION =
  '\n\nPlease write a high-quality answer for the given question using only the provided search documents ' +
  '(some of which might be irrelevant).\nQuestion: ';

export function referenceBlocks(prompt: ReferencePrompt): ReferenceBlocks {
  const system: TextPart[] = [{ text: '<|user|>', special: true }, { text: SYSTEM_TEXT }];
  if (prompt.tag) system.unshift({ text: TAG });
  return {
    blocks: [{ parts: system }, ...prompt.documents.map(documentText)],
    query: {
      parts: [
        { text: `${INSTRUCTION}${prompt.query}\n` },
        { text: '<|assistant|>', special: true },
        { text: '\n' },
      ],
    },
  };
}

/** A document without a title has no title line. */
export function documentText(document: ReferenceDocument): string {
  return document.title === undefined
    ? `- ${document.text}\n`
    : `- Title: ${document.title}\n${document.text}\n`;
}
