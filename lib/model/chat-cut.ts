/**
 * Cuts what a chat template printed into blocks: where a turn ends and the next one begins, and where a document does.
 * Every character of the prompt is in exactly one block, in order.
 */
import type { Piece } from './chat-slots.js';
import { trimmed } from './chat-slots.js';
import { documentText, INSTRUCTION, type ReferenceDocument, SYSTEM_TEXT } from './reference-format.js';
import type { TextPart } from './types.js';

/** What takes the place of the slots. */
export interface ChatContents {
  earlier: readonly string[];
  documents: readonly ReferenceDocument[];
  query: string;
  dateString: string;
}

export interface CutOptions {
  /** The template does not print documents: put them into the last user message. */
  documentsInQuery: boolean;
  /** A layout of two documents or more. */
  pair: readonly Piece[];
  /** Spellings of the template's special tokens. */
  specialTokens: readonly string[];
  eosToken: string | undefined;
}

export interface CutPrompt {
  blocks: TextPart[][];
  query: TextPart[];
}

/** A message, a document or the query, with what the template prints inside of it, and what it prints in front. */
interface Unit {
  kind: 'message' | 'document' | 'query';
  before: TextPart[];
  parts: TextPart[];
}

/** @param layout The query is in it once, behind everything else. */
export function cutIntoBlocks(
  layout: readonly Piece[],
  contents: ChatContents,
  options: CutOptions,
): CutPrompt {
  const { units, end } = findUnits(layout, contents);
  const borders = documentBorders(options.pair);
  const blocks: TextPart[][] = [];
  let query: TextPart[] = [];
  for (const [i, unit] of units.entries()) {
    const previous = units[i - 1];
    const next = { ...unit, isFirst: previous === undefined };
    let gap = unit.before;
    if (previous !== undefined) {
      const [tail, rest] = splitFront(gap, tailLength(previous, next, gap, borders, options));
      blocks.at(-1)?.push(...tail);
      gap = rest;
    }
    if (unit.kind === 'document') {
      const text = lastLiteral(gap);
      const [between, head] = splitBack(gap, text.endsWith(borders.head) ? borders.head.length : 0);
      if (between.length > 0) blocks.push(between);
      blocks.push([...head, ...unit.parts]);
    } else if (unit.kind === 'message') {
      blocks.push([...gap, ...unit.parts]);
    } else if (options.documentsInQuery) {
      blocks.push([...gap, { text: SYSTEM_TEXT.trimStart() }]);
      for (const document of contents.documents) blocks.push([{ text: documentText(document) }]);
      query = [{ text: INSTRUCTION }, ...unit.parts, ...end];
    } else {
      query = [...gap, ...unit.parts, ...end];
    }
  }
  return { blocks, query };
}

function findUnits(layout: readonly Piece[], contents: ChatContents): { units: Unit[]; end: TextPart[] } {
  const units: Unit[] = [];
  let gap: TextPart[] = [];
  let openDocument: number | undefined;
  for (const piece of layout) {
    if (piece.kind === 'literal') {
      gap.push({ text: piece.text, special: true });
      continue;
    }
    if (piece.kind === 'date') {
      gap.push({ text: contents.dateString });
      continue;
    }
    const part = { text: trimmed(contentOf(piece, contents), piece) };
    const isDocument = piece.kind === 'title' || piece.kind === 'text';
    const last = units.at(-1);
    if (isDocument && last?.kind === 'document' && openDocument === piece.index) {
      last.parts.push(...gap, part);
    } else {
      const kind = isDocument ? 'document' : piece.kind === 'query' ? 'query' : 'message';
      units.push({ kind, before: gap, parts: [part] });
      openDocument = isDocument ? piece.index : undefined;
    }
    gap = [];
  }
  return { units, end: gap };
}

function contentOf(
  piece: Exclude<Piece, { kind: 'literal' }>,
  { earlier, documents, query }: ChatContents,
): string {
  switch (piece.kind) {
    case 'message':
      return earlier[piece.index] ?? '';
    case 'title':
      return documents[piece.index]?.title ?? '';
    case 'text':
      return documents[piece.index]?.text ?? '';
    default:
      return query;
  }
}

interface Borders {
  /** What the template prints behind a document and in front of one. */
  tail: string;
  head: string;
}

/**
 * Between two documents stands the end of one and the beginning of the next. The end also stands behind the last
 * document, the beginning in front of the first; what both could claim stays with the document before, as newlines do.
 */
function documentBorders(pair: readonly Piece[]): Borders {
  const nothing = { earlier: [], documents: [], query: '', dateString: '' };
  const { units } = findUnits(pair, nothing);
  const first = units.findIndex((unit) => unit.kind === 'document');
  const second = units[first + 1];
  if (first < 0 || second?.kind !== 'document') return { tail: '', head: '' };
  const between = firstLiteral(second.before);
  const behind = firstLiteral(units.find((unit, i) => i > first && unit.kind !== 'document')?.before ?? []);
  const before = lastLiteral(units[first]?.before ?? []);
  const tail = commonPrefix(between, behind);
  const head = between.slice(tail.length);
  if (before.endsWith(head)) return { tail, head };
  const shared = commonSuffix(between, before);
  return { tail: between.slice(0, between.length - shared.length), head: shared };
}

/** How much of the gap behind a unit belongs to it. */
function tailLength(
  unit: Unit,
  next: Unit,
  gap: readonly TextPart[],
  borders: Borders,
  options: CutOptions,
): number {
  const text = firstLiteral(gap);
  if (unit.kind === 'message') return turnEnd(text, options);
  // Between documents nothing may be left over.
  if (next.kind === 'document') return Math.max(0, text.length - borders.head.length);
  return text.startsWith(borders.tail) ? borders.tail.length : 0;
}

/** A word in the brackets of special tokens, or in those of Llama 2 and Mistral. */
const BRACKETED = /<\|[^|<>\s]+\|>|<?<\/?[A-Za-z_]+>>?|\[\/?[A-Z_]+\]/;
const CLOSING = /^(?:<{1,2}|\[)\//;

/**
 * Where a turn ends in what stands between two messages: behind the token that closes it and the newlines that follow, or
 * in front of the token that opens the next turn. White space alone, or text without such a token, stays with the turn.
 */
function turnEnd(text: string, { specialTokens, eosToken }: CutOptions): number {
  const known = specialTokens
    .map((token) => ({ token, at: text.indexOf(token) }))
    .filter(({ token, at }) => token !== '' && at >= 0);
  const match = BRACKETED.exec(text);
  if (match !== null) known.push({ token: match[0], at: match.index });
  const first = known.sort((a, b) => a.at - b.at || b.token.length - a.token.length)[0];
  if (first === undefined) return text.length;
  if (first.at > 0 && first.token !== eosToken && !CLOSING.test(first.token)) return first.at;
  let end = first.at + first.token.length;
  while (text.charAt(end) === '\n') end += 1;
  return end;
}

function firstLiteral(gap: readonly TextPart[]): string {
  return gap[0]?.special ? gap[0].text : '';
}

function lastLiteral(gap: readonly TextPart[]): string {
  const last = gap.at(-1);
  return last?.special ? last.text : '';
}

/** Cuts `length` characters off the first literal. */
function splitFront(gap: readonly TextPart[], length: number): [TextPart[], TextPart[]] {
  const [first, ...rest] = gap;
  if (first === undefined || length === 0) return [[], [...gap]];
  return [
    [{ text: first.text.slice(0, length), special: true }],
    first.text.length > length ? [{ text: first.text.slice(length), special: true }, ...rest] : rest,
  ];
}

/** Cuts `length` characters off the end of the last literal. */
function splitBack(gap: readonly TextPart[], length: number): [TextPart[], TextPart[]] {
  const last = gap.at(-1);
  if (last === undefined || length === 0) return [[...gap], []];
  const at = last.text.length - length;
  const front = gap.slice(0, -1);
  return [
    at > 0 ? [...front, { text: last.text.slice(0, at), special: true }] : front,
    [{ text: last.text.slice(at), special: true }],
  ];
}

function commonPrefix(a: string, b: string): string {
  let length = 0;
  while (length < a.length && a.charAt(length) === b.charAt(length)) length += 1;
  return a.slice(0, length);
}

function commonSuffix(a: string, b: string): string {
  let length = 0;
  while (length < a.length && a.at(-1 - length) === b.at(-1 - length)) length += 1;
  return a.slice(a.length - length);
}
