import { describe, expect, it } from 'vitest';
import { checkLoadOptions, checkRandomOptions } from '#lib/engine/load-options.js';
import { checkRequest, REQUEST_FIELDS, type RequestLimits } from '#lib/engine/request.js';
import { answering, EOS, setUp } from './setup.js';

const limits: RequestLimits = {
  vocabSize: 512,
  hasTokenizer: true,
  defaults: {
    eosTokenIds: [EOS, 7],
    sampling: { temperature: 0.6, topK: 20, topP: 0.95, minP: 0.1, repetitionPenalty: 1.05 },
    given: [],
  },
};

function promptOf(request: object) {
  const { prompt } = checkRequest(request, limits);
  if ('chat' in prompt) throw new Error('a conversation');
  return prompt;
}

describe('a request', () => {
  it("is completed with the model's defaults", () => {
    expect(checkRequest({ query: 'q', seed: 3 }, limits)).toEqual({
      prompt: { blocks: [], query: 'q' },
      options: { attention: 'block', sharedPrefix: false, namespace: '', signal: undefined },
      maxTokens: 256,
      sampling: {
        temperature: 0.6,
        topK: 20,
        topP: 0.95,
        minP: 0.1,
        repetitionPenalty: 1.05,
        presencePenalty: 0,
        frequencyPenalty: 0,
        seed: 3,
        topLogprobs: -1,
        logitBias: [],
      },
      stop: [],
      stopTokens: [EOS, 7],
    });
  });

  it('is taken as it says', () => {
    const signal = new AbortController().signal;
    const checked = checkRequest(
      {
        blocks: [
          'a',
          [1, 2],
          Int32Array.of(3),
          { parts: [{ text: 'b' }, { text: '<|user|>', special: true }] },
        ],
        query: [4],
        attention: 'full',
        sharedPrefix: true,
        namespace: 'n',
        signal,
        maxTokens: 5,
        temperature: 0,
        topK: 1,
        topP: 1,
        minP: 0,
        seed: 2 ** 53 - 1,
        repetitionPenalty: 1,
        presencePenalty: 0.5,
        frequencyPenalty: -0.5,
        logitBias: { 3: -1.5, 500: 2 },
        logprobs: 4,
        stop: ['x', 'y'],
        stopTokens: [9, 9],
        ignoreEos: true,
      },
      limits,
    );
    expect(checked).toMatchObject({
      prompt: {
        blocks: [
          'a',
          [1, 2],
          Int32Array.of(3),
          {
            parts: [
              { text: 'b', special: false },
              { text: '<|user|>', special: true },
            ],
          },
        ],
        query: [4],
      },
      options: { attention: 'full', sharedPrefix: true, namespace: 'n', signal },
      maxTokens: 5,
      sampling: {
        temperature: 0,
        topK: 1,
        topP: 1,
        minP: 0,
        seed: 2 ** 53 - 1,
        repetitionPenalty: 1,
        presencePenalty: 0.5,
        frequencyPenalty: -0.5,
        topLogprobs: 4,
      },
      stop: ['x', 'y'],
      stopTokens: [9],
    });
    expect(checked.sampling.logitBias).toEqual([
      [3, -1.5],
      [500, 2],
    ]);
  });

  it('takes a stop string alone, and logprobs as a switch', () => {
    expect(checkRequest({ query: 'q', stop: 'x' }, limits).stop).toEqual(['x']);
    expect(checkRequest({ query: 'q', logprobs: true }, limits).sampling.topLogprobs).toBe(1);
    expect(checkRequest({ query: 'q', logprobs: false }, limits).sampling.topLogprobs).toBe(-1);
    expect(checkRequest({ query: 'q', stopTokens: [9] }, limits).stopTokens).toEqual([EOS, 7, 9]);
  });

  it('builds the reference layout from documents', () => {
    const prompt = promptOf({ documents: [{ title: 'T', text: 'x' }, { text: 'y' }], query: 'why?' });
    expect(prompt.blocks.slice(1)).toEqual(['- Title: T\nx\n', '- y\n']);
    expect(JSON.stringify(prompt.blocks[0])).toContain('You are an intelligent AI assistant');
    expect(JSON.stringify(prompt.query)).toContain('Question: why?');
    const tagged = promptOf({ documents: [], format: 'reference', tag: true, query: 'q' });
    expect(JSON.stringify(tagged.blocks)).toContain('[Block-Attention]');
  });

  const wrong: [string, unknown, string, RegExp][] = [
    ['no object', 'q', 'INVALID_ARGUMENT', /^request must be an object, not "q"/],
    ['null', null, 'INVALID_ARGUMENT', /^request must be an object, not null/],
    ['an unknown field', { query: 'q', maxToken: 1 }, 'INVALID_ARGUMENT', /no field "maxToken"/],
    ['no query', { blocks: ['a'] }, 'EMPTY_QUERY', /query is missing/],
    ['an empty query', { query: '' }, 'EMPTY_QUERY', /query is empty/],
    ['a query without tokens', { query: [] }, 'EMPTY_QUERY', /query is empty/],
    ['an empty question', { documents: [], query: '' }, 'EMPTY_QUERY', /query is empty/],
    ['a query of another type', { query: 5 }, 'INVALID_ARGUMENT', /^query must be a string, an array/],
    ['blocks of another type', { blocks: 'a', query: 'q' }, 'INVALID_ARGUMENT', /^blocks must be an array/],
    [
      'a block of another type',
      { blocks: ['a', null], query: 'q' },
      'INVALID_ARGUMENT',
      /^blocks\[1\] must be/,
    ],
    [
      'a part without text',
      { blocks: [{ parts: [{}] }], query: 'q' },
      'INVALID_ARGUMENT',
      /^blocks\[0\].parts\[0\].text/,
    ],
    ['a block without parts', { blocks: [{}], query: 'q' }, 'INVALID_ARGUMENT', /^blocks\[0\] must be/],
    [
      'a misspelt part',
      { query: { parts: [{ text: 'a', specal: true }] } },
      'INVALID_ARGUMENT',
      /no field "specal"/,
    ],
    [
      'blocks and documents',
      { blocks: [], documents: [], query: 'q' },
      'INVALID_ARGUMENT',
      /either blocks or documents/,
    ],
    [
      'a format without documents',
      { blocks: [], format: 'reference', query: 'q' },
      'INVALID_ARGUMENT',
      /format "reference" needs documents/,
    ],
    ['a prompt of another type', { prompt: 1 }, 'INVALID_ARGUMENT', /^prompt must be a string/],
    ['messages that are none', { messages: [1] }, 'INVALID_ARGUMENT', /^messages\[0\] must be an object/],
    [
      'a date that is none',
      { messages: [], query: 'q', dateString: 1 },
      'INVALID_ARGUMENT',
      /^dateString must be a string/,
    ],
    [
      'another format',
      { documents: [], format: 'list', query: 'q' },
      'INVALID_ARGUMENT',
      /^format must be "reference" or/,
    ],
    [
      'a document without text',
      { documents: [{ title: 'a' }], query: 'q' },
      'INVALID_ARGUMENT',
      /^documents\[0\].text/,
    ],
    [
      'a question of token ids',
      { documents: [], query: [1] },
      'INVALID_ARGUMENT',
      /^query \(with documents\)/,
    ],
    [
      'another attention',
      { query: 'q', attention: 'both' },
      'INVALID_ARGUMENT',
      /"block" or "full", not "both"/,
    ],
    ['maxTokens 0', { query: 'q', maxTokens: 0 }, 'INVALID_ARGUMENT', /^maxTokens must be an integer from 1/],
    ['maxTokens 1.5', { query: 'q', maxTokens: 1.5 }, 'INVALID_ARGUMENT', /^maxTokens/],
    ['maxTokens "5"', { query: 'q', maxTokens: '5' }, 'INVALID_ARGUMENT', /^maxTokens .* not "5"/],
    [
      'temperature NaN',
      { query: 'q', temperature: Number.NaN },
      'INVALID_ARGUMENT',
      /^temperature .* not NaN/,
    ],
    ['temperature -1', { query: 'q', temperature: -1 }, 'INVALID_ARGUMENT', /^temperature/],
    [
      'temperature Infinity',
      { query: 'q', temperature: Number.POSITIVE_INFINITY },
      'INVALID_ARGUMENT',
      /^temperature/,
    ],
    ['topK -1', { query: 'q', topK: -1 }, 'INVALID_ARGUMENT', /^topK/],
    ['topP 1.1', { query: 'q', topP: 1.1 }, 'INVALID_ARGUMENT', /^topP/],
    ['minP NaN', { query: 'q', minP: Number.NaN }, 'INVALID_ARGUMENT', /^minP/],
    ['repetitionPenalty 0', { query: 'q', repetitionPenalty: 0 }, 'INVALID_ARGUMENT', /^repetitionPenalty/],
    ['presencePenalty null', { query: 'q', presencePenalty: null }, 'INVALID_ARGUMENT', /^presencePenalty/],
    [
      'frequencyPenalty NaN',
      { query: 'q', frequencyPenalty: Number.NaN },
      'INVALID_ARGUMENT',
      /^frequencyPenalty/,
    ],
    ['seed -1', { query: 'q', seed: -1 }, 'INVALID_ARGUMENT', /^seed/],
    ['seed 2^53', { query: 'q', seed: 2 ** 53 }, 'INVALID_ARGUMENT', /^seed/],
    ['logprobs -1', { query: 'q', logprobs: -1 }, 'INVALID_ARGUMENT', /^logprobs/],
    ['logprobs beyond the vocabulary', { query: 'q', logprobs: 513 }, 'INVALID_ARGUMENT', /^logprobs/],
    [
      'a bias that is no number',
      { query: 'q', logitBias: { 3: 'x' } },
      'INVALID_ARGUMENT',
      /^logitBias\[3\]/,
    ],
    ['a bias of no token', { query: 'q', logitBias: { x: 1 } }, 'INVALID_ARGUMENT', /^logitBias/],
    [
      'a bias beyond the vocabulary',
      { query: 'q', logitBias: { 512: 1 } },
      'TOKEN_OUT_OF_RANGE',
      /logitBias is token 512/,
    ],
    ['an empty stop string', { query: 'q', stop: ['a', ''] }, 'INVALID_ARGUMENT', /^stop\[1\]/],
    ['a stop of another type', { query: 'q', stop: 5 }, 'INVALID_ARGUMENT', /^stop/],
    [
      'a stop token beyond the vocabulary',
      { query: 'q', stopTokens: [512] },
      'TOKEN_OUT_OF_RANGE',
      /^stopTokens\[0\] is token 512/,
    ],
    ['a fractional stop token', { query: 'q', stopTokens: [1.5] }, 'INVALID_ARGUMENT', /^stopTokens\[0\]/],
    [
      'ignoreEos 1',
      { query: 'q', ignoreEos: 1 },
      'INVALID_ARGUMENT',
      /^ignoreEos must be true or false, not 1/,
    ],
    ['namespace 1', { query: 'q', namespace: 1 }, 'INVALID_ARGUMENT', /^namespace/],
    ['sharedPrefix "yes"', { query: 'q', sharedPrefix: 'yes' }, 'INVALID_ARGUMENT', /^sharedPrefix/],
    [
      'a signal of another type',
      { query: 'q', signal: {} },
      'INVALID_ARGUMENT',
      /^signal must be an AbortSignal/,
    ],
  ];

  it.each(wrong)('is refused with %s', (_name, request, code, message) => {
    expect(() => checkRequest(request, limits)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });

  it('has every field tested above', () => {
    const tested = new Set(
      wrong.flatMap(([, request]) => (typeof request === 'object' && request ? Object.keys(request) : [])),
    );
    expect(REQUEST_FIELDS.filter((field) => !tested.has(field) && field !== 'tag')).toEqual([]);
  });
});

describe('a request that fails', () => {
  const text = answering('x').engine;
  const ids = setUp().engine;
  const cases: [string, Parameters<typeof text.generate>[0], string, string][] = [
    ['text without a tokenizer', { query: 'text' }, 'TOKENIZER_MISSING', 'query is text'],
    [
      'a block of text without a tokenizer',
      { blocks: [[1], 'x'], query: [1] },
      'TOKENIZER_MISSING',
      'blocks[1] is text',
    ],
    [
      'stop strings without a tokenizer',
      { query: [1], stop: 'x' },
      'TOKENIZER_MISSING',
      'stop needs a tokenizer',
    ],
    [
      'a token beyond the vocabulary',
      { blocks: [[1, 512]], query: [1] },
      'TOKEN_OUT_OF_RANGE',
      'blocks[0][1] is token 512',
    ],
    ['a negative token', { query: Int32Array.of(-1) }, 'TOKEN_OUT_OF_RANGE', 'query[0] is token -1'],
    ['a token that is no integer', { query: [1.5] }, 'INVALID_ARGUMENT', 'query[0]'],
    [
      'a prompt that fills the context',
      { blocks: [new Array(199).fill(1)], query: [1] },
      'PROMPT_TOO_LONG',
      '200 tokens',
    ],
  ];

  it.each(cases)('says so in the result and to the reader: %s', async (_name, request, code, message) => {
    const generation = ids.generate(request);
    await expect(generation.result()).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
    await expect(generation[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code });
  });

  it('has no effect on others', async () => {
    await expect(text.generate({ query: { parts: [] } }).result()).rejects.toMatchObject({
      code: 'EMPTY_QUERY',
    });
    expect((await text.generate({ query: 'q' }).result()).text).toBe('x');
  });

  it('may be as long as the context less one', async () => {
    const generation = ids.generate({ blocks: [new Array(198).fill(1)], query: [1] });
    expect(await generation.result()).toMatchObject({
      finishReason: 'length',
      usage: { completionTokens: 1 },
    });
  });
});

describe('load options', () => {
  it('have defaults', () => {
    const { native, signal } = checkLoadOptions(undefined);
    expect(native).toMatchObject({
      device: 'auto',
      deterministic: false,
      maxBatchTokens: 512,
      profile: false,
    });
    expect(native.kvDtype).toBeUndefined();
    expect(native.cacheBytes).toBeUndefined();
    expect(native.threads).toBeGreaterThan(0);
    expect(native.memoryBytes).toBeGreaterThan(1 << 20);
    expect(Number.isSafeInteger(native.memoryBytes)).toBe(true);
    expect(signal).toBeUndefined();
    expect(checkRandomOptions({})).toMatchObject({ seed: 0, dtype: 'bf16' });
  });

  it('are taken as they say', () => {
    expect(
      checkRandomOptions({
        device: 'cpu',
        threads: 3,
        deterministic: true,
        kvDtype: 'f32',
        cacheBytes: 1000,
        maxBatchTokens: 7,
        profile: true,
        seed: 5,
        dtype: 'f32',
      }),
    ).toMatchObject({
      native: {
        device: 'cpu',
        threads: 3,
        deterministic: true,
        kvDtype: 'f32',
        cacheBytes: 1000,
        maxBatchTokens: 7,
        profile: true,
      },
      seed: 5,
      dtype: 'f32',
    });
  });

  it.each([
    [{ device: 'tpu' }, 'INVALID_ARGUMENT', /^device/],
    [{ deterministic: 1 }, 'INVALID_ARGUMENT', /^deterministic/],
    [{ device: 1 }, 'INVALID_ARGUMENT', /^device/],
    [{ threads: 0 }, 'INVALID_ARGUMENT', /^threads/],
    [{ kvDtype: 'f16' }, 'INVALID_ARGUMENT', /^kvDtype/],
    [{ cacheBytes: '4G' }, 'INVALID_ARGUMENT', /^cacheBytes/],
    [{ cacheBytes: Number.NaN }, 'INVALID_ARGUMENT', /^cacheBytes/],
    [{ maxBatchTokens: -1 }, 'INVALID_ARGUMENT', /^maxBatchTokens/],
    [{ profile: 'yes' }, 'INVALID_ARGUMENT', /^profile/],
    [{ onProgress: true }, 'INVALID_ARGUMENT', /^onProgress/],
    [{ signal: 1 }, 'INVALID_ARGUMENT', /^signal/],
    [{ seed: 1 }, 'INVALID_ARGUMENT', /no field "seed"/],
  ])('are refused: %j', (options, code, message) => {
    const check = () => checkLoadOptions(options as Parameters<typeof checkLoadOptions>[0]);
    expect(check).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });
});
