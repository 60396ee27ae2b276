// Whether an answer is right, as the Block-Attention paper counts it.

/** string.punctuation of Python. */
const PUNCTUATION = /[!-/:-@[-`{-~]/g;
const ARTICLES = /\b(a|an|the)\b/g;

/**
 * As SQuAD's evaluation does: small letters, without punctuation and articles, single spaces.
 *
 * @param {string} text
 */
export function normalised(text) {
  return text
    .toLowerCase()
    .replace(PUNCTUATION, '')
    .replace(ARTICLES, ' ')
    .split(/\s+/)
    .filter(Boolean)
    .join(' ');
}

/**
 * Best-subspan exact match: one of the right answers is part of the text.
 *
 * @param {string} text
 * @param {readonly string[]} answers
 */
export function isRight(text, answers) {
  const given = normalised(text);
  return answers.some((answer) => given.includes(normalised(answer)));
}
