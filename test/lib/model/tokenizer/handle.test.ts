// Tokenizers in the worker thread: sharing, closing, errors, and a process that may end.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { openTokenizer } from '#lib/model/tokenizer/handle.js';
import type { TextInput } from '#lib/model/types.js';
import { expectError } from '../../errors.js';
import { temporaryFolder } from '../temporary-folder.js';
import { byteLevel, BYTES } from './small-tokenizers.js';

const root = join(import.meta.dirname, '../../../..');
const tinyRag = { path: join(root, 'models/tiny-rag/tokenizer.json') };
const vocabSize = 2255;

/** A tokenizer whose pattern backtracks for ever over one text. */
const HANGING = byteLevel({
  pre_tokenizer: { type: 'Split', pattern: { Regex: '(a+)+c' }, behavior: 'Isolated' },
});
const HANGS = `${'a'.repeat(60)}b`;

interface TinyRagCase {
  name: string;
  text: string;
  ids: number[];
  decoded: string;
  trusted?: number[];
  partial?: string[];
}

describe('tiny-rag', () => {
  const file = join(root, 'test/fixtures/tokenizer-tiny-rag.json');
  const { cases } = JSON.parse(readFileSync(file, 'utf8')) as { cases: TinyRagCase[] };

  it('gives the ids and texts of the reference', async () => {
    const tokenizer = await openTokenizer(tinyRag, { vocabSize });
    const plain = await tokenizer.encode(cases.map(({ text }) => text));
    const trusted = await tokenizer.encode(cases.map(({ text }) => ({ parts: [{ text, special: true }] })));
    for (const [i, { name, ids, ...expected }] of cases.entries()) {
      expect([...(plain[i] ?? [])], name).toEqual(ids);
      expect([...(trusted[i] ?? [])], name).toEqual(expected.trusted ?? ids);
      expect(tokenizer.decode(ids), name).toBe(expected.decoded);
      const decoder = tokenizer.streamDecoder();
      let text = '';
      for (const [n, partial] of (expected.partial ?? []).entries()) {
        text += decoder.push(ids.slice(n, n + 1));
        // The reference shows an unfinished character as U+FFFD; a stream holds it back.
        expect(text, name).toBe(partial.replace(/\ufffd+$/, ''));
      }
    }
    await tokenizer.close();
  });

  it('says what it is', async () => {
    const tokenizer = await openTokenizer(tinyRag, { vocabSize });
    expect(tokenizer.digest).toBe(createHash('sha256').update(readFileSync(tinyRag.path)).digest('hex'));
    expect(tokenizer.size).toBe(2255);
    expect(Object.fromEntries(tokenizer.specialTokens)).toEqual({
      '<|endoftext|>': 0,
      '<|user|>': 1,
      '<|assistant|>': 2,
      '<|system|>': 3,
    });
    await tokenizer.close();
  });

  it('keeps a batch in order, also one of many requests', async () => {
    const tokenizer = await openTokenizer(tinyRag, { vocabSize });
    const texts = Array.from({ length: 60 }, (_, i) => `${i} `.repeat(i % 3 === 0 ? 3000 : 2));
    const ids = await tokenizer.encode(texts);
    expect(ids.map((tokens) => tokenizer.decode(tokens))).toEqual(texts);
    expect(await tokenizer.encode([])).toEqual([]);
    await tokenizer.close();
  });
});

describe('handles', () => {
  it('of the same file share a tokenizer until the last is closed', async () => {
    const copy = join(temporaryFolder(), 'tokenizer.json');
    copyFileSync(tinyRag.path, copy);
    const [one, two] = await Promise.all([
      openTokenizer(tinyRag, { vocabSize }),
      openTokenizer({ path: copy }, { vocabSize }),
    ]);
    await one.close();
    await one.close();
    expect(await two.encode(['x'])).toHaveLength(1);
    await two.close();
    const again = await openTokenizer(tinyRag, { vocabSize });
    expect(await again.encode(['x'])).toHaveLength(1);
    await again.close();
  });

  it('of different files live side by side', async () => {
    const path = join(temporaryFolder({ 'tokenizer.json': byteLevel() }), 'tokenizer.json');
    const [one, two] = await Promise.all([
      openTokenizer(tinyRag, { vocabSize }),
      openTokenizer({ path }, { vocabSize: 259 }),
    ]);
    const input = { parts: [{ text: '<|user|>', special: true }] };
    const ids = await Promise.all([one.encode([input]), two.encode([input])]);
    expect(ids.map(([tokens]) => tokens?.[0])).toEqual([1, BYTES.user]);
    await Promise.all([one.close(), two.close()]);
  });

  it('that are closed refuse work, and end what is under way', async () => {
    const tokenizer = await openTokenizer(tinyRag, { vocabSize });
    const working = tokenizer.encode(Array.from({ length: 50 }, () => 'word '.repeat(5000)));
    const failed = expectError(() => working, 'CLOSED');
    await tokenizer.close();
    await failed;
    await expectError(() => tokenizer.encode(['x']), 'CLOSED');
    await expectError(() => tokenizer.encode([]), 'CLOSED');
  });

  it('come back after a time limit, with the tokenizer loaded again', async () => {
    const path = join(temporaryFolder({ 'tokenizer.json': HANGING }), 'tokenizer.json');
    const tokenizer = await openTokenizer({ path }, { vocabSize: 259, timeLimit: 3000 });
    await expectError(() => tokenizer.encode([HANGS]), 'TIMEOUT', expect.stringContaining('3000 ms'));
    expect(await tokenizer.encode(['x'])).toHaveLength(1);
    await tokenizer.close();
  });

  it('abort', async () => {
    const tokenizer = await openTokenizer(tinyRag, { vocabSize });
    await expectError(() => tokenizer.encode(['x'], { signal: AbortSignal.abort() }), 'ABORTED');
    const controller = new AbortController();
    const working = tokenizer.encode(['word '.repeat(100_000)], { signal: controller.signal });
    setTimeout(() => controller.abort(), 10);
    await expectError(() => working, 'ABORTED');
    expect(await tokenizer.encode(['x'])).toHaveLength(1);
    await tokenizer.close();
    await expectError(() => openTokenizer(tinyRag, { vocabSize, signal: AbortSignal.abort() }), 'ABORTED');
  });

  it('notice that their file was replaced, once they need it again', async () => {
    const path = join(temporaryFolder({ 'tokenizer.json': HANGING }), 'tokenizer.json');
    const tokenizer = await openTokenizer({ path }, { vocabSize: 259, timeLimit: 3000 });
    writeFileSync(path, JSON.stringify(byteLevel({ added_tokens: [] })));
    expect(await tokenizer.encode(['x'])).toHaveLength(1);
    await expectError(() => tokenizer.encode([HANGS]), 'TIMEOUT');
    await expectError(() => tokenizer.encode(['x']), 'IO', `${path} has changed since it was loaded.`);
    await tokenizer.close();
  });
});

describe('what cannot be opened', () => {
  it('a tokenizer of another model', async () => {
    const message = expect.stringMatching(/token ids up to 2254, but the model's vocabulary ends at 2253/);
    await expectError(() => openTokenizer(tinyRag, { vocabSize: 2254 }), 'TOKENIZER_MISMATCH', message);
    const tokenizer = await openTokenizer(tinyRag, { vocabSize: 4000 });
    await tokenizer.close();
  });

  it.each<[string, string | object, 'MODEL_FORMAT' | 'UNSUPPORTED', string]>([
    ['no JSON', '{', 'MODEL_FORMAT', 'is not JSON'],
    ['no tokenizer', '{}', 'MODEL_FORMAT', 'model is missing'],
    ['another kind', byteLevel({ model: { type: 'Unigram' } }), 'UNSUPPORTED', 'model.type "Unigram"'],
    ['an unknown decoder', byteLevel({ decoder: { type: 'CTC' } }), 'UNSUPPORTED', 'decoder step'],
  ])('%s', async (_, content, code, message) => {
    const path = join(temporaryFolder({ 'tokenizer.json': content }), 'tokenizer.json');
    await expectError(() => openTokenizer({ path }, { vocabSize }), code, expect.stringContaining(message));
  });

  it('one id far beyond the vocabulary, without making that many tokens', async () => {
    const vocab = { x: 2 ** 24 };
    const path = join(
      temporaryFolder({ 'tokenizer.json': byteLevel({ model: { vocab } }) }),
      'tokenizer.json',
    );
    const before = process.cpuUsage();
    await expectError(() => openTokenizer({ path }, { vocabSize }), 'TOKENIZER_MISMATCH');
    const { user, system } = process.cpuUsage(before);
    // Microseconds of all threads, the worker's start among them; with the tokens it is seconds.
    expect(user + system).toBeLessThan(1_000_000);
  });

  it('a file of a gigabyte', async () => {
    const path = join(temporaryFolder({ 'tokenizer.json': '' }), 'tokenizer.json');
    truncateSync(path, 2 ** 30);
    const message = expect.stringContaining('has 1073741824 bytes');
    await expectError(() => openTokenizer({ path }, { vocabSize }), 'MODEL_FORMAT', message);
  });

  it('a file that is not there', async () => {
    const path = join(temporaryFolder(), 'tokenizer.json');
    await expectError(
      () => openTokenizer({ path }, { vocabSize }),
      'IO',
      `Cannot read ${path}: it does not exist.`,
    );
  });

  it.each([0, -1, Number.NaN, 2 ** 31, Number.POSITIVE_INFINITY])('a time limit of %d', async (timeLimit) => {
    await expectError(() => openTokenizer(tinyRag, { vocabSize, timeLimit }), 'INVALID_ARGUMENT');
  });

  it('text that is none', async () => {
    const tokenizer = await openTokenizer(tinyRag, { vocabSize });
    for (const input of [7, null, undefined, {}, { parts: 'x' }, { parts: [7] }, { parts: [{ text: 7 }] }]) {
      await expectError(() => tokenizer.encode([input as unknown as TextInput]), 'INVALID_ARGUMENT');
    }
    await tokenizer.close();
  });
});

it('does not keep the process alive while it is idle', async () => {
  const program = `
    const { openTokenizer } = await import('#lib/model/tokenizer/handle.js');
    const tokenizer = await openTokenizer(${JSON.stringify(tinyRag)}, { vocabSize: ${vocabSize} });
    console.log((await tokenizer.encode(['x y'])).length);
  `;
  const args = ['--input-type=module', '--eval', program];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, timeout: 25_000 });
  expect(stdout.trim()).toBe('1');
});
