/**
 * The `decoder` of tokenizer.json, read into the few steps that a stream decoder can do token by token. Two families
 * exist among the supported models: byte-level BPE (GPT-2, Llama 3, Qwen), and sentencepiece's way (Llama 2, Mistral,
 * Gemma), where U+2581 stands for a space and a character outside of the vocabulary is spelled in byte tokens.
 */
import { BlockAttentionError } from '../../errors.js';
import { Fields, quote } from '../fields.js';

export type DecoderPlan = { kind: 'bytes' } | PiecesPlan;

export interface PiecesPlan {
  kind: 'pieces';
  /** In each token, [text, its replacement], in order. */
  replacements: [string, string][];
  /** In the first token this text is left out instead (sentencepiece puts a space before a text). */
  dropInFirst: string | undefined;
  /** Tokens <0x00> to <0xFF> are bytes of UTF-8. */
  byteFallback: boolean;
  /** Up to `count` times this character is cut off the beginning of the whole text. */
  strip: { content: string; count: number } | undefined;
}

/** @param decoder The `decoder` field of tokenizer.json. */
export function readDecoderPlan(decoder: unknown, file: string): DecoderPlan {
  const steps = flatten(decoder, file);
  if (steps.length === 1 && steps[0]?.string('type') === 'ByteLevel') return { kind: 'bytes' };
  const plan: PiecesPlan = {
    kind: 'pieces',
    replacements: [],
    dropInFirst: undefined,
    byteFallback: false,
    strip: undefined,
  };
  // Each step is done on what the steps before it left, so they must come in the order that the stream decoder has.
  let stage = 0;
  const advance = (to: number, step: Fields) => {
    if (to < stage) throw unsupported(step);
    stage = to;
  };
  for (const step of steps) {
    switch (step.string('type')) {
      case 'Replace':
        advance(0, step);
        plan.replacements.push(readReplacement(step));
        break;
      case 'Metaspace':
        advance(0, step);
        readMetaspace(step, plan);
        break;
      case 'ByteFallback':
        advance(1, step);
        plan.byteFallback = true;
        break;
      case 'Fuse':
        advance(2, step);
        break;
      case 'Strip':
        // Before Fuse it would strip every token.
        if (stage !== 2) throw unsupported(step);
        advance(3, step);
        plan.strip = readStrip(step);
        break;
      default:
        throw unsupported(step);
    }
  }
  if (steps.length === 0)
    throw new BlockAttentionError('UNSUPPORTED', `${file}: a tokenizer without decoder is not supported.`);
  return plan;
}

function flatten(decoder: unknown, file: string): Fields[] {
  if (decoder === undefined || decoder === null) return [];
  const fields = new Fields(file, decoder, 'decoder.');
  if (fields.string('type') !== 'Sequence') return [fields];
  const steps = fields.raw('decoders');
  if (!Array.isArray(steps)) throw fields.wrong('decoders', 'a list');
  return steps.flatMap((step: unknown) => flatten(step, file));
}

function readReplacement(step: Fields): [string, string] {
  const pattern = step.object('pattern')?.string('String');
  const content = step.string('content');
  if (pattern === undefined || pattern === '' || content === undefined) throw unsupported(step);
  return [pattern, content];
}

function readMetaspace(step: Fields, plan: PiecesPlan): void {
  const replacement = step.string('replacement') ?? '\u2581';
  const prefixes = step.has('prepend_scheme')
    ? step.string('prepend_scheme') !== 'never'
    : step.boolean('add_prefix_space', true);
  if (prefixes) plan.dropInFirst = replacement;
  plan.replacements.push([replacement, ' ']);
}

function readStrip(step: Fields): { content: string; count: number } {
  const content = step.string('content');
  // Text that is cut off the end cannot be known while a stream goes on.
  if (content === undefined || content.length !== 1 || step.integer('stop', { min: 0, max: 1e6 }, 0) !== 0) {
    throw unsupported(step);
  }
  return { content, count: step.integer('start', { min: 0, max: 1e6 }, 0) };
}

function unsupported(step: Fields): BlockAttentionError {
  const fields = Object.fromEntries([...step.names()].map((name) => [name, step.raw(name)]));
  return new BlockAttentionError(
    'UNSUPPORTED',
    `${step.file}: decoder step ${quote(fields)} is not supported at this place: known are ByteLevel, or Replace and ` +
      'Metaspace, ByteFallback, Fuse and Strip (of the beginning) in this order.',
  );
}
