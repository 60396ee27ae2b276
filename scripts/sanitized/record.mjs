// Writes the last results into test/RESULTS.md, between two marks; a stage that was not run keeps its line.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { outputOf, root } from '../setup/process.mjs';

const FILE = `${root}test/RESULTS.md`;
const [BEGIN, END] = ['<!-- sanitized -->', '<!-- /sanitized -->'];

const HEAD = [
  '## With sanitizers',
  '',
  '`npm run test:sanitized -- --record` writes these lines. Mutated folders and fuzzers: see test/fuzz/README.md.',
  '',
  BEGIN,
  '| what | date | commit | seconds | outcome |',
  '| --- | --- | --- | ---: | --- |',
];

/** @param {readonly import('./stages.mjs').Outcome[]} outcomes */
export function record(outcomes) {
  const text = existsSync(FILE) ? readFileSync(FILE, 'utf8') : '# Results of the long forms\n';
  const [before = '', rest] = text.split(BEGIN);
  const [table = '', after = ''] = rest?.split(END) ?? [];
  const lines = new Map(
    table
      .split('\n')
      .slice(3)
      .filter((line) => line.startsWith('| '))
      .map((line) => [line.split(' | ')[0]?.slice(2) ?? '', line]),
  );
  const commit = outputOf('git', ['rev-parse', '--short', 'HEAD'])?.trim() ?? 'unknown';
  const date = new Date().toISOString().slice(0, 10);
  for (const { stage, ok, seconds, what } of outcomes) {
    const result = ok ? what : `FAILED: ${what}`;
    lines.set(stage, `| ${stage} | ${date} | ${commit} | ${seconds.toFixed(0)} | ${result} |`);
  }
  const start = rest === undefined ? `${before}\n${HEAD.slice(0, 4).join('\n')}\n` : before;
  const machine = `${process.arch} with ${availableParallelism()} cores`;
  writeFileSync(
    FILE,
    `${start}${HEAD.slice(4).join('\n')}\n${[...lines.values()].join('\n')}\n\nOn ${machine}.\n${END}${after === '' ? '\n' : after}`,
  );
}
