// A report as a folder: its Markdown, and each chart as SVG and PNG for light and for dark pages.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SetupError } from '../../scripts/setup/process.mjs';
import { ensurePackagesOf } from '../../scripts/setup.mjs';
import { loadDrawing } from './draw.mjs';
import { themes } from './themes.mjs';

/** @import { Drawing } from './choose.mjs' */

/**
 * Draws first and writes then: what fails leaves no half of a report.
 *
 * @param {string} folder
 * @param {string} text
 * @param {readonly Drawing[]} drawings
 */
export async function writeFolder(folder, text, drawings) {
  /** @type {[string, string | Uint8Array][]} */
  const files = [['report.md', text]];
  if (drawings.length > 0) {
    const draw = await ensureDrawing();
    for (const { name, chart } of drawings) {
      for (const [page, theme] of Object.entries(themes)) {
        const { svg, png } = await draw(chart, theme);
        files.push([`${name}-${page}.svg`, svg], [`${name}-${page}.png`, png]);
      }
    }
  }
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of files) {
    writeFileSync(join(folder, name), content);
    process.stdout.write(`${join(folder, name)}\n`);
  }
}

async function ensureDrawing() {
  try {
    await ensurePackagesOf('bench/report/', 'what draws charts (40 MB, into bench/report/node_modules)');
    return await loadDrawing();
  } catch (error) {
    throw new SetupError(
      `Charts cannot be drawn: ${error instanceof Error ? error.message : error}\n` +
        'What draws them are npm packages apart (bench/report/package.json). Without --out the report is Markdown alone and needs none.',
    );
  }
}
