/** Hand-made tokenizer.json files, small enough to know every token. */
export interface AddedTokenJson {
  id: number;
  content: string;
  special?: boolean;
  lstrip?: boolean;
  rstrip?: boolean;
  single_word?: boolean;
  normalized?: boolean;
}

interface Changes {
  model?: object;
  added_tokens?: AddedTokenJson[];
  normalizer?: object | null;
  pre_tokenizer?: object | null;
  decoder?: object | null;
}

export const SENTENCEPIECE_DECODER = {
  type: 'Sequence',
  decoders: [
    { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    { type: 'Strip', content: ' ', start: 1, stop: 0 },
  ],
};

/** Ids of the sentencepiece-like tokenizer that tests name. */
export const SP = {
  unk: 0,
  bos: 1,
  eos: 2,
  bytes: 3,
  space: 259,
  a: 260,
  b: 261,
  ab: 262,
  spaceA: 263,
  spaceAb: 264,
};

/** Like Llama 2's: byte tokens, U+2581 for spaces, one put before a text by the pre-tokenizer. */
export function sentencepiece(changes: Changes = {}): object {
  const vocab: Record<string, number> = { '<unk>': SP.unk, '<s>': SP.bos, '</s>': SP.eos };
  for (let byte = 0; byte < 256; byte++) {
    vocab[`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`] = SP.bytes + byte;
  }
  Object.assign(vocab, { '\u2581': 259, a: 260, b: 261, ab: 262, '\u2581a': 263, '\u2581ab': 264 });
  return {
    version: '1.0',
    added_tokens: [
      { id: SP.unk, content: '<unk>', special: true, normalized: false },
      { id: SP.bos, content: '<s>', special: true, normalized: false },
      { id: SP.eos, content: '</s>', special: true, normalized: false },
    ],
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '\u2581', prepend_scheme: 'first', split: false },
    decoder: SENTENCEPIECE_DECODER,
    ...changes,
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab,
      merges: [
        ['a', 'b'],
        ['\u2581', 'a'],
        ['\u2581', 'ab'],
      ],
      ...changes.model,
    },
  };
}

/** Ids of the byte-level tokenizer that tests name; a byte of the alphabet has the id of its place in it. */
export const BYTES = { user: 256, end: 257, tool: 258 };

/** Byte-level BPE without merges: printable bytes first, in the order of GPT-2's alphabet. */
export function byteLevel(changes: Changes = {}): object {
  const vocab: Record<string, number> = {};
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  for (let byte = 0; byte < 256; byte++) vocab[String.fromCharCode(printable(byte) ? byte : next++)] = byte;
  return {
    version: '1.0',
    added_tokens: [
      { id: BYTES.user, content: '<|user|>', special: true, normalized: false },
      { id: BYTES.end, content: '<|end|>', special: true, normalized: false },
      { id: BYTES.tool, content: '<tool>', special: false, normalized: false },
    ],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    decoder: { type: 'ByteLevel' },
    ...changes,
    model: { type: 'BPE', unk_token: null, vocab, merges: [], ...changes.model },
  };
}
