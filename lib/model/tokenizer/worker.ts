/**
 * The worker thread that holds all tokenizers of the process: loading one takes up to seconds, and tokenising a long text
 * too. Requests come one at a time.
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { BlockAttentionError, toBlockAttentionError } from '../../errors.js';
import { checkSize, ioError, parseJson } from '../files.js';
import { readDecoderPlan } from './decoder-plan.js';
import { TokenEncoder } from './encoder.js';
import type { TokenizerInfo, WorkerRequest, WorkerResponse } from './messages.js';
import { renderTemplate } from './render.js';
import { readTokenizerJson, type TokenizerJson } from './tokenizer-json.js';
import { buildVocabulary, vocabularySize } from './vocabulary.js';

/** By digest. */
const encoders = new Map<string, TokenEncoder>();

/** Ten times what the largest vocabularies take. */
const MAX_TOKENIZER_BYTES = 1 << 28;

function readTokenizer(path: string): { digest: string; text: string } {
  let bytes: Buffer;
  try {
    checkSize(path, statSync(path).size, MAX_TOKENIZER_BYTES);
    bytes = readFileSync(path);
  } catch (error) {
    throw error instanceof BlockAttentionError ? error : ioError(path, error);
  }
  return { digest: createHash('sha256').update(bytes).digest('hex'), text: bytes.toString('utf8') };
}

function open(path: string, vocabSize: number): TokenizerInfo {
  const { digest, text } = readTokenizer(path);
  const tokenizer = readTokenizerJson(parseJson(text, path), path);
  const size = vocabularySize(tokenizer);
  // One id is enough to make the vocabulary as large as it may be.
  if (size > vocabSize) {
    throw new BlockAttentionError(
      'TOKENIZER_MISMATCH',
      `${path} has token ids up to ${size - 1}, but the model's vocabulary ends at ${vocabSize - 1}: ` +
        'it is the tokenizer of another model.',
    );
  }
  const decoder = readDecoderPlan(tokenizer.decoder, path);
  const info = {
    digest,
    size,
    specialTokens: specialTokens(tokenizer),
    vocabulary: buildVocabulary(tokenizer, decoder),
    decoder,
  };
  // Last, since it takes the JSON over.
  if (!encoders.has(digest)) encoders.set(digest, new TokenEncoder(tokenizer, path));
  return info;
}

function specialTokens(tokenizer: TokenizerJson): Map<string, number> {
  return new Map(
    tokenizer.addedTokens.filter((token) => token.special).map(({ content, id }) => [content, id]),
  );
}

function encoderOf(path: string, digest: string): TokenEncoder {
  const known = encoders.get(digest);
  if (known !== undefined) return known;
  const read = readTokenizer(path);
  if (read.digest !== digest) throw new BlockAttentionError('IO', `${path} has changed since it was loaded.`);
  const encoder = new TokenEncoder(readTokenizerJson(parseJson(read.text, path), path), path);
  encoders.set(digest, encoder);
  return encoder;
}

function respond(request: WorkerRequest): WorkerResponse {
  switch (request.kind) {
    case 'open':
      return { kind: 'opened', info: open(request.path, request.vocabSize) };
    case 'encode': {
      const encoder = encoderOf(request.path, request.digest);
      return { kind: 'encoded', tokens: request.inputs.map((input) => encoder.encode(input)) };
    }
    case 'render':
      return { kind: 'rendered', texts: renderTemplate(request) };
    case 'close':
      encoders.delete(request.digest);
      return { kind: 'closed' };
  }
}

parentPort?.on('message', (request: WorkerRequest) => {
  let response: WorkerResponse;
  try {
    response = respond(request);
  } catch (error) {
    const { code, message } = toBlockAttentionError(error);
    response = { kind: 'failed', code, message };
  }
  parentPort?.postMessage(response);
});
