// The figures of the paper.
import { readFileSync } from 'node:fs';

/**
 * @typedef {object} PaperRow
 * @property {number} promptTokens
 * @property {number} ttftFull ms
 * @property {number} ttftBlock
 * @property {number} flopsFull
 * @property {number} flopsBlock
 */

/** @type {{ source: string, name: string, model: string, rows: PaperRow[] }} */
export const paper = JSON.parse(readFileSync(new URL('../paper.json', import.meta.url), 'utf8'));
