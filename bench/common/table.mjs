// Tables as Markdown with columns of even width, which read as well on a terminal.

/**
 * @typedef {object} Table
 * @property {string} title
 * @property {readonly string[]} columns
 * @property {readonly (readonly string[])[]} rows
 * @property {readonly string[]} [notes] lines below it
 */

/**
 * @param {Table} table
 * @returns {string} without a newline at the end
 */
export function renderTable({ title, columns, rows, notes = [] }) {
  const widths = columns.map((name, column) =>
    Math.max(3, name.length, ...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  // The first column names the row; the others are numbers.
  /** @param {readonly string[]} cells */
  const line = (cells) =>
    `| ${widths
      .map((width, column) => {
        const cell = cells[column] ?? '';
        return column === 0 ? cell.padEnd(width) : cell.padStart(width);
      })
      .join(' | ')} |`;
  const rule = `| ${widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  const below = notes.length === 0 ? [] : ['', ...notes];
  return [`### ${title}`, '', line(columns), rule, ...rows.map(line), ...below].join('\n');
}
