// What `quality` prints: a table for each model, the gate's verdict in each row.
import { number } from '../common/format.mjs';
import { changeError, MOST_RATIO, withinNoise } from './compare.mjs';
import { YARDSTICK } from './measure.mjs';

/** @import { Table } from '../common/table.mjs' */
/** @import { Changes } from './compare.mjs' */
/** @import { CaseResult, Row } from './measure.mjs' */

/**
 * @param {{ cases: CaseResult[] }} results
 * @returns {Table[]}
 */
export function qualityTables({ cases }) {
  return cases.map(({ name, models, prompts, correct, rows }) => ({
    title: `${name}: ${models === 1 ? '' : `${models} models, `}${prompts} prompts`,
    columns: [
      '',
      'mean KL',
      'median',
      'greatest',
      'of Q8_0',
      ...(correct === undefined ? [] : ['correct', 'gained, lost']),
      'gate',
    ],
    rows: rows.map((row) => [
      row.variant,
      `${small(row.divergence.mean)} ± ${small(row.divergence.standardError)}`,
      small(row.divergence.median),
      small(row.divergence.greatest),
      row.variant === YARDSTICK ? '' : `${number(row.ratio)} ± ${number(row.ratioError)}`,
      ...(row.changes === undefined ? [] : changeCells(row.changes)),
      row.variant === YARDSTICK ? '' : verdict(row),
    ]),
    notes: notes(prompts, correct),
  }));
}

/** @param {Row} row @returns {string} whether it is within the gate, and if not, why */
export function verdict({ ratio, changes }) {
  if (ratio > MOST_RATIO) return `missed: above ${MOST_RATIO}`;
  return changes === undefined || withinNoise(changes) ? 'kept' : 'missed: answers';
}

/** @param {Changes} changes */
function changeCells(changes) {
  const { correct, gained, lost } = changes;
  const difference = gained - lost;
  const sign = difference > 0 ? '+' : '';
  return [`${correct} (${sign}${difference} ± ${changeError(changes).toFixed(1)})`, `${gained}, ${lost}`];
}

/**
 * @param {number} prompts
 * @param {number | undefined} correct
 */
function notes(prompts, correct) {
  const measure =
    "KL of the first token's distribution from that of the stored weights with f32 keys and values, nats; ± one standard error of the mean. Q8_0 rounds weights alone; what it does with activations, too, as in llama.cpp: test/native/int8_quality_test.cpp.";
  if (correct === undefined) return [measure];
  const share = correct / prompts;
  const error = Math.sqrt(prompts * share * (1 - share));
  return [
    measure,
    `Correct: of the reference ${correct} of ${prompts}, of which one standard error is ${error.toFixed(1)} over other questions; ± one standard error of the difference over the same.`,
  ];
}

/** @param {number} value 0.00012345 is "1.23e-4" */
const small = (value) => value.toExponential(2);
