// Ids and texts over the real vocabularies of five model families equal those of the reference library (`tokenizers`).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTokenizer } from '#lib/model/tokenizer/handle.js';
import type { TokenizerHandle } from '#lib/model/types.js';

interface Fixture {
  source: string;
  size: number;
  plain: number[][];
  trusted: { text: string; ids: number[] }[];
  decoded: { ids: number[]; text: string }[];
}

const root = join(import.meta.dirname, '../../../..');
const fixtures = join(root, 'test/fixtures/tokenizers');
const { texts } = JSON.parse(readFileSync(join(fixtures, 'texts.json'), 'utf8')) as { texts: string[] };

function tokenizerPath(source: string): string {
  if (source.startsWith('models/')) return join(root, source, 'tokenizer.json');
  // The package does not export its file.
  return join(root, 'test/vocabularies/node_modules', source, 'models/tokenizer.json');
}

describe.each(['tiny_rag', 'llama2', 'llama3_2', 'qwen3', 'mistral_nemo', 'gemma3'])('%s', (name) => {
  const fixture = JSON.parse(readFileSync(join(fixtures, `${name}.json`), 'utf8')) as Fixture;
  let tokenizer: TokenizerHandle;

  beforeAll(async () => {
    tokenizer = await openTokenizer({ path: tokenizerPath(fixture.source) }, { vocabSize: fixture.size });
  }, 120_000);

  afterAll(async () => {
    await tokenizer?.close();
  });

  it('has the reference vocabulary', () => {
    expect(tokenizer.size).toBe(fixture.size);
    expect(tokenizer.specialTokens.size).toBeGreaterThan(0);
  });

  it('gives the ids of the reference for plain text', async () => {
    const ids = await tokenizer.encode(texts);
    for (const [i, text] of texts.entries()) {
      expect([...(ids[i] ?? [])], JSON.stringify(text)).toEqual(fixture.plain[i]);
    }
  });

  it('gives the ids of the reference for trusted text with special tokens', async () => {
    const inputs = fixture.trusted.map(({ text }) => ({ parts: [{ text, special: true }] }));
    const ids = await tokenizer.encode(inputs);
    for (const [i, { text, ids: expected }] of fixture.trusted.entries()) {
      expect([...(ids[i] ?? [])], JSON.stringify(text)).toEqual(expected);
    }
  });

  it('gives the same ids however plain text is cut into parts', async () => {
    const whole = texts.filter((text) => text !== '');
    const inputs = whole.map((text) => {
      const middle = text.length >> 1;
      const parts = [text.slice(0, middle), '', text.slice(middle)].map((part) => ({ text: part }));
      return { parts };
    });
    expect(await tokenizer.encode(inputs)).toEqual(await tokenizer.encode(whole));
  });

  it('decodes as the reference does', () => {
    for (const { ids, text } of fixture.decoded) expect(tokenizer.decode(ids), ids.join()).toBe(text);
  });

  it('streams the same text in pieces that never end inside a character', () => {
    for (const { ids, text } of fixture.decoded) {
      const decoder = tokenizer.streamDecoder();
      const pieces = [...ids.map((id) => decoder.push([id])), decoder.end()];
      for (const piece of pieces) expect(piece).not.toMatch(/\p{Surrogate}/u);
      expect(pieces.join(''), ids.join()).toBe(text);
    }
  });
});
