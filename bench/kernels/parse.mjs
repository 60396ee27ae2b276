// Reads what the native benchmarks print for people: lines "name: value", and tables of right-aligned numbers behind a
// name or a number of rows, under a line of headings.

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

/** @typedef {{ text: string, end: number }} Word and the place behind its last letter */

const NUMBER = /^-?\d+(\.\d+)?[%x]?$/;
const FEWEST_NUMBERS = 3;
/** With single spaces in it; two end it. */
const NAME = /^\s*\S+(?: \S+)*/;

/** @param {string} text @returns {ProgramOutput} */
export function parseOutput(text) {
  const lines = text.split('\n').map((line) => line.trimEnd());
  /** @type {Record<string, string>} */
  const facts = {};
  /** @type {ProgramTable[]} */
  const tables = [];
  /** @type {ProgramTable | undefined} */
  let open;
  for (const [index, line] of lines.entries()) {
    const next = lines[index + 1] ?? '';
    const fact = /^([^:]+): (.+)$/.exec(line);
    if (fact?.[1] !== undefined && fact[2] !== undefined) {
      facts[fact[1]] = fact[2];
    } else if (isRow(line)) {
      open?.rows.push(cellsOf(line, open.columns.length));
    } else if (isRow(next)) {
      open = { columns: headingsOf(line, next), rows: [] };
      tables.push(open);
    }
  }
  return { title: lines[0] ?? '', facts, tables };
}

/** @param {string} line */
function isRow(line) {
  return (
    !line.includes(': ') &&
    wordsBehindName(line).filter(({ text }) => NUMBER.test(text)).length >= FEWEST_NUMBERS
  );
}

/**
 * @param {string} line
 * @returns {Word[]} what stands behind the name
 */
function wordsBehindName(line) {
  const name = NAME.exec(line)?.[0] ?? '';
  return [...line.slice(name.length).matchAll(/\S+/g)].map((match) => ({
    text: match[0],
    end: name.length + match.index + match[0].length,
  }));
}

/**
 * A heading ends where its numbers end, and may have several words.
 *
 * @param {string} line of headings
 * @param {string} row the first below it
 * @returns {string[]}
 */
function headingsOf(line, row) {
  const ends = wordsBehindName(row)
    .filter(({ text }) => NUMBER.test(text))
    .map(({ end }) => end);
  const name = NAME.exec(row)?.[0] ?? '';
  /** @type {string[][]} */
  const headings = [[], ...ends.map(() => [])];
  for (const match of line.matchAll(/\S+/g)) {
    const end = match.index + match[0].length;
    const column = ends.findIndex((other) => other >= end);
    const place = end <= name.length ? 0 : 1 + (column === -1 ? ends.length - 1 : column);
    headings[place]?.push(match[0]);
  }
  return headings.map((words) => words.join(' '));
}

/**
 * The last cell takes what is left, e.g. a ratio and its median in brackets.
 *
 * @param {string} line
 * @param {number} count
 */
function cellsOf(line, count) {
  const name = NAME.exec(line)?.[0].trim() ?? '';
  const words = wordsBehindName(line).map(({ text }) => text);
  return [name, ...words.slice(0, count - 2), words.slice(count - 2).join(' ')];
}
