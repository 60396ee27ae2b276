// Reads what the native benchmarks print for people: lines "name: value", and tables with a line of headings (two or
// more spaces between them) over rows that begin with a number.

/**
 * @typedef {object} ProgramTable
 * @property {string[]} columns
 * @property {string[][]} rows
 */

/**
 * @typedef {object} ProgramOutput
 * @property {string} title the first line
 * @property {Record<string, string>} facts
 * @property {ProgramTable[]} tables
 */

const NUMBER = /^-?\d+(\.\d+)?[%x]?$/;

/** @param {string} text @returns {ProgramOutput} */
export function parseOutput(text) {
  const lines = text.split('\n').map((line) => line.trim());
  /** @type {Record<string, string>} */
  const facts = {};
  /** @type {ProgramTable[]} */
  const tables = [];
  /** @type {ProgramTable | undefined} */
  let open;
  for (const [index, line] of lines.entries()) {
    if (startsWithNumber(line)) {
      open?.rows.push(cellsOf(line, open.columns.length));
      continue;
    }
    open = undefined;
    const fact = /^([^:]+): (.+)$/.exec(line);
    if (startsWithNumber(lines[index + 1] ?? '')) {
      open = { columns: line.split(/\s{2,}/), rows: [] };
      tables.push(open);
    } else if (fact?.[1] !== undefined && fact[2] !== undefined) {
      facts[fact[1]] = fact[2];
    }
  }
  return { title: lines[0] ?? '', facts, tables };
}

/** @param {string} line */
const startsWithNumber = (line) => NUMBER.test(line.split(/\s+/)[0] ?? '');

/**
 * The last cell takes what is left, e.g. a ratio and its median in brackets.
 *
 * @param {string} line
 * @param {number} count
 */
function cellsOf(line, count) {
  const words = line.split(/\s+/);
  return [...words.slice(0, count - 1), words.slice(count - 1).join(' ')];
}
