// The tables of `ttft`: the paper's, with the paper's own figures beside ours.
import { number, percent, spread, tokenCount, withPrefix } from '../common/format.mjs';
import { paper } from './paper.mjs';
import { stepTable } from './step-table.mjs';

/** @import { Table } from '../common/table.mjs' */
/** @import { Mode, Row } from './measure.mjs' */
/** @import { PaperRow } from './paper.mjs' */

/**
 * How much less `value` is than `of`, as a share; '-' where nothing is to be saved.
 *
 * @param {number} value
 * @param {number} of
 * @param {boolean} [comparable]
 */
const reduction = (value, of, comparable = true) => (comparable ? percent(1 - value / of) : '-');

/**
 * @param {readonly Row[]} rows three for each length
 * @returns {Table[]}
 */
export function ttftTables(rows) {
  const lengths = [...new Set(rows.map(({ promptTokens }) => promptTokens))];
  const prompts = lengths.map((promptTokens) => {
    /** @param {Mode} mode */
    const of = (mode) => {
      const row = rows.find((other) => other.promptTokens === promptTokens && other.mode === mode);
      if (row === undefined) throw new RangeError(`no ${mode} run of ${promptTokens} tokens`);
      return row;
    };
    return {
      name: tokenCount(promptTokens),
      full: of('full'),
      cold: of('cold'),
      warm: of('warm'),
      // Without a document all three compute the same.
      reuses: of('warm').flops.paper.request < of('full').flops.paper.request,
      paper: paper.rows.find((row) => row.promptTokens === promptTokens),
    };
  });
  const steps = rows.flatMap(({ promptTokens, ttft, step }) =>
    step === undefined ? [] : [{ promptTokens, ttft: ttft.median, step }],
  );
  return [
    times(prompts),
    flops(prompts),
    parts(prompts),
    // Runs of earlier versions have none.
    ...(steps.length === 0 ? [] : [stepTable(steps)]),
  ];
}

/** @typedef {{ name: string, full: Row, cold: Row, warm: Row, reuses: boolean, paper: PaperRow | undefined }} Prompt */

/** @param {readonly Prompt[]} prompts @returns {Table} */
function times(prompts) {
  return {
    title: 'Time to first token, ms: median (least–greatest)',
    columns: [
      'prompt tokens',
      'full',
      'block, cold',
      'block, warm',
      'cold saves',
      'warm saves',
      'full / warm',
      'paper: full',
      'paper: block',
      'paper saves',
    ],
    rows: prompts.map(({ name, full, cold, warm, reuses, paper }) => [
      name,
      spread(full.ttft),
      spread(cold.ttft),
      spread(warm.ttft),
      reduction(cold.ttft.median, full.ttft.median, reuses),
      reduction(warm.ttft.median, full.ttft.median, reuses),
      reuses ? `${number(full.ttft.median / warm.ttft.median)}x` : '-',
      paper === undefined ? '' : String(paper.ttftFull),
      paper === undefined ? '' : String(paper.ttftBlock),
      paper === undefined ? '' : reduction(paper.ttftBlock, paper.ttftFull, reuses),
    ]),
    notes: [`Paper: ${paper.source}.`],
  };
}

/** @param {readonly Prompt[]} prompts @returns {Table} */
function flops(prompts) {
  return {
    title: 'Floating-point operations to the first token',
    columns: [
      'prompt tokens',
      'full',
      'warm',
      'saved',
      'executed: full',
      'executed: cold',
      'executed: warm',
      'saved',
      'paper: full',
      'paper: block',
      'paper saves',
    ],
    rows: prompts.map(({ name, full, cold, warm, reuses, paper }) => [
      name,
      withPrefix(full.flops.paper.request),
      withPrefix(warm.flops.paper.request),
      reduction(warm.flops.paper.request, full.flops.paper.request, reuses),
      withPrefix(full.flops.executed.request),
      withPrefix(cold.flops.executed.request),
      withPrefix(warm.flops.executed.request),
      reduction(warm.flops.executed.request, full.flops.executed.request, reuses),
      paper === undefined ? '' : withPrefix(paper.flopsFull),
      paper === undefined ? '' : withPrefix(paper.flopsBlock),
      paper === undefined ? '' : reduction(paper.flopsBlock, paper.flopsFull, reuses),
    ]),
    notes: [
      'The first columns count as the paper does: 2 x (parameters without the embedding, with the LM head) x tokens computed. Executed: what ran, attention included, the LM head for one row.',
    ],
  };
}

/** @param {readonly Prompt[]} prompts @returns {Table} */
function parts(prompts) {
  return {
    title: 'Where the time of a warm request goes, ms (medians)',
    columns: [
      'prompt tokens',
      'tokenise',
      'queue',
      'encode',
      'plan and final step',
      'first token',
      'to the caller',
    ],
    rows: prompts.map(({ name, warm: { parts, ttft } }) => [
      name,
      number(parts.tokenize),
      number(parts.queue),
      number(parts.encode),
      number(parts.step),
      number(ttft.median),
      number(parts.deliver),
    ]),
    notes: ['The first four add up to the first token, except that medians do not add exactly.'],
  };
}
