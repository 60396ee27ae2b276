/**
 * Sentinels: strings that are handed to a chat template in place of texts, and found again in what it prints. Around each
 * stands a rare kind of white space: where it is gone, the template trims what it is given, and the text that takes the
 * sentinel's place is trimmed as well.
 */

export interface Slot {
  kind: 'message' | 'title' | 'text' | 'query' | 'date';
  /** Of the message or document. */
  index: number;
  /** The template strips white space from its beginning, its end. */
  trimStart: boolean;
  trimEnd: boolean;
  /** What the template printed. */
  raw: string;
}

/** What a template printed: its own text, or something that it was given. */
export type Piece = { kind: 'literal'; text: string } | Slot;

export interface Sentinels {
  message(index: number): string;
  title(index: number): string;
  text(index: number): string;
  query: string;
  date: string;
  /** Matches any of them, with their white space. */
  pattern: RegExp;
}

/** EM SPACE: Jinja's trim takes it away, and templates do not print it. */
const PAD = '\u2003';

const LETTERS = { m: 'message', t: 'title', x: 'text', q: 'query', d: 'date' } as const;

/** @param nonce Letters and digits that nobody can guess. */
export function sentinels(nonce: string): Sentinels {
  const core = (letter: keyof typeof LETTERS, index: number) => `${nonce}${letter}${index}z`;
  const padded = (letter: keyof typeof LETTERS) => (index: number) => `${PAD}${core(letter, index)}${PAD}`;
  return {
    message: padded('m'),
    title: padded('t'),
    text: padded('x'),
    query: padded('q')(0),
    // Not padded: it stands within a line of the template's.
    date: core('d', 0),
    pattern: new RegExp(`(${PAD}?)${nonce}([mtxqd])(\\d+)z(${PAD}?)`, 'g'),
  };
}

export function findSlots(text: string, { pattern }: Sentinels): Piece[] {
  const pieces: Piece[] = [];
  let end = 0;
  const literal = (until: number) => {
    if (until > end) pieces.push({ kind: 'literal', text: text.slice(end, until) });
  };
  for (const match of text.matchAll(pattern)) {
    literal(match.index);
    const [raw, before, letter, index, behind] = match;
    pieces.push({
      kind: LETTERS[letter as keyof typeof LETTERS],
      index: Number(index),
      trimStart: before === '',
      trimEnd: behind === '',
      raw,
    });
    end = match.index + raw.length;
  }
  literal(text.length);
  return pieces;
}

/** What the template prints for a piece if the earlier messages have these contents. */
export function pieceText(piece: Piece, earlier: readonly string[]): string {
  if (piece.kind === 'literal') return piece.text;
  return piece.kind === 'message' ? trimmed(earlier[piece.index] ?? '', piece) : piece.raw;
}

/** White space as Python's str.strip knows it. */
const SPACE = '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]';
const START = new RegExp(`^${SPACE}+`);

export function trimmed(text: string, slot: Pick<Slot, 'trimStart' | 'trimEnd'>): string {
  const rest = slot.trimStart ? text.replace(START, '') : text;
  return slot.trimEnd ? trimEnd(rest) : rest;
}

const ONE = new RegExp(SPACE);

/** A regular expression would take quadratic time over a long run of spaces in the middle. */
function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && ONE.test(text.charAt(end - 1))) end -= 1;
  return text.slice(0, end);
}
