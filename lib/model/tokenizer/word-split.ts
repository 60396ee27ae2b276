/**
 * Makes sentencepiece-style BPE fast without changing a token. Those tokenizers hand the whole text to BPE as one word,
 * which is slow and defeats the library's cache of words. But BPE can only join two neighbours if some merge does: where
 * no merge makes a token in which U+2581 (the space) follows the character that stands before it, the text can be cut
 * between the two, and each word be tokenised on its own. Over the vocabularies tried, that is everywhere but behind one
 * character.
 */
import type { BpeModel } from './tokenizer-json.js';

const SPACE = '\u2581';

/** More exceptions than this would make the pattern slow. */
const MAX_JOINED = 64;

/** The pre-tokenizer with a step behind it that cuts the text into words, if this model allows it. */
export function withWordSplit(preTokenizer: unknown, model: BpeModel): unknown {
  // A word that is in the vocabulary is taken whole if merges are ignored; neighbouring unknown characters may be fused.
  if (!model.byteFallback || model.ignoreMerges) return preTokenizer;
  const joined = charactersBeforeSpace(model.merges);
  if (joined.size > MAX_JOINED) return preTokenizer;
  const split = {
    type: 'Split',
    pattern: { Regex: wordPattern(joined) },
    behavior: 'Isolated',
    invert: false,
  };
  if (preTokenizer === undefined || preTokenizer === null) return split;
  return { type: 'Sequence', pretokenizers: [preTokenizer, split] };
}

/** Characters that some merge joins with a space behind them. */
function charactersBeforeSpace(merges: BpeModel['merges']): Set<string> {
  const joined = new Set<string>();
  for (const [left, right] of merges) {
    if (!left.includes(SPACE) && !right.includes(SPACE)) continue;
    let before: string | undefined;
    for (const character of left + right) {
      if (character === SPACE && before !== undefined && before !== SPACE) joined.add(before);
      before = character;
    }
  }
  return joined;
}

/** Matches spaces and the word behind them; goes on over spaces that stand behind a joined character. */
function wordPattern(joined: ReadonlySet<string>): string {
  const characters = [...joined].map((character) => character.replace(/[\p{P}\p{S}]/u, '\\$&')).join('');
  const more = characters === '' ? '' : `(?:(?<=[${characters}])${SPACE}+[^${SPACE}]*)*`;
  return `${SPACE}*[^${SPACE}]+${more}|${SPACE}+`;
}
