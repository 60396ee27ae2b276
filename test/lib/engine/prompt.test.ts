/** The ways to give a prompt, on the model that ships with the package. */
import { Engine } from 'block-attention';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkPrompt, checkPromptBlocks } from '#lib/engine/prompt.js';
import { expectError } from '../errors.js';

const DOCUMENTS = [
  { title: 'Liros', text: 'Liros lies on the river Shornos.' },
  { title: 'Luta Flinnos', text: 'Luta Flinnos went to college in Liros.' },
];
const QUESTION = 'Which river does Liros lie on?';

describe('an engine', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.load('models/tiny-rag', { cacheBytes: 1 << 24, threads: 1 });
  });
  afterAll(() => engine.close());

  const statuses = (result: { usage: { blocks: { status: string }[] } }) =>
    result.usage.blocks.map(({ status }) => status);

  it('answers in the format of the model, with the blocks of documents of any other format', async () => {
    const reference = await engine
      .generate({ documents: DOCUMENTS, query: QUESTION, namespace: 'a' })
      .result();
    const chat = await engine
      .generate({ documents: [...DOCUMENTS].reverse(), query: QUESTION, format: 'chat', namespace: 'a' })
      .result();
    expect(statuses(chat)).toEqual(['hit', 'hit', 'hit']);
    expect(chat.text).toBe(reference.text);
    expect('notes' in chat).toBe(false);
    const turns = await engine
      .generate({
        messages: [
          { role: 'user', content: 'Hello' },
          { role: 'assistant', content: 'Hello.' },
          { role: 'user', content: QUESTION },
        ],
        documents: DOCUMENTS,
        namespace: 'a',
      })
      .result();
    expect(statuses(turns)).toEqual(['miss', 'miss', 'hit', 'hit', 'hit']);
  });

  it('encodes what a conversation will use', async () => {
    const messages = [
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: 'Hello.' },
    ] as const;
    const options = { namespace: 'b' };
    expect(await engine.encode({ messages, documents: DOCUMENTS }, options)).toHaveLength(5);
    const asked = engine.generate({ messages, documents: DOCUMENTS, query: QUESTION, ...options });
    expect(new Set(statuses(await asked.result()))).toEqual(new Set(['hit']));
    // The last message of the user is the query.
    const withQuery = [...messages, { role: 'user', content: QUESTION }] as const;
    expect(await engine.encode({ messages: withQuery, documents: DOCUMENTS }, options)).toHaveLength(5);
  });

  it('cuts a plain prompt', async () => {
    const prompt = 'One.\n\nTwo.\n\nThree?';
    const { usage } = await engine.generate({ prompt, maxTokens: 1 }).result();
    expect(usage.blocks).toHaveLength(2);
    const again = await engine.generate({ blocks: ['Two.\n\n'], query: 'x', maxTokens: 1 }).result();
    expect(statuses(again)).toEqual(['hit']);
    expect(await engine.encode({ prompt })).toHaveLength(2);
  });

  it('says what is wrong', async () => {
    const message = { role: 'user', content: 'q' } as const;
    const refused = engine.generate({ messages: [message], format: 'chat', query: '' });
    await expectError(() => refused.result(), 'EMPTY_QUERY');
    const random = await Engine.random('smollm2-135m', { threads: 1, cacheBytes: 1 << 24 });
    await expectError(
      () => random.generate({ messages: [message] }).result(),
      'UNSUPPORTED',
      expect.stringContaining('chat template'),
    );
    await random.close();
  });
});

describe('checkPrompt', () => {
  const user = { role: 'user', content: 'q' };
  it.each([
    ['messages and blocks', { messages: [user], blocks: [] }, /only messages and documents go together/],
    ['prompt and documents', { prompt: 'p', documents: [] }, /either prompt or documents/],
    ['a prompt with a query', { prompt: 'p', query: 'q' }, /query has no place/],
    ['a format of another source', { messages: [user], format: 'plain' }, /format "plain" needs prompt/],
    ['chat over blocks', { blocks: [], query: 'q', format: 'chat' }, /needs documents or messages/],
    ['a tag without a format', { query: 'q', tag: true }, /tag needs documents/],
    [
      'a date elsewhere',
      { documents: [], query: 'q', dateString: 'today' },
      /dateString needs format "chat"/,
    ],
    ['a long date', { messages: [user], dateString: 'x'.repeat(101) }, /at most 100/],
    [
      'an unknown role',
      { messages: [{ role: 'user|>', content: '' }] },
      /^messages\[0\].role must be "system"/,
    ],
    ['no content', { messages: [{ role: 'user' }] }, /^messages\[0\].content/],
    ['a query of token ids', { messages: [], query: [1] }, /^query \(with format "chat"\)/],
  ])('refuses %s', async (_, fields, message) => {
    await expectError(() => checkPrompt(fields), 'INVALID_ARGUMENT', expect.stringMatching(message));
  });

  it('needs a query', async () => {
    const assistant = { role: 'assistant', content: 'a' };
    await expectError(() => checkPrompt({ messages: [user, assistant] }), 'EMPTY_QUERY');
    await expectError(() => checkPrompt({ messages: [] }), 'EMPTY_QUERY');
    await expectError(() => checkPrompt({ prompt: '' }), 'EMPTY_QUERY');
  });

  it('puts the tag in front of a plain prompt', () => {
    expect(checkPrompt({ prompt: 'a\n\nb', tag: true })).toEqual({
      blocks: ['[Block-Attention]a\n\n'],
      query: 'b',
    });
  });

  it('takes the query from the end of the messages, or from beside them', () => {
    const chat = (fields: object) => {
      const checked = checkPrompt(fields as Record<string, unknown>);
      return 'chat' in checked ? [checked.chat.earlier.length, checked.chat.query] : undefined;
    };
    expect(chat({ messages: [user, user] })).toEqual([1, 'q']);
    expect(chat({ messages: [user], query: 'r' })).toEqual([1, 'r']);
    expect(chat({ documents: [], format: 'chat', query: 'r' })).toEqual([0, 'r']);
    expect(checkPromptBlocks({ messages: [user] })).toMatchObject({ chat: { query: 'q' } });
    expect(checkPromptBlocks({ messages: [] })).toMatchObject({ chat: { query: '-' } });
  });
});
