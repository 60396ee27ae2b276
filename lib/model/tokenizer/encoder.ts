/**
 * Text to token ids, block by block, with special tokens only where the caller vouches for the text. Runs in the
 * tokenizer worker.
 */
import { PlainTokenizer } from './plain-tokenizer.js';
import { type Span, SpecialTokenFinder } from './special-tokens.js';
import type { TokenizerJson } from './tokenizer-json.js';
import type { TextInput, TextPart } from '../types.js';

export class TokenEncoder {
  readonly #plain: PlainTokenizer;
  readonly #finder: SpecialTokenFinder;

  /** @param tokenizer Is taken over and must not be used any more. */
  constructor(tokenizer: TokenizerJson, file: string) {
    this.#plain = new PlainTokenizer(tokenizer, file);
    this.#finder = new SpecialTokenFinder(tokenizer.addedTokens);
  }

  encode(input: TextInput): Int32Array {
    if (typeof input === 'string') return Int32Array.from(this.#plain.encode(input, true));
    const text = input.parts.map((part) => part.text).join('');
    const ids: number[] = [];
    let at = 0;
    const takeUntil = (end: number) => {
      if (end > at) for (const id of this.#plain.encode(text.slice(at, end), at === 0)) ids.push(id);
    };
    for (const match of this.#finder.find(text, trustedSpans(input.parts))) {
      takeUntil(match.start);
      ids.push(match.id);
      at = match.end;
    }
    takeUntil(text.length);
    return Int32Array.from(ids);
  }
}

/** Where the parts marked special lie in the joined text; neighbours count as one stretch. */
function trustedSpans(parts: readonly TextPart[]): Span[] {
  const spans: Span[] = [];
  let start = 0;
  for (const part of parts) {
    const end = start + part.text.length;
    if (part.special) {
      const last = spans.at(-1);
      if (last !== undefined && last.end === start) last.end = end;
      else spans.push({ start, end });
    }
    start = end;
  }
  return spans;
}
