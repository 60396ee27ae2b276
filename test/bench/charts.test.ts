import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Chart } from '../../bench/common/chart.mjs';
import type { Record } from '../../bench/common/record.mjs';
import { logScale, powersOfTen, roundRange, spreadApart, withoutCrowd } from '../../bench/report/axes.mjs';
import { chartLayout, chartSpec, labelsOf, wrapped } from '../../bench/report/chart-spec.mjs';
import { chooseDrawings, subjectName } from '../../bench/report/choose.mjs';
import { reportText } from '../../bench/report/main.mjs';
import { themes } from '../../bench/report/themes.mjs';
import { ttftCharts } from '../../bench/ttft/charts.mjs';
import { benchmarks } from '../../bench/benchmarks.mjs';

const paper = JSON.parse(readFileSync(new URL('../../bench/paper.json', import.meta.url), 'utf8'));

/** A run of `ttft`: full grows with the prompt, warm does not, cold is between. */
function ttftRecord({
  device = 'cpu avx2, 2 threads',
  model = 'm',
  date = '2026-03-01T12:00:00.000Z',
}): Record {
  const ttft = (median: number) => ({ median, min: 0.9 * median, max: 1.2 * median, count: 5 });
  const flops = (request: number) => ({
    paper: { request: 2 * request, full: 0 },
    executed: { request, full: 0 },
  });
  return {
    benchmark: 'ttft',
    date,
    commit: 'abc',
    machine: {
      cpu: 'Test CPU (R)',
      cores: 2,
      memoryBytes: 2 ** 34,
      platform: 'linux-x64',
      node: 'v20.17.0',
      loadBefore: 0,
      busy: false,
    },
    subject: { model, randomWeights: true, device, weightBytes: 1 },
    seed: 1,
    results: [50, 512, 1024].flatMap((promptTokens) =>
      [
        { mode: 'full', cost: promptTokens },
        { mode: 'cold', cost: 0.8 * promptTokens },
        { mode: 'warm', cost: 50 },
      ].map(({ mode, cost }) => ({
        promptTokens,
        mode,
        ttft: ttft(cost),
        parts: { tokenize: 0, queue: 0, encode: 0, step: cost, deliver: 0 },
        flops: flops(1e9 * cost),
      })),
    ),
  };
}

function chartNamed(name: string, record = ttftRecord({})): Chart {
  const chart = ttftCharts(record).find((one) => one.name === name);
  if (chart === undefined) throw new Error(`no chart ${name}`);
  return chart;
}

it('draws the medians of full, cold and warm requests beside the times of the paper', () => {
  const [ours, papers] = chartNamed('ttft').panels;
  expect(ours?.series.map(({ role }) => role)).toEqual(['full', 'cold', 'warm']);
  expect(ours?.series[1]?.points).toEqual(
    [50, 512, 1024].map((x) => ({ x, y: 0.8 * x, low: 0.9 * (0.8 * x), high: 1.2 * (0.8 * x) })),
  );
  expect(ours?.subtitle).toEqual([
    'm with random weights',
    'Test CPU (R), cpu avx2, 2 threads',
    '2026-03-01, commit abc',
  ]);
  const fromPaper = papers?.series.map(({ points }) => points.at(-1));
  expect(fromPaper).toEqual([
    { x: 32768, y: paper.rows.at(-1).ttftFull },
    { x: 32768, y: paper.rows.at(-1).ttftBlock },
  ]);
});

it('draws both counts of operations, the one of the paper dashed', () => {
  const [ours] = chartNamed('flops').panels;
  const at1K = ours?.series.map(({ role, dashed, points }) => [role, dashed === true, points.at(-1)?.y]);
  expect(at1K).toEqual([
    ['full', false, 1024e9],
    ['cold', false, 0.8 * 1024e9],
    ['warm', false, 50e9],
    ['full', true, 2 * 1024e9],
    ['warm', true, 2 * 50e9],
  ]);
});

it('says that a machine was busy, and names a GPU alone', () => {
  const record = ttftRecord({ device: 'cuda Some Card, linear by cuBLASLt 13.0' });
  const [ours] = chartNamed('ttft', { ...record, machine: { ...record.machine, busy: true } }).panels;
  expect(ours?.subtitle.slice(1)).toEqual([
    'cuda Some Card, linear by cuBLASLt 13.0',
    '2026-03-01, commit abc, on a busy machine',
  ]);
});

it('takes the latest record of each model on each hardware, whatever the order of the files', () => {
  const old = ttftRecord({ date: '2026-01-01T00:00:00.000Z' });
  const recent = ttftRecord({ date: '2026-02-01T00:00:00.000Z' });
  const other = ttftRecord({ model: 'n', date: '2025-01-01T00:00:00.000Z' });
  const load = { ...recent, benchmark: 'load' };
  for (const records of [
    [old, recent, other, load],
    [load, other, recent, old],
  ]) {
    const drawings = chooseDrawings(records, benchmarks);
    expect(new Set(drawings.map(({ record }) => record))).toEqual(new Set([recent, other]));
    expect(drawings.map(({ name }) => name).sort()).toEqual([
      'flops-m-test-cpu-r-cpu-avx2-2-threads',
      'flops-n-test-cpu-r-cpu-avx2-2-threads',
      'ttft-m-test-cpu-r-cpu-avx2-2-threads',
      'ttft-n-test-cpu-r-cpu-avx2-2-threads',
    ]);
  }
});

it('names files by the hardware that computed', () => {
  const device = 'cuda NVIDIA H100 80GB HBM3, linear by own GEMM (mma.sync)';
  expect(subjectName(ttftRecord({ device, model: 'Llama-3.2-1B' }))).toBe(
    'llama-3.2-1b-cuda-nvidia-h100-80gb-hbm3-linear-by-own-gemm-mma.sync',
  );
});

it('shows the charts of a record above its tables, and none without a folder to put them in', () => {
  const records = [ttftRecord({ date: '2026-01-01T00:00:00.000Z' }), ttftRecord({})];
  expect(reportText(records)).not.toContain('<picture>');
  const [old, recent] = reportText(records, chooseDrawings(records, benchmarks)).split('## ttft').slice(1);
  expect(old).not.toContain('<picture>');
  const sources = recent?.match(/[\w.-]+\.svg/g);
  expect(sources).toEqual(
    ['ttft', 'flops'].flatMap((name) =>
      ['dark', 'light'].map((page) => `${name}-m-test-cpu-r-cpu-avx2-2-threads-${page}.svg`),
    ),
  );
  expect(recent?.indexOf('<picture>')).toBeLessThan(recent?.indexOf('| prompt tokens') ?? 0);
});

const readme = new URL('../../README.md', import.meta.url);

it.skipIf(!existsSync(readme))('keeps the charts that README.md shows', () => {
  const shown = readFileSync(readme, 'utf8').match(/bench\/results\/charts\/[\w.-]+/g) ?? [];
  expect(shown.length).toBeGreaterThan(0);
  expect(shown.filter((file) => !existsSync(new URL(file, readme)))).toEqual([]);
});

it('gives both panels the same axes, with a name at every tick', () => {
  const spec = chartSpec(chartNamed('ttft'), themes.light);
  const [ours, papers] = spec.hconcat;
  const { x, y } = ours?.encoding ?? {};
  expect(papers?.encoding.x).toEqual(x);
  expect(papers?.encoding.y.scale).toEqual(y?.scale);
  expect(x?.axis.values).toEqual([50, 512, 1024, 2048, 4096, 8192, 16384, 32768]);
  expect(x?.axis.labelExpr).toContain('"32768":"32K"');
  // 26 ms of the paper, 1.2 x 3638 ms at most.
  expect(y?.scale).toMatchObject({ type: 'log', domain: [20, 5000] });
  expect(y?.axis.labelExpr).toBe('{"100":"100 ms","1000":"1 s"}[datum.value]');
});

it('draws for dark pages what it draws for light ones, in other colours', () => {
  const chart = chartNamed('flops');
  const colours = /#[0-9a-f]{6}/g;
  const [light, dark] = [themes.light, themes.dark].map((theme) => JSON.stringify(chartSpec(chart, theme)));
  expect(light?.replace(colours, '')).toBe(dark?.replace(colours, ''));
  const ofDark = new Set(dark?.match(colours));
  expect(light?.match(colours)?.filter((colour) => ofDark.has(colour))).toEqual([]);
});

it('has room above the panels for every line of their headings', () => {
  const chart = chartNamed('ttft');
  const longer = chart.panels.map((panel) => ({ ...panel, subtitle: [...panel.subtitle, 'one more'] }));
  const room = (of: Chart) => chartLayout(of).padding.top;
  expect(room({ ...chart, panels: longer })).toBeGreaterThan(room(chart));
  const texts = JSON.stringify(chartSpec(chart, themes.light).hconcat);
  for (const { title, subtitle } of chart.panels) {
    for (const line of [title, ...subtitle]) expect(texts).toContain(line);
  }
});

it('has colours of enough contrast to read labels in', () => {
  const luminance = (colour: string) => {
    const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
      const value = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const { background, text, muted, roles } of Object.values(themes)) {
    for (const colour of [text, muted, ...Object.values(roles)]) {
      const [low = 0, high = 0] = [luminance(colour), luminance(background)].sort((a, b) => a - b);
      // 4.5 to 1: WCAG 2.2, level AA.
      expect((high + 0.05) / (low + 0.05), `${colour} on ${background}`).toBeGreaterThan(4.5);
    }
  }
});

it('labels the ends of lines, and how many times less a warm request takes', () => {
  const [ours] = chartNamed('ttft').panels;
  const scale = logScale([10, 2000], 320);
  const labels = labelsOf(ours?.series ?? [], themes.light, scale);
  expect(labels.map(({ text }) => text)).toEqual([
    'full attention',
    'block, cold',
    'block, warm',
    '20× less',
  ]);
  const pixels = labels.map(({ y }) => scale.pixelOf(y)).sort((a, b) => a - b);
  pixels.slice(1).forEach((pixel, index) => {
    expect(pixel - (pixels[index] ?? 0)).toBeGreaterThan(16.99);
  });
});

it('cuts long lines at commas', () => {
  expect(wrapped('AMD EPYC, cpu avx512, 2 threads')).toEqual(['AMD EPYC, cpu avx512, 2 threads']);
  expect(wrapped('Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz, cpu avx512, 16 threads')).toEqual([
    'Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz',
    'cpu avx512, 16 threads',
  ]);
  expect(wrapped('')).toEqual(['']);
});

it('rounds the ends of a logarithmic axis outwards', () => {
  expect(roundRange([26, 14390])).toEqual([20, 20000]);
  expect(roundRange([0.0057, 0.4])).toEqual([0.005, 0.5]);
  expect(roundRange([1, 1])).toEqual([0.5, 2]);
  expect(roundRange([7.5e11, 4.9e14])).toEqual([5e11, 1e15]);
  for (const bad of [[0, 1], [-1], [Number.NaN], []]) expect(() => roundRange(bad)).toThrow(RangeError);
});

it('puts ticks at powers of ten, and leaves out what would overlap', () => {
  expect(powersOfTen([20, 20000])).toEqual([100, 1000, 10000]);
  expect(powersOfTen([0.001, 1])).toEqual([0.001, 0.01, 0.1, 1]);
  expect(withoutCrowd([1, 2, 30, 40, 61], (value) => value, 20)).toEqual([1, 30, 61]);
});

it('moves labels apart: all at their distance, in their order, about where they were', () => {
  expect(spreadApart([100, 0], 17)).toEqual([100, 0]);
  expect(spreadApart([50, 50], 10)).toEqual([45, 55]);
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 300, noNaN: true }), { maxLength: 6 }), (positions) => {
      const moved = spreadApart(positions, 17);
      const byPlace = positions.map((_, index) => index).sort((a, b) => (moved[a] ?? 0) - (moved[b] ?? 0));
      byPlace.slice(1).forEach((index, place) => {
        const before = byPlace[place] ?? 0;
        expect((moved[index] ?? 0) - (moved[before] ?? 0)).toBeGreaterThan(17 - 1e-6);
        expect(positions[index]).toBeGreaterThanOrEqual(positions[before] ?? 0);
      });
      const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
      expect(sum(moved)).toBeCloseTo(sum(positions), 6);
    }),
  );
});
