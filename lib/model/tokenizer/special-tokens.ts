/**
 * Finds special tokens by their spelling, in the trusted stretches of a text alone, as the reference library does in the
 * whole text: leftmost first, the longest of those that begin there, with the flags of added tokens. Unlike there, the
 * spelling is looked for in the text as it is, also for tokens that are marked as normalized.
 */
import type { AddedToken } from './tokenizer-json.js';

/** A stretch of a text, in UTF-16 units: `end` is behind it. */
export interface Span {
  start: number;
  end: number;
}

export interface SpecialMatch extends Span {
  id: number;
}

interface TrieNode {
  next: Map<string, TrieNode>;
  token?: AddedToken;
}

const WORD_CHARACTER = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d]$/u;
const WHITE_SPACE = /^\s$/u;

export class SpecialTokenFinder {
  readonly #root: TrieNode = { next: new Map() };

  /** @param addedTokens All of them: a longer added token that is not special hides a special one inside it. */
  constructor(addedTokens: readonly AddedToken[]) {
    for (const token of addedTokens) {
      let node = this.#root;
      for (const unit of token.content.split('')) {
        let child = node.next.get(unit);
        if (child === undefined) {
          child = { next: new Map() };
          node.next.set(unit, child);
        }
        node = child;
      }
      node.token = token;
    }
  }

  /** Special tokens that lie whole within one of the trusted stretches, in order; with the white space they swallow. */
  find(text: string, trusted: readonly Span[]): SpecialMatch[] {
    const matches: SpecialMatch[] = [];
    let previousEnd = 0;
    for (const span of trusted) {
      let at = Math.max(span.start, previousEnd);
      while (at < span.end) {
        const token = this.#longestAt(text, at, span.end);
        if (token === undefined) {
          at += 1;
          continue;
        }
        const end = at + token.content.length;
        if (token.special) {
          const match = withWhiteSpace(text, token, { start: at, end }, previousEnd);
          matches.push({ id: token.id, ...match });
          previousEnd = match.end;
          at = match.end;
        } else {
          at = end;
        }
      }
    }
    return matches;
  }

  #longestAt(text: string, start: number, limit: number): AddedToken | undefined {
    let node: TrieNode | undefined = this.#root;
    let longest: AddedToken | undefined;
    for (let at = start; at < limit; at++) {
      node = node.next.get(text.charAt(at));
      if (node === undefined) break;
      if (node.token !== undefined && isAllowed(text, node.token, { start, end: at + 1 }))
        longest = node.token;
    }
    return longest;
  }
}

function isAllowed(text: string, token: AddedToken, span: Span): boolean {
  if (!token.singleWord) return true;
  const before = codePointBefore(text, span.start);
  const behind = text.codePointAt(span.end);
  return !isWord(before) && !isWord(behind);
}

function isWord(codePoint: number | undefined): boolean {
  return codePoint !== undefined && WORD_CHARACTER.test(String.fromCodePoint(codePoint));
}

function codePointBefore(text: string, index: number): number | undefined {
  if (index === 0) return undefined;
  const pair = index >= 2 ? text.codePointAt(index - 2) : undefined;
  return pair !== undefined && pair > 0xffff ? pair : text.codePointAt(index - 1);
}

function withWhiteSpace(text: string, token: AddedToken, span: Span, previousEnd: number): Span {
  let { start, end } = span;
  while (token.lstrip && start > previousEnd && WHITE_SPACE.test(text.charAt(start - 1))) start -= 1;
  while (token.rstrip && end < text.length && WHITE_SPACE.test(text.charAt(end))) end += 1;
  return { start, end };
}
