// Numbers for people.

const PREFIXES = ['', 'k', 'M', 'G', 'T', 'P'];

/**
 * Three significant digits: 0.0123, 1.23, 12.3, 1230.
 *
 * @param {number} value
 */
export function number(value) {
  if (value === 0) return '0';
  // Rounded first, so that 9.996 is 10.0 and not 10.00.
  const size = Math.abs(Number(value.toPrecision(3)));
  const digits = Math.max(0, 2 - Math.floor(Math.log10(size)));
  return value.toFixed(Math.min(digits, 4));
}

/** @param {number} value e.g. 1.2e9 is "1.20 G" */
export function withPrefix(value) {
  let scaled = value;
  let prefix = 0;
  for (; scaled >= 999.5 && prefix < PREFIXES.length - 1; prefix++) scaled /= 1000;
  return `${number(scaled)} ${PREFIXES[prefix]}`.trim();
}

/** @param {number} share 0.123 is "12.3%" */
export const percent = (share) => `${(100 * share).toFixed(1)}%`;

/** @param {number} tokens 1024 is "1K" */
export const tokenCount = (tokens) =>
  tokens >= 1024 && tokens % 1024 === 0 ? `${tokens / 1024}K` : `${tokens}`;

/**
 * Median, and in brackets the least and the greatest value where there are several.
 *
 * @param {import('./statistics.mjs').Summary} summary
 * @param {(value: number) => string} [text] of one value
 */
export function spread({ median, min, max, count }, text = number) {
  return count === 1 ? text(median) : `${text(median)} (${text(min)}–${text(max)})`;
}

/** @param {number} seconds "5 s", "3 min", "1.5 h" */
export function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
