import { expect, it } from 'vitest';
import { duration, number, percent, spread, tokenCount, withPrefix } from '../../bench/common/format.mjs';
import { timeLeft } from '../../bench/common/progress.mjs';
import { renderTable } from '../../bench/common/table.mjs';

it('writes three significant digits', () => {
  expect([0, 0.0123, 1.234, 9.996, 12.34, 1234.5].map(number)).toEqual([
    '0',
    '0.0123',
    '1.23',
    '10.0',
    '12.3',
    '1235',
  ]);
});

it('writes large numbers with a prefix', () => {
  expect([950, 7.5e11, 1.2e14, 999_700].map(withPrefix)).toEqual(['950', '750 G', '120 T', '1.00 M']);
});

it('writes shares, lengths and durations', () => {
  expect(percent(0.9876)).toBe('98.8%');
  expect([50, 512, 1024, 32_768, 1500].map(tokenCount)).toEqual(['50', '512', '1K', '32K', '1500']);
  expect([5, 180, 7200].map(duration)).toEqual(['5 s', '3 min', '2.0 h']);
});

it('writes the spread only where there is one', () => {
  expect(spread({ median: 2, min: 1, max: 3, count: 3 })).toBe('2.00 (1.00–3.00)');
  expect(spread({ median: 2, min: 2, max: 2, count: 1 })).toBe('2.00');
});

it('tells the time that is left', () => {
  expect(timeLeft(0, 10, 5)).toBeUndefined();
  expect(timeLeft(2, 10, 5)).toBe(20);
  expect(timeLeft(12, 10, 5)).toBe(0);
});

it('renders a table of even width', () => {
  const text = renderTable({ title: 'T', columns: ['name', 'x'], rows: [['a', '1.00']], notes: ['n'] });
  expect(text).toBe(
    ['### T', '', '| name |    x |', '| ---- | ---: |', '| a    | 1.00 |', '', 'n'].join('\n'),
  );
});
