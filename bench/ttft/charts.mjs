// The charts of `ttft`: our curves in one panel, the paper's in the other, on the same axes.
import { tokenCount, withPrefix } from '../common/format.mjs';
import { DOCUMENT_TOKENS, QUERY_TOKENS } from '../common/prompts.mjs';
import { hardwareOf } from '../common/record.mjs';
import { paper } from './paper.mjs';

/** @import { Chart, Panel, Point, Series } from '../common/chart.mjs' */
/** @import { Record } from '../common/record.mjs' */
/** @import { Mode, Row } from './measure.mjs' */
/** @import { PaperRow } from './paper.mjs' */

const NAMES = { full: 'full attention', cold: 'block, cold', warm: 'block, warm' };

/**
 * @param {Record} record of `ttft`
 * @returns {Chart[]}
 */
export function ttftCharts(record) {
  const rows = /** @type {Row[]} */ (record.results);
  const shared = { formatX: tokenCount, xTitle: 'prompt length, tokens' };
  const setting = `A query of ${QUERY_TOKENS} tokens behind documents of about ${DOCUMENT_TOKENS}: warm, all of them cached; cold, none.`;
  return [
    {
      ...shared,
      name: 'ttft',
      title: 'Time to first token over prompt length',
      subtitle: [setting, 'Medians; bars from least to greatest. Lower is better.'],
      description:
        'Time to first token over prompt length for full, cold and warm requests, and the paper’s.',
      formatY: milliseconds,
      panels: [ours(record, times(rows)), papers('ttftFull', 'ttftBlock')],
    },
    {
      ...shared,
      name: 'flops',
      title: 'Floating-point operations to the first token over prompt length',
      subtitle: [
        setting,
        'Solid: all that ran. Dashed, and in the paper: 2 × parameters × tokens, without attention.',
      ],
      description:
        'Floating-point operations to the first token over prompt length for full, cold and warm requests, and the paper’s.',
      formatY: operations,
      panels: [ours(record, counts(rows)), papers('flopsFull', 'flopsBlock')],
    },
  ];
}

/**
 * @param {Record} record
 * @param {readonly Series[]} series
 * @returns {Panel}
 */
function ours(record, series) {
  const { date, commit, machine, subject } = record;
  const model = subject && `${subject.model}${subject.randomWeights ? ' with random weights' : ''}`;
  const when = [date.slice(0, 10), commit && `commit ${commit}`, machine.busy && 'on a busy machine'];
  return {
    title: 'This engine',
    subtitle: [model ?? 'no model', hardwareOf(record), when.filter(Boolean).join(', ')],
    quoted: false,
    series,
  };
}

/**
 * @param {keyof PaperRow} full
 * @param {keyof PaperRow} block
 * @returns {Panel}
 */
function papers(full, block) {
  /** @param {keyof PaperRow} field */
  const points = (field) => paper.rows.map((row) => ({ x: row.promptTokens, y: row[field] }));
  return {
    title: paper.name,
    subtitle: [paper.model, 'all passages cached', 'another model and machine: compare the shape'],
    quoted: true,
    series: [
      { label: NAMES.full, role: 'full', points: points(full) },
      { label: NAMES.warm, role: 'warm', points: points(block) },
    ],
  };
}

/** @param {readonly Row[]} rows @returns {Series[]} */
function times(rows) {
  /** @param {Mode} mode @returns {Series} */
  const of = (mode) => ({
    label: NAMES[mode],
    role: mode,
    points: pointsOf(rows, mode, ({ ttft }) => ({ y: ttft.median, low: ttft.min, high: ttft.max })),
  });
  return [of('full'), of('cold'), of('warm')];
}

/** The paper's count does not tell cold from full. @param {readonly Row[]} rows @returns {Series[]} */
function counts(rows) {
  /** @param {Mode} mode @returns {Series} */
  const executed = (mode) => ({
    label: NAMES[mode],
    role: mode,
    points: pointsOf(rows, mode, ({ flops }) => ({ y: flops.executed.request })),
  });
  /** @param {Mode} mode @returns {Series} */
  const asInPaper = (mode) => ({
    label: `${mode}, paper’s count`,
    role: mode,
    dashed: true,
    points: pointsOf(rows, mode, ({ flops }) => ({ y: flops.paper.request })),
  });
  return [executed('full'), executed('cold'), executed('warm'), asInPaper('full'), asInPaper('warm')];
}

/**
 * @param {readonly Row[]} rows
 * @param {Mode} mode
 * @param {(row: Row) => Omit<Point, 'x'>} measureOf
 */
function pointsOf(rows, mode, measureOf) {
  return rows
    .filter((row) => row.mode === mode)
    .map((row) => ({ x: row.promptTokens, ...measureOf(row) }))
    .sort((a, b) => a.x - b.x);
}

/** @param {number} value */
const milliseconds = (value) => (value < 1000 ? `${value} ms` : `${value / 1000} s`);

/** @param {number} value */
function operations(value) {
  const [digits, prefix = ''] = withPrefix(value).split(' ');
  return `${Number(digits)} ${prefix}FLOP`;
}
