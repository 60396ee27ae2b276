import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The numbers in each line that an example prints. */
async function numbersOf(example: string): Promise<number[][]> {
  const { stdout } = await promisify(execFile)(process.execPath, [`examples/${example}`], { cwd: root });
  return stdout
    .trim()
    .split('\n')
    .map((line) => (line.match(/\d+(?:\.\d+)?/g) ?? []).map(Number));
}

it('runs the study of the time to first token', async () => {
  const rows = await numbersOf('ttft.mjs');
  expect(rows).toHaveLength(3);
  for (const row of rows) {
    expect(row).toHaveLength(4);
    for (const value of row) expect(value).toBeGreaterThan(0);
  }
  // 16 documents, each computed in full attention and none when warm: no noise is that large.
  const [tokens = 0, full = 0, , warm = 0] = rows[2] ?? [];
  expect(tokens).toBeGreaterThan(1000);
  expect(warm).toBeLessThan(full);
});

it('runs the study of operations', async () => {
  const rows = await numbersOf('flops.mjs');
  expect(rows).toHaveLength(3);
  for (const [, full = 0, block = 0, saved = 0] of rows) {
    expect(saved).toBeCloseTo(100 * (1 - block / full), 0);
  }
  const saved = rows.map((row) => row[3] ?? 0);
  expect(saved).toEqual(saved.toSorted((a, b) => a - b));
  expect(saved[0]).toBeGreaterThan(80);
});
