import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from 'block-attention';
import { expect, it } from 'vitest';
import { expectError } from '../errors.js';
import { temporaryFolder } from '../model/temporary-folder.js';
import { runCommand } from './process.js';

interface Fixture {
  cases: { text: string; ids: number[] }[];
}

const { cases }: Fixture = JSON.parse(readFileSync('test/fixtures/tokenizer-tiny-rag.json', 'utf8'));

/** A folder with the tokenizer alone. */
function tokenizerFolder(): string {
  const folder = temporaryFolder();
  copyFileSync('models/tiny-rag/tokenizer.json', join(folder, 'tokenizer.json'));
  return folder;
}

it('gives the ids of texts as documents, in order, without weights', async () => {
  const input = cases.map(({ text }) => `${JSON.stringify(text)}\n`).join('');
  const { stdout, stderr, code } = await runCommand(['tokenize', '--model', tokenizerFolder()], input);
  expect([code, stderr]).toEqual([0, '']);
  const lines = stdout.trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toEqual(cases.map(({ ids }) => ids));
});

it('reports a bad line in its place and goes on', async () => {
  const folder = tokenizerFolder();
  const { stdout, code } = await runCommand(['tokenize', '--model', folder], '"a"\n{"text":"a"}\n"b\n\n""\n');
  expect(code).toBe(0);
  const [first, notString, notJson, empty, ...rest] = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(first).toEqual([expect.any(Number)]);
  const error = (message: string) => ({
    error: { code: 'INVALID_ARGUMENT', message: expect.stringContaining(message) },
  });
  expect(notString).toEqual(error('line 2 is not a JSON string'));
  expect(notJson).toEqual(error('line 3 is not JSON'));
  expect([empty, rest]).toEqual([[], []]);
});

it.each([
  [[], 2, /required option '--model/],
  [['--model', 'test'], 1, /^block-attention: TOKENIZER_MISSING: /],
  [['--model', 'models/tiny-rag', '--input', 'none.jsonl'], 1, /IO: Cannot read the texts in none.jsonl/],
])('fails with the right exit code: %j', async (args, expected, message) => {
  const { stdout, stderr, code } = await runCommand(['tokenize', ...args]);
  expect([stdout, code]).toEqual(['', expected]);
  expect(stderr).toMatch(message);
});

it('is a class for programs, too', async () => {
  const tokenizer = await Tokenizer.load('models/tiny-rag');
  const [plain, special] = await tokenizer.encode([
    '<|user|>',
    { parts: [{ text: '<|user|>', special: true }] },
  ]);
  expect(plain?.length).toBeGreaterThan(1);
  expect(special).toHaveLength(1);
  expect([tokenizer.decode(plain ?? []), tokenizer.decode(special ?? [])]).toEqual(['<|user|>', '']);
  await tokenizer.close();
  await expectError(() => tokenizer.encode(['a']), 'CLOSED');
  await expectError(() => Tokenizer.load('models/tiny-rag', { timeLimit: 0 }), 'INVALID_ARGUMENT');
});
