// Streaming text out of tokens, for each kind of decoder.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type DecoderPlan, readDecoderPlan } from '#lib/model/tokenizer/decoder-plan.js';
import { createStreamDecoder } from '#lib/model/tokenizer/stream-decoder.js';
import { readTokenizerJson } from '#lib/model/tokenizer/tokenizer-json.js';
import { buildVocabulary } from '#lib/model/tokenizer/vocabulary.js';
import type { StreamDecoder } from '#lib/model/types.js';
import { expectError } from '../../errors.js';
import { BYTES, byteLevel, SENTENCEPIECE_DECODER, sentencepiece, SP } from './small-tokenizers.js';

function decoderOf(json: object): StreamDecoder {
  const tokenizer = readTokenizerJson(json, 'tokenizer.json');
  const plan = readDecoderPlan(tokenizer.decoder, 'tokenizer.json');
  return createStreamDecoder(buildVocabulary(tokenizer, plan), plan);
}

/** What each token adds, and the end. */
function pieces(decoder: StreamDecoder, tokens: number[]): string[] {
  return [...tokens.map((token) => decoder.push([token])), decoder.end()];
}

const spByte = (byte: number) => SP.bytes + byte;

describe('byte-level', () => {
  const decoder = decoderOf(byteLevel());

  it('holds back a character until it is whole', () => {
    expect(pieces(decoder, [...Buffer.from('aé€😀')])).toEqual([
      'a',
      '',
      'é',
      '',
      '',
      '€',
      '',
      '',
      '',
      '😀',
      '',
    ]);
  });

  it('turns what is no UTF-8 into U+FFFD, and an unfinished character at the end', () => {
    expect(pieces(decoder, [0xff, 0x41, 0xe2, 0x82, 0x41])).toEqual(['\ufffd', 'A', '', '', '\ufffdA', '']);
    expect(pieces(decoder, [0x41, 0xf0, 0x9f])).toEqual(['A', '', '', '\ufffd']);
    expect(pieces(decoder, [0x41])).toEqual(['A', '']);
  });

  it('leaves out special tokens and ids without a token, also inside a character', () => {
    expect(pieces(decoder, [BYTES.user, 0xc3, BYTES.end, 9999, -1, 0xa9])).toEqual([
      '',
      '',
      '',
      '',
      '',
      'é',
      '',
    ]);
    expect(pieces(decoder, [BYTES.tool])).toEqual(['<tool>', '']);
  });

  it('keeps a byte order mark', () => {
    expect(pieces(decoder, [0xef, 0xbb, 0xbf, 0x41])).toEqual(['', '', '\ufeff', 'A', '']);
  });

  it('an added token outside of the byte alphabet stands for its spelling', () => {
    const added_tokens = [{ id: 256, content: '<｜x▁y｜>', special: false }];
    expect(pieces(decoderOf(byteLevel({ added_tokens })), [256])).toEqual(['<｜x▁y｜>', '']);
  });

  it('any bytes, in any pieces, give the text of all of them', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 5 })), (groups) => {
        const text = groups.map((group) => decoder.push(group)).join('') + decoder.end();
        expect(text).toBe(Buffer.concat(groups).toString('utf8'));
      }),
    );
  });
});

describe('sentencepiece', () => {
  const decoder = decoderOf(sentencepiece());

  it('cuts one space off the beginning alone', () => {
    expect(pieces(decoder, [SP.spaceA, SP.spaceAb, SP.b])).toEqual(['a', ' ab', 'b', '']);
    expect(pieces(decoder, [SP.space, SP.spaceA])).toEqual(['', ' a', '']);
    expect(pieces(decoder, [SP.a, SP.spaceA])).toEqual(['a', ' a', '']);
    expect(pieces(decoder, [SP.bos, SP.spaceA])).toEqual(['', 'a', '']);
  });

  it('cuts as many as the file says', () => {
    const decoders = SENTENCEPIECE_DECODER.decoders.with(3, {
      type: 'Strip',
      content: ' ',
      start: 2,
      stop: 0,
    });
    const decoder = decoderOf(sentencepiece({ decoder: { type: 'Sequence', decoders } }));
    expect(pieces(decoder, [SP.space, SP.space, SP.space, SP.a])).toEqual(['', '', ' ', 'a', '']);
    expect(pieces(decoder, [SP.spaceA, SP.spaceA])).toEqual(['a', ' a', '']);
  });

  it('holds back bytes until their run is over', () => {
    const euro = [...Buffer.from('€')].map(spByte);
    expect(pieces(decoder, [...euro, SP.a])).toEqual(['', '', '', '€a', '']);
    expect(pieces(decoder, [SP.a, ...euro])).toEqual(['a', '', '', '', '€']);
    expect(pieces(decoder, [SP.a, ...euro.slice(0, 1), SP.eos, ...euro.slice(1)])).toEqual([
      'a',
      '',
      '',
      '',
      '',
      '€',
    ]);
  });

  it('makes U+FFFD of every byte of a run that is not UTF-8 as a whole', () => {
    const run = [...Buffer.from('€'), 0xff].map(spByte);
    expect(pieces(decoder, [...run, SP.a])).toEqual(['', '', '', '', '\ufffd\ufffd\ufffd\ufffda', '']);
    expect(pieces(decoder, [spByte(0xe2), spByte(0x82)])).toEqual(['', '', '\ufffd\ufffd']);
  });

  it('begins anew after the end', () => {
    expect(pieces(decoder, [SP.spaceA])).toEqual(['a', '']);
    expect(pieces(decoder, [SP.spaceA])).toEqual(['a', '']);
  });

  it('bytes are bytes of text: a byte of a space is cut off the beginning too', () => {
    expect(pieces(decoder, [spByte(0x20), SP.a])).toEqual(['', 'a', '']);
  });
});

describe('metaspace', () => {
  const metaspace = (fields: object) =>
    decoderOf(sentencepiece({ decoder: { type: 'Metaspace', replacement: '▁', ...fields } }));

  it('leaves spaces out of the first token', () => {
    const tokens = [SP.bos, SP.spaceA, SP.spaceAb];
    for (const fields of [
      { prepend_scheme: 'first' },
      { prepend_scheme: 'always' },
      { add_prefix_space: true },
      {},
    ]) {
      expect(pieces(metaspace(fields), tokens)).toEqual(['', 'a', ' ab', '']);
    }
  });

  it('or keeps them', () => {
    for (const fields of [{ prepend_scheme: 'never' }, { add_prefix_space: false }]) {
      expect(pieces(metaspace(fields), [SP.spaceA, SP.spaceAb])).toEqual([' a', ' ab', '']);
    }
  });
});

describe('plans', () => {
  const read = (decoder: unknown) => readDecoderPlan(decoder, 'tokenizer.json');

  it('of the known decoders', () => {
    expect(read({ type: 'ByteLevel' })).toEqual({ kind: 'bytes' });
    expect(read({ type: 'Sequence', decoders: [{ type: 'ByteLevel' }] })).toEqual({ kind: 'bytes' });
    const gemma = { type: 'Sequence', decoders: SENTENCEPIECE_DECODER.decoders.slice(0, 3) };
    expect(read(gemma)).toEqual({
      kind: 'pieces',
      replacements: [['▁', ' ']],
      dropInFirst: undefined,
      byteFallback: true,
      strip: undefined,
    } satisfies DecoderPlan);
  });

  const [replace, fallback, fuse, strip] = SENTENCEPIECE_DECODER.decoders;
  it.each([
    ['none', null],
    ['an empty sequence', { type: 'Sequence', decoders: [] }],
    ['of another kind', { type: 'WordPiece' }],
    ['byte-level and more', { type: 'Sequence', decoders: [{ type: 'ByteLevel' }, fuse] }],
    ['replacing behind bytes', { type: 'Sequence', decoders: [fallback, replace] }],
    ['stripping each token', { type: 'Sequence', decoders: [replace, strip] }],
    ['stripping the end', { type: 'Sequence', decoders: [fuse, { ...strip, stop: 1 }] }],
    ['stripping more than a character', { type: 'Sequence', decoders: [fuse, { ...strip, content: '  ' }] }],
    ['replacing by a pattern', { type: 'Replace', pattern: { Regex: '▁+' }, content: ' ' }],
    ['replacing nothing', { type: 'Replace', pattern: { String: '' }, content: ' ' }],
  ])('%s: not supported', async (_, decoder) => {
    await expectError(() => read(decoder), 'UNSUPPORTED', expect.stringContaining('tokenizer.json'));
  });

  it.each([
    ['text'],
    [{ type: 'Sequence', decoders: 'x' }],
    [{ type: 'Sequence', decoders: [7] }],
    [{ type: 7 }],
  ])('%o: malformed', async (decoder) => {
    await expectError(() => read(decoder), 'MODEL_FORMAT', expect.stringContaining('tokenizer.json'));
  });
});
