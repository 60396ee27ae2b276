// `report FILE...`: files of results as Markdown; with `--out DIR` as a folder of Markdown and charts.
import { benchmarks } from '../benchmarks.mjs';
import { UsageError } from '../common/arguments.mjs';
import { chooseDrawings } from './choose.mjs';
import { pictureText } from './picture.mjs';
import { recordText } from './record-text.mjs';
import { writeFolder } from './write-folder.mjs';

/** @import { Record } from '../common/record.mjs' */
/** @import { Drawing } from './choose.mjs' */

/** @satisfies {{ [name: string]: { type: 'string', help: string } }} */
export const reportOptions = {
  out: {
    type: /** @type {const} */ ('string'),
    help: 'DIR: into DIR/report.md, with charts; what draws them (bench/report) is installed the first time',
  },
};

/**
 * @param {readonly Record[]} records
 * @param {string | undefined} out a folder for it, with charts; the terminal if there is none
 */
export async function writeReport(records, out) {
  if (records.length === 0) throw new UsageError('report: name a file of results, e.g. bench/results/*.json');
  if (out === undefined) {
    process.stdout.write(reportText(records));
    return;
  }
  const drawings = chooseDrawings(records, benchmarks);
  await writeFolder(out, reportText(records, drawings), drawings);
}

/**
 * @param {readonly Record[]} records
 * @param {readonly Drawing[]} [drawings]
 * @returns {string}
 */
export function reportText(records, drawings = []) {
  return records
    .map((record) => {
      const benchmark = benchmarks.get(record.benchmark);
      if (benchmark === undefined) throw new UsageError(`There is no benchmark ${record.benchmark}.`);
      return recordText(record, benchmark, drawings.filter((one) => one.record === record).map(pictureText));
    })
    .join('\n');
}
