// `report FILE...`: files of results as Markdown.
import { benchmarks } from '../benchmarks.mjs';
import { UsageError } from '../common/arguments.mjs';
import { readRecords } from '../common/record.mjs';
import { recordText } from './record-text.mjs';

/**
 * @param {readonly string[]} files
 * @returns {string}
 */
export function report(files) {
  if (files.length === 0) throw new UsageError('report: name a file of results, e.g. bench/results/*.json');
  return files
    .flatMap(readRecords)
    .map((record) => {
      const benchmark = benchmarks.get(record.benchmark);
      if (benchmark === undefined) throw new UsageError(`There is no benchmark ${record.benchmark}.`);
      return recordText(record, benchmark);
    })
    .join('\n');
}
