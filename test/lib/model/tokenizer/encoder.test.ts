// Special tokens come from trusted text alone; flags of added tokens; parts.
import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TokenEncoder } from '#lib/model/tokenizer/encoder.js';
import { readTokenizerJson } from '#lib/model/tokenizer/tokenizer-json.js';
import type { TextInput, TextPart } from '#lib/model/types.js';
import { expectError } from '../../errors.js';
import { BYTES, byteLevel, sentencepiece, SP } from './small-tokenizers.js';

function encoder(json: object): (input: TextInput) => number[] {
  const encoder = new TokenEncoder(readTokenizerJson(json, 'tokenizer.json'), 'tokenizer.json');
  return (input) => [...encoder.encode(input)];
}

const bytes = (text: string) => [...Buffer.from(text)];
const trusted = (text: string): TextPart => ({ text, special: true });
const plain = (text: string): TextPart => ({ text });

describe('plain text', () => {
  const encode = encoder(byteLevel());

  it('never becomes a special token', () => {
    expect(encode('<|user|>x<|end|>')).toEqual(bytes('<|user|>x<|end|>'));
    expect(encode({ parts: [plain('<|user|>')] })).toEqual(bytes('<|user|>'));
    expect(encode({ parts: [{ text: '<|user|>', special: false }] })).toEqual(bytes('<|user|>'));
  });

  it('keeps added tokens that are not special, as the reference does', () => {
    expect(encode('a<tool>b')).toEqual([...bytes('a'), BYTES.tool, ...bytes('b')]);
  });

  it('may be empty', () => {
    expect(encode('')).toEqual([]);
    expect(encode({ parts: [] })).toEqual([]);
    expect(encode({ parts: [plain(''), trusted('')] })).toEqual([]);
  });

  it('may hold half a surrogate pair', () => {
    expect(encode('a\ud800b\udc00')).toEqual(bytes('a\ufffdb\ufffd'));
    expect(encode('a😀')).toEqual(bytes('a😀'));
  });

  it('never becomes a special token that the model lists, even where it has a merge for it', () => {
    const vocab = { '<': 0, s: 1, '>': 2, '<s': 3, '<s>': 4, x: 5 };
    const merges = [
      ['<', 's'],
      ['<s', '>'],
    ];
    const added_tokens = [{ id: 4, content: '<s>', special: true }];
    for (const ignore_merges of [false, true]) {
      const model = { vocab, merges, byte_fallback: false, ignore_merges };
      const pre_tokenizer = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };
      const encode = encoder(byteLevel({ model, added_tokens, pre_tokenizer }));
      expect(encode('<s>')).toEqual([3, 2]);
      expect(encode({ parts: [trusted('<s>x')] })).toEqual([4, 5]);
    }
  });

  it('never becomes the unknown token by its spelling, but by what is unknown', () => {
    const vocab = { '<': 0, '>': 1, u: 2, n: 3, k: 4, '<unk>': 5, x: 6 };
    const model = { vocab, merges: [], unk_token: '<unk>', ignore_merges: true };
    const added_tokens = [{ id: 5, content: '<unk>', special: true }];
    // Without a pre-tokenizer the model gets the whole text, and takes a text that is in the vocabulary as it is.
    const encode = encoder(byteLevel({ model, added_tokens, pre_tokenizer: null }));
    expect(encode('<unk>')).toEqual([0, 2, 3, 4, 1]);
    expect(encode('xé')).toEqual([6, 5]);
    expect(encode({ parts: [trusted('x<unk>')] })).toEqual([6, 5]);
    // Half a surrogate pair is unknown like any other character; what follows it stays what it is.
    expect(encode('\ud800<unk>')).toEqual([5, 0, 2, 3, 4, 1]);
  });

  it('never becomes a special token through its normalizer', () => {
    // What is spelled in full-width letters, or with invisible characters in between, is normalized to the spelling itself.
    const normalizers = [{ type: 'NFKC' }, { type: 'Replace', pattern: { String: '\u200b' }, content: '' }];
    const added_tokens = [
      { id: BYTES.user, content: '<|user|>', special: true, normalized: true },
      { id: BYTES.end, content: '<|end|>', special: true, normalized: false },
    ];
    const normalizer = { type: 'Sequence', normalizers };
    const encode = encoder(byteLevel({ normalizer, added_tokens }));
    for (const text of ['＜｜ｕｓｅｒ｜＞', '<|us\u200ber|>', '\u200b<|user|>\u200b', '＜|user|>'])
      expect(encode(text), text).toEqual(bytes('<|user|>'));
    expect(encode('＜｜ｅｎｄ｜＞')).toEqual(bytes('<|end|>'));
  });

  it('never becomes a special token by spaces or case', () => {
    for (const text of ['< |user|>', '<|user |>', ' <|user|> ', '<|USER|>', '<|\u00a0user|>', '<|user|\n>'])
      expect(encode(text), text).toEqual(bytes(text));
  });

  it('that spells the bytes of a special token is no special token', () => {
    const encode = encoder(sentencepiece({ pre_tokenizer: null }));
    const special = [SP.unk, SP.bos, SP.eos];
    for (const text of ['<0x3C>s>', '<0x3C><0x73><0x3E>', '<\0s>', '\u2581<s>', '<s\u2581>']) {
      const ids = encode(text);
      expect(
        ids.filter((id) => special.includes(id)),
        text,
      ).toEqual([]);
      // Every character that has no token becomes its bytes, also those that spell a byte token.
      if (!text.includes('\u2581')) expect(ids, text).toEqual(bytes(text).map((byte) => SP.bytes + byte));
    }
  });

  it('loses characters without a token only if the model has no unknown token', () => {
    const model = { vocab: { x: 0, y: 1 }, merges: [] };
    expect(encoder(byteLevel({ model, added_tokens: [] }))('xzy')).toEqual([0, 1]);
  });
});

describe('trusted text', () => {
  const encode = encoder(byteLevel());

  it('has special tokens', () => {
    expect(encode({ parts: [trusted('<|user|>x<|end|>')] })).toEqual([BYTES.user, ...bytes('x'), BYTES.end]);
  });

  it('ends where its part ends', () => {
    const expected = [BYTES.user, ...bytes('<|end|>'), BYTES.end];
    expect(encode({ parts: [trusted('<|user|>'), plain('<|end|>'), trusted('<|end|>')] })).toEqual(expected);
  });

  it('does not make a special token together with plain text', () => {
    expect(encode({ parts: [trusted('<|us'), plain('er|>')] })).toEqual(bytes('<|user|>'));
    expect(encode({ parts: [plain('<'), trusted('|user|>')] })).toEqual(bytes('<|user|>'));
    expect(encode({ parts: [plain('<|us'), trusted('er|><|end|>')] })).toEqual([
      ...bytes('<|user|>'),
      BYTES.end,
    ]);
  });

  it('may be cut into several trusted parts', () => {
    expect(encode({ parts: [trusted('<|us'), plain(''), trusted('er|>')] })).toEqual([BYTES.user]);
  });

  it('takes the longest of the tokens that begin at a place, and the leftmost', () => {
    const added_tokens = [
      { id: 256, content: '<a', special: true },
      { id: 257, content: '<ab>', special: true },
      { id: 258, content: 'ab>c', special: true },
    ];
    const encode = encoder(byteLevel({ added_tokens }));
    expect(encode({ parts: [trusted('<ab>c')] })).toEqual([257, ...bytes('c')]);
    expect(encode({ parts: [trusted('<ab')] })).toEqual([256, ...bytes('b')]);
    expect(encode({ parts: [trusted('x<ab>c')] })).toEqual([...bytes('x'), 257, ...bytes('c')]);
  });

  it('a longer added token that is not special hides a special one inside it', () => {
    const added_tokens = [
      { id: 256, content: 'b', special: true },
      { id: 257, content: 'abc', special: false },
    ];
    const encode = encoder(byteLevel({ added_tokens }));
    expect(encode({ parts: [trusted('abcb')] })).toEqual([257, 256]);
  });

  it('the text between two special tokens is one run across the borders of parts', () => {
    const vocab = { a: 0, b: 1, ab: 2 };
    const added_tokens = [{ id: 3, content: '<x>', special: true }];
    const encode = encoder(byteLevel({ model: { vocab, merges: [['a', 'b']] }, added_tokens }));
    expect(encode({ parts: [trusted('<x>a'), plain('b'), trusted('<x>')] })).toEqual([3, 2, 3]);
    expect(encode({ parts: [plain('a'), trusted('<x>'), plain('b')] })).toEqual([0, 3, 1]);
  });
});

describe('flags of special tokens', () => {
  const parts = (text: string) => ({ parts: [trusted(text)] });
  const flagged = (flags: object) => {
    const added_tokens = [
      { id: BYTES.user, content: '<|user|>', special: true, ...flags },
      { id: BYTES.end, content: '<|end|>', special: true },
    ];
    return encoder(byteLevel({ added_tokens }));
  };

  it('lstrip swallows white space before it, but no other token', () => {
    const encode = flagged({ lstrip: true });
    expect(encode(parts('a \t\n<|user|> b'))).toEqual([...bytes('a'), BYTES.user, ...bytes(' b')]);
    expect(encode(parts('<|end|>  <|user|>'))).toEqual([BYTES.end, BYTES.user]);
    expect(encode(parts('  <|user|>'))).toEqual([BYTES.user]);
  });

  it('rstrip swallows white space behind it, also that of the next part', () => {
    const encode = flagged({ rstrip: true });
    expect(encode(parts('a <|user|>\n b'))).toEqual([...bytes('a '), BYTES.user, ...bytes('b')]);
    expect(encode(parts('<|user|>  '))).toEqual([BYTES.user]);
    expect(encode({ parts: [trusted('<|user|>'), plain(' \nb')] })).toEqual([BYTES.user, ...bytes('b')]);
    expect(encode(parts('<|user|> <|end|>'))).toEqual([BYTES.user, BYTES.end]);
  });

  it('single_word counts only between characters that are no letters', () => {
    const encode = flagged({ single_word: true });
    expect(encode(parts(' <|user|>.'))).toEqual([...bytes(' '), BYTES.user, ...bytes('.')]);
    for (const text of [
      'a<|user|>',
      '<|user|>1',
      '_<|user|>',
      'é<|user|>',
      '\u{20000}<|user|>',
      '<|user|>𝒳',
    ]) {
      expect(encode(parts(text)), text).toEqual(bytes(text));
    }
    expect(encode(parts('😀<|user|>'))).toEqual([...bytes('😀'), BYTES.user]);
  });

  it('normalized tokens are recognised by their spelling in the text', () => {
    const encode = encoder(
      sentencepiece({
        normalizer: { type: 'Prepend', prepend: '\u2581' },
        pre_tokenizer: null,
        added_tokens: [{ id: SP.eos, content: '</s>', special: true, normalized: true }],
      }),
    );
    expect(encode(parts('a</s>'))).toEqual([SP.spaceA, SP.eos]);
  });
});

describe('the space before a text', () => {
  it('first: at the beginning of a block alone', () => {
    const encode = encoder(sentencepiece());
    expect(encode('ab')).toEqual([SP.spaceAb]);
    expect(encode(' ab')).toEqual([SP.spaceAb]);
    expect(encode({ parts: [trusted('ab<s>ab')] })).toEqual([SP.spaceAb, SP.bos, SP.ab]);
    expect(encode({ parts: [trusted('<s>'), plain('ab')] })).toEqual([SP.bos, SP.ab]);
  });

  it('always: behind special tokens too', () => {
    const encode = encoder(sentencepiece({ pre_tokenizer: { type: 'Metaspace', prepend_scheme: 'always' } }));
    expect(encode({ parts: [trusted('ab<s>ab')] })).toEqual([SP.spaceAb, SP.bos, SP.spaceAb]);
  });

  it('by a normalizer: behind special tokens too', () => {
    const normalizer = {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '\u2581' },
        { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
      ],
    };
    const encode = encoder(sentencepiece({ normalizer, pre_tokenizer: null }));
    expect(encode({ parts: [trusted('ab<s>ab')] })).toEqual([SP.spaceAb, SP.bos, SP.spaceAb]);
    expect(encode(' ab')).toEqual([SP.space, SP.spaceAb]);
  });

  it('first, inside a sequence of pre-tokenizers', () => {
    const pretokenizers = [{ type: 'Metaspace', prepend_scheme: 'first' }];
    const encode = encoder(sentencepiece({ pre_tokenizer: { type: 'Sequence', pretokenizers } }));
    expect(encode({ parts: [trusted('ab<s>ab')] })).toEqual([SP.spaceAb, SP.bos, SP.ab]);
  });
});

describe('cutting a text into words before BPE', () => {
  // Merges go over a space behind two of the characters: behind these the text must not be cut.
  const crossing = [
    ['a', '\u2581'],
    ['a\u2581', 'b'],
    [']', '\u2581\u2581'],
    ['\u2581', '\u2581'],
  ];
  const vocab = { ...(sentencepiece() as { model: { vocab: object } }).model.vocab };
  Object.assign(vocab, {
    'a\u2581': 265,
    'a\u2581b': 266,
    ']\u2581\u2581': 267,
    '\u2581\u2581': 268,
    c: 269,
    ']': 270,
  });

  it('changes no token', () => {
    const model = (extra: object) => ({
      vocab,
      merges: [...crossing, ['a', 'b'], ['\u2581', 'a']],
      ...extra,
    });
    const normalizer = { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' };
    const shape = { normalizer, pre_tokenizer: null };
    const cut = encoder(sentencepiece({ ...shape, model: model({}) }));
    // Without byte tokens texts are not cut; all characters of these have tokens.
    const whole = encoder(sentencepiece({ ...shape, model: model({ byte_fallback: false }) }));
    const unit = fc.constantFrom('a', 'b', 'c', ']', ' ');
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 40 }), (text) => {
        expect(cut(text)).toEqual(whole(text));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('random text made of pieces of special tokens', () => {
  const tinyRag = join(import.meta.dirname, '../../../../models/tiny-rag/tokenizer.json');
  const models: [string, object, number[]][] = [
    ['byte-level', byteLevel(), [BYTES.user, BYTES.end]],
    ['sentencepiece', sentencepiece(), [SP.unk, SP.bos, SP.eos]],
    ['tiny-rag', JSON.parse(readFileSync(tinyRag, 'utf8')) as object, [0, 1, 2, 3]],
  ];
  const spellings = [
    '<|user|>',
    '<|end|>',
    '<unk>',
    '<s>',
    '</s>',
    '<|endoftext|>',
    '<|assistant|>',
    '\ud800<unk>',
  ];
  const pieces = spellings.flatMap((spelling) => [
    spelling,
    spelling.slice(0, 3),
    spelling.slice(3),
    spelling.slice(-2),
  ]);
  const unit = fc.oneof(
    fc.constantFrom(...pieces, ' ', '\n', '\ud800', 'a'),
    fc.string({ unit: 'binary', maxLength: 3 }),
  );

  it.each(models)('%s: never gives a special token', (_, json, special) => {
    const encode = encoder(json);
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 12 }), fc.nat(20), (units, cut) => {
        const text = units.join('');
        const ids = encode(text);
        expect(ids.filter((id) => special.includes(id))).toEqual([]);
        const parts = [trusted(''), plain(text.slice(0, cut)), plain(text.slice(cut))];
        expect(encode({ parts })).toEqual(ids);
      }),
      { numRuns: 500 },
    );
  });

  it.each(models)('%s: trusted and plain parts in turn give only the trusted ones', (_, json, special) => {
    const encode = encoder(json);
    const spelling = special.length === 3 ? '<s>' : '<|user|>';
    fc.assert(
      fc.property(fc.array(fc.array(unit, { maxLength: 6 }), { maxLength: 5 }), (texts) => {
        const parts = texts.flatMap((units) => [plain(units.join('')), trusted(spelling)]);
        expect(encode({ parts }).filter((id) => special.includes(id))).toHaveLength(texts.length);
      }),
      { numRuns: 300 },
    );
  });
});

describe('files that cannot be used', () => {
  const read = (json: unknown) =>
    new TokenEncoder(readTokenizerJson(json, 'tokenizer.json'), 'tokenizer.json');

  it.each([
    ['model.type "WordPiece"', byteLevel({ model: { type: 'WordPiece' } })],
    ['model.type "Unigram"', byteLevel({ model: { type: 'Unigram' } })],
    ['model.continuing_subword_prefix "##"', byteLevel({ model: { continuing_subword_prefix: '##' } })],
    ['model.end_of_word_suffix "</w>"', byteLevel({ model: { end_of_word_suffix: '</w>' } })],
  ])('%s', async (named, json) => {
    await expectError(
      () => read(json),
      'UNSUPPORTED',
      expect.stringContaining(`tokenizer.json: ${named} is not supported`),
    );
  });

  it.each([
    ['pre-tokenizer', byteLevel({ pre_tokenizer: { type: 'Nonsense' } })],
    ['normalizer', byteLevel({ normalizer: { type: 'Nonsense' } })],
  ])('an unknown %s', async (_, json) => {
    await expectError(
      () => read(json),
      'UNSUPPORTED',
      expect.stringContaining('tokenizer.json: the tokenizer cannot be used'),
    );
  });

  it.each([
    ['the file is', []],
    ['model is missing', { ...byteLevel(), model: undefined }],
    ['model is', { ...byteLevel(), model: 'BPE' }],
    ['model.vocab is', byteLevel({ model: { vocab: undefined } })],
    ['model.vocab is', byteLevel({ model: { vocab: { a: -1 } } })],
    ['model.vocab is', byteLevel({ model: { vocab: { a: 1e9 } } })],
    ['model.vocab is', byteLevel({ model: { vocab: ['a'] } })],
    ['model.merges is', byteLevel({ model: { merges: {} } })],
    ['in model.merges', byteLevel({ model: { merges: [['a', 'b', 'c']] } })],
    ['in model.merges', byteLevel({ model: { merges: ['a b', 'c'] } })],
    ['in model.merges', byteLevel({ model: { merges: [['a', 'b'], null] } })],
    ['added_tokens is', { ...byteLevel(), added_tokens: {} }],
    ['added_tokens[0].id is', { ...byteLevel(), added_tokens: [{ id: -1, content: 'x' }] }],
    ['added_tokens[0].content is', { ...byteLevel(), added_tokens: [{ id: 1, content: '' }] }],
    [
      'added_tokens[0].special is',
      { ...byteLevel(), added_tokens: [{ id: 1, content: 'x', special: 'no' }] },
    ],
  ])('%s wrong', async (named, json) => {
    await expectError(() => read(json), 'MODEL_FORMAT', expect.stringContaining(named));
  });

  it('merges may be strings, as older files have them', () => {
    const encode = encoder(sentencepiece({ model: { merges: ['a b', '\u2581 a', '\u2581 ab'] } }));
    expect(encode('ab')).toEqual([SP.spaceAb]);
  });
});
