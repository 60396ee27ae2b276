import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { UsageError } from '../../bench/common/arguments.mjs';
import { addRecord, isBusy, readRecords } from '../../bench/common/record.mjs';
import { reportText, writeReport } from '../../bench/report/main.mjs';

const folder = mkdtempSync(join(tmpdir(), 'block-attention-records-'));
afterAll(() => rmSync(folder, { recursive: true }));

const record = {
  benchmark: 'event-loop',
  date: '2026-03-01T12:00:00.000Z',
  commit: 'abc',
  machine: {
    cpu: 'Test CPU',
    cores: 2,
    memoryBytes: 2 ** 34,
    platform: 'linux-x64',
    node: 'v20.17.0',
    loadBefore: 6,
    busy: true,
  },
  subject: { model: 'm', randomWeights: true, device: 'cpu', weightBytes: 1 },
  seed: 1,
  results: { streams: 8, rows: [{ host: 'waiting', freeRate: 100, ratios: [0.98, 1, 0.96] }] },
};

it('adds records to a file and reports them', () => {
  const file = join(folder, 'results.json');
  addRecord(file, record);
  addRecord(file, { ...record, machine: { ...record.machine, busy: false } });
  expect(readRecords(file)).toHaveLength(2);
  const [busy, quiet] = reportText(readRecords(file)).split('## event-loop').slice(1);
  expect(busy).toContain('Measured on a busy machine');
  expect(quiet).not.toContain('busy machine');
  expect(quiet).toMatch(/\| waiting \| +100 \| +98\.0 \| +2\.0% \| +0\.0% \| +4\.0% \|/);
});

it('says nothing of a busy machine where no time was taken', () => {
  const quality = { ...record, benchmark: 'quality', results: { cases: [] } };
  expect(reportText([quality])).not.toContain('busy');
});

it('refuses files that hold no results, and to report nothing', async () => {
  const file = join(folder, 'other.json');
  writeFileSync(file, '{}');
  expect(() => readRecords(file)).toThrow(UsageError);
  writeFileSync(file, '[');
  expect(() => readRecords(file)).toThrow(UsageError);
  expect(() => readRecords(join(folder, 'missing.json'))).toThrow(UsageError);
  await expect(writeReport([], undefined)).rejects.toThrow(UsageError);
});

it('calls a machine busy above five quarters of its cores', () => {
  expect(isBusy(2.4, 2)).toBe(false);
  expect(isBusy(2.6, 2)).toBe(true);
});
