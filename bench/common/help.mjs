// The help text: all benchmarks and their options.
import { COMMON_OPTIONS } from './arguments.mjs';

/** @import { Benchmark } from './benchmark.mjs' */

/**
 * @param {ReadonlyMap<string, Benchmark>} benchmarks
 * @param {Record<string, { help: string }>} reportOptions
 * @returns {string}
 */
export function helpText(benchmarks, reportOptions) {
  /**
   * @param {Record<string, { help: string }>} options
   * @param {string} indent
   */
  const list = (options, indent) =>
    Object.entries(options).map(
      ([name, { help }]) => `${indent}--${name.padEnd(16 - indent.length)} ${help}`,
    );
  return [
    'npm run bench -- <name> [options]',
    'npm run bench -- --short          all of them, a few seconds each, on the tiny model',
    '',
    'Names:',
    ...[...benchmarks].flatMap(([name, { summary, options }]) => [
      `  ${name.padEnd(16)} ${summary}`,
      ...list(options, '    '),
    ]),
    '  report FILE...    files of results (--json) as Markdown tables',
    ...list(reportOptions, '    '),
    '',
    'Options:',
    ...list(COMMON_OPTIONS, '  '),
    '',
  ].join('\n');
}
