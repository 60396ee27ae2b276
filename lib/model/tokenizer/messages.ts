/** What the main thread and the tokenizer worker say to each other: one request, one response, one at a time. */
import type { ErrorCode } from '../../errors.js';
import type { TextInput } from '../types.js';
import type { DecoderPlan } from './decoder-plan.js';
import type { VocabularyData } from './vocabulary.js';

/** A Jinja template and the variables of each text that it is to make. */
export interface TemplateRequest {
  /** Where the template came from, for messages. */
  file: string;
  source: string;
  /** What `strftime_now` gives, whatever its format. */
  date: string;
  contexts: readonly Readonly<Record<string, unknown>>[];
}

export type WorkerRequest =
  /** Fails before anything large is made if there are ids from `vocabSize` on. */
  | { kind: 'open'; path: string; vocabSize: number }
  /** Loads the tokenizer again if the worker is a new one; it must still be the file of that digest. */
  | { kind: 'encode'; path: string; digest: string; inputs: readonly TextInput[] }
  | ({ kind: 'render' } & TemplateRequest)
  | { kind: 'close'; digest: string };

/** What the main thread keeps of a tokenizer. */
export interface TokenizerInfo {
  digest: string;
  size: number;
  specialTokens: ReadonlyMap<string, number>;
  vocabulary: VocabularyData;
  decoder: DecoderPlan;
}

export type WorkerResponse =
  | { kind: 'opened'; info: TokenizerInfo }
  | { kind: 'encoded'; tokens: Int32Array[] }
  | { kind: 'rendered'; texts: string[] }
  | { kind: 'closed' }
  | { kind: 'failed'; code: ErrorCode; message: string };
