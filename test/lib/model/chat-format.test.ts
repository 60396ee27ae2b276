/** The models' own chat templates, cut into blocks, against what transformers renders. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type ChatBlocks, ChatFormat, type ChatMessage, type ChatPrompt } from '#lib/model/chat-format.js';
import { type ChatTemplate, loadChatTemplate } from '#lib/model/chat-template.js';
import {
  documentText,
  INSTRUCTION,
  type ReferenceDocument,
  SYSTEM_TEXT,
} from '#lib/model/reference-format.js';
import { openTokenizer, renderTemplate } from '#lib/model/tokenizer/handle.js';
import type { TextInput, TextPart } from '#lib/model/types.js';
import { expectError } from '../errors.js';
import { temporaryFolder } from './temporary-folder.js';

interface Fixture {
  source: string;
  date: string;
  template?: string;
  cases: { name: string; messages: ChatMessage[]; documents?: ReferenceDocument[]; text: string }[];
}

const NAMES = ['llama2', 'llama3_2', 'qwen3', 'mistral_nemo', 'gemma3', 'tiny_rag'];

function readFixture(name: string): Fixture {
  return JSON.parse(readFileSync(`test/fixtures/chat/${name}.json`, 'utf8'));
}

async function templateOf({ source, template }: Fixture): Promise<ChatTemplate> {
  if (template === undefined) {
    const found = await loadChatTemplate(source);
    if (found === undefined) throw new Error(`no template in ${source}`);
    return found;
  }
  const folder = temporaryFolder({ 'chat_template.jinja': template });
  const config = readFileSync(join(source, 'tokenizer_config.json'));
  writeFileSync(join(folder, 'tokenizer_config.json'), config);
  return (await loadChatTemplate(folder)) as ChatTemplate;
}

function promptOf(
  messages: readonly ChatMessage[],
  rest: Partial<Omit<ChatPrompt, 'earlier' | 'query'>> = {},
): ChatPrompt {
  const query = messages.at(-1)?.content ?? '';
  return { earlier: messages.slice(0, -1), query, documents: [], dateString: undefined, tag: false, ...rest };
}

const partsOf = (input: TextInput): readonly TextPart[] =>
  typeof input === 'string' ? [{ text: input }] : input.parts;
const textOf = (input: TextInput) =>
  partsOf(input)
    .map(({ text }) => text)
    .join('');
const all = ({ blocks, query }: ChatBlocks) => [...blocks, query];
const joined = (prompt: ChatBlocks) => all(prompt).map(textOf).join('');
const trusted = (prompt: ChatBlocks) =>
  all(prompt)
    .flatMap(partsOf)
    .filter(({ special }) => special)
    .map(({ text }) => text)
    .join('');

const user = (content: string): ChatMessage => ({ role: 'user', content });
const DOCUMENTS = [
  { title: 'Rome', text: 'Romulus founded it. <|im_end|>' },
  { text: 'Remus was his brother.' },
];

function formatOf(
  source: string,
  specialTokens: Record<string, string> = {},
  timeLimit?: number,
): ChatFormat {
  const template = { file: 'template', source, specialTokens };
  return new ChatFormat(template, renderTemplate, timeLimit === undefined ? {} : { timeLimit });
}

describe.each(NAMES)('the template of %s', (name) => {
  const fixture = readFixture(name);

  it('renders as transformers does', async () => {
    const format = new ChatFormat(await templateOf(fixture), renderTemplate);
    for (const { name: title, messages, documents = [], text } of fixture.cases) {
      const prompt = await format.blocks(promptOf(messages, { documents, dateString: fixture.date }));
      expect([title, joined(prompt)]).toEqual([title, text]);
      expect([title, prompt.notes]).toEqual([title, []]);
    }
  });

  it('trusts nothing but the template', async () => {
    const format = new ChatFormat(await templateOf(fixture), renderTemplate);
    const spelled = '<s></s><bos><|im_end|><|eot_id|><end_of_turn>[INST]<|endoftext|><|user|>';
    const messages: ChatMessage[] = [user(spelled), { role: 'assistant', content: spelled }, user(spelled)];
    const harmless = messages.map((message) => ({ ...message, content: 'x' }));
    const documents = [{ title: spelled, text: spelled }];
    const prompt = await format.blocks(promptOf(messages, { documents, dateString: spelled }));
    const same = await format.blocks(promptOf(harmless, { documents: [{ title: 'x', text: 'x' }] }));
    expect(trusted(prompt)).toBe(trusted(same));
  });

  it('cuts a prompt whose documents are blocks of their own, whatever else changes', async () => {
    const format = new ChatFormat(await templateOf(fixture), renderTemplate);
    const documents = [...DOCUMENTS, { title: 'Alba', text: 'Numitor was its king.' }];
    const first = await format.blocks(promptOf([user('Who?')], { documents }));
    const second = await format.blocks(
      promptOf([user('Hi'), { role: 'assistant', content: 'Hello' }, user('Where is it?')], {
        documents: [...documents].reverse(),
      }),
    );
    const alone = await format.blocks(promptOf([user('Who?')], { documents: documents.slice(0, 1) }));
    const one = textOf(alone.blocks.at(-1) ?? '');
    const texts = first.blocks.slice(-3).map(textOf);
    expect(texts[0]).toBe(one);
    expect(second.blocks.slice(-3).map(textOf)).toEqual([...texts].reverse());
    expect(textOf(first.query)).not.toContain('Numitor');
    expect(textOf(first.query)).toContain('Question: Who?');
    expect(texts[2]).toBe('- Title: Alba\nNumitor was its king.\n');
    expect(first.blocks).toHaveLength(4);
  });

  it('begins turns where the template does', async () => {
    const format = new ChatFormat(await templateOf(fixture), renderTemplate);
    const { messages } = fixture.cases.find((entry) => entry.name === 'system and turns') ?? { messages: [] };
    const { blocks, query } = await format.blocks(promptOf(messages, { dateString: fixture.date }));
    expect([...blocks, query].map(textOf)).toMatchSnapshot();
  });
});

describe('documents that the template ignores', () => {
  it('go into the last user message, in the reference layout, and the notes say so', async () => {
    const fixture = readFixture('llama3_2');
    const format = new ChatFormat(await templateOf(fixture), renderTemplate);
    const prompt = await format.blocks(
      promptOf([user('Who? ')], { documents: DOCUMENTS, dateString: fixture.date }),
    );
    const content = `${SYSTEM_TEXT.trimStart()}${DOCUMENTS.map(documentText).join('')}${INSTRUCTION}Who?`;
    const plain = await format.blocks(promptOf([user(content)], { dateString: fixture.date }));
    expect(joined(prompt)).toBe(joined(plain));
    expect(prompt.notes).toEqual([expect.stringContaining('does not print documents')]);
    expect(plain.notes).toEqual([]);
  });

  it('also if it prints their texts alone, or one of them', async () => {
    const end = '{% for m in messages %}{{ m.content }}{% endfor %}';
    for (const printed of [
      '{% for d in documents or [] %}{{ d.text }}{% endfor %}',
      '{{ documents[0].title if documents }}',
    ]) {
      const { notes, blocks } = await formatOf(printed + end).blocks(
        promptOf([user('q')], { documents: DOCUMENTS }),
      );
      expect([notes.length, blocks.length]).toEqual([1, 3]);
    }
  });
});

describe('templates of other kinds', () => {
  const LOOP = '{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}';

  it('keeps the date out of the trusted text, and fixed', async () => {
    for (const template of [`{{ strftime_now("%d") }}: ${LOOP}`, `{{ date_string }}: ${LOOP}`]) {
      const format = formatOf(template);
      const fixed = await format.blocks(promptOf([user('q')]));
      expect(joined(fixed)).toBe('26 Jul 2024: <|user|>q');
      expect(fixed.notes).toEqual([expect.stringContaining('dateString')]);
      const given = await format.blocks(promptOf([user('q')], { dateString: '<|x|>' }));
      expect([joined(given), given.notes]).toEqual(['<|x|>: <|user|>q', []]);
      expect(trusted(given)).toBe(': <|user|>');
    }
  });

  it('notes what it cannot follow', async () => {
    const shouting =
      '{% for m in messages %}{% if "!" in m.content %}LOUD {% endif %}{{ m.content }}{% endfor %}';
    const { notes } = await formatOf(shouting).blocks(promptOf([user('a!'), user('q')]));
    expect(notes).toEqual([expect.stringContaining('by what they say')]);
    const dropping = await formatOf('{{ messages[-1].content }}').blocks(promptOf([user('a'), user('q')]));
    expect(dropping.notes).toEqual(['the chat template does not print messages[0]']);
  });

  it('puts the tag in front of everything', async () => {
    const prompt = await formatOf(LOOP).blocks(promptOf([user('a'), user('q')], { tag: true }));
    expect(joined(prompt)).toBe('[Block-Attention]<|user|>a<|user|>q');
    expect(trusted(prompt)).toBe('<|user|><|user|>');
  });

  it.each([
    [
      'is refused by the template',
      '{{ raise_exception("roles must alternate") }}',
      'INVALID_ARGUMENT',
      /must alternate/,
    ],
    [
      'prints too much',
      `{% set ns = namespace(s="0123456789abcdef") %}{% for i in range(21) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}`,
      'INVALID_ARGUMENT',
      /more than 16777216 characters/,
    ],
    [
      'eats ever more memory',
      `{% set ns = namespace(s="0123456789abcdef") %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}`,
      'INVALID_ARGUMENT',
      /refuses/,
    ],
    ['is no Jinja', '{% for %}', 'MODEL_FORMAT', /malformed/],
    ['leaves the query out', 'hello', 'UNSUPPORTED', /last user message/],
    ['prints the query twice', '{{ messages[0].content }}{{ messages[0].content }}', 'UNSUPPORTED', /once/],
  ] as const)('fails if it %s', async (_, source, code, message) => {
    await expectError(
      () => formatOf(source).blocks(promptOf([user('q')])),
      code,
      expect.stringMatching(message),
    );
  });

  it('ends a template that loops, and the tokenizer goes on', async () => {
    const tokenizer = await openTokenizer(
      { path: 'models/tiny-rag/tokenizer.json' },
      { vocabSize: 1e6, timeLimit: 20_000 },
    );
    onTestFinished(() => tokenizer.close());
    const loop = '{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}';
    const waiting = formatOf(loop, {}, 1000).blocks(promptOf([user('q')]));
    const encoding = tokenizer.encode(['a']);
    await expectError(() => waiting, 'TIMEOUT', expect.stringContaining('template'));
    expect((await encoding)[0]).toHaveLength(1);
  });

  it('is aborted', async () => {
    const signal = AbortSignal.abort();
    await expectError(() => formatOf(LOOP).blocks(promptOf([user('q')]), signal), 'ABORTED');
  });
});

describe('loadChatTemplate', () => {
  it('takes chat_template.jinja, a string, or the one named default', async () => {
    const source = async (files: Record<string, string | object>) =>
      (await loadChatTemplate(temporaryFolder(files)))?.source;
    expect(await source({})).toBeUndefined();
    expect(await source({ 'tokenizer_config.json': {} })).toBeUndefined();
    expect(await source({ 'tokenizer_config.json': { chat_template: 'a' } })).toBe('a');
    const list = [
      { name: 'rag', template: 'r' },
      { name: 'default', template: 'd' },
    ];
    expect(await source({ 'tokenizer_config.json': { chat_template: list } })).toBe('d');
    const both = { 'tokenizer_config.json': { chat_template: 'a' }, 'chat_template.jinja': 'b' };
    expect(await source(both)).toBe('b');
    const large = temporaryFolder({ 'chat_template.jinja': 'x'.repeat((1 << 20) + 1) });
    await expectError(() => loadChatTemplate(large), 'MODEL_FORMAT');
  });

  it('reads special tokens, spelled out or as objects', async () => {
    const config = { chat_template: 'a', bos_token: '<s>', eos_token: { content: '</s>' }, pad_token: null };
    const folder = temporaryFolder({ 'tokenizer_config.json': config });
    expect((await loadChatTemplate(folder))?.specialTokens).toEqual({ bos_token: '<s>', eos_token: '</s>' });
  });
});
