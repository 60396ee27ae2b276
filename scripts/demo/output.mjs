// Plain text for the demonstration: a table, and a line on stderr that says what is going on.

/** @param {number} ms */
export const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

/**
 * A table with columns as wide as they need to be. A row of one cell is a heading over the rows that follow.
 *
 * @param {string[]} header
 * @param {string[][]} rows
 */
export function renderTable(header, rows) {
  const widths = header.map((name, column) =>
    Math.max(
      name.length,
      ...rows.filter((cells) => cells.length > 1).map((cells) => cells[column]?.length ?? 0),
    ),
  );
  /** @param {string[]} cells */
  const line = (cells) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  const body = rows.map((cells) => (cells.length === 1 ? `\n${cells[0]}` : `  ${line(cells)}`));
  return [`  ${line(header)}`, ...body].join('\n');
}

/** On a terminal the line is written over; elsewhere each message that differs is a line of its own. */
export function progressLine(stream = process.stderr) {
  let last = '';
  return {
    /** @param {string} message */
    show(message) {
      if (message === last) return;
      last = message;
      stream.write(stream.isTTY ? `\r\x1b[K${message}` : `${message}\n`);
    },
    clear() {
      if (stream.isTTY) stream.write('\r\x1b[K');
    },
  };
}
