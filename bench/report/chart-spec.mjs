// A chart in the language of Vega-Lite.
import { logScale, powersOfTen, roundRange, spreadApart, withoutCrowd } from './axes.mjs';
import { shapes } from './themes.mjs';

/** @import { Chart, Panel, Series } from '../common/chart.mjs' */
/** @import { Theme } from './themes.mjs' */

export const FONT = 'Inter';
/** Where there is no Inter, as in a browser that shows the SVG, the system's own font. */
const FONTS = `${FONT}, system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif`;

/** Pixels at the width at which a README shows it. */
const PANEL = { width: 275, height: 320 };
const SPACING = 142;
const PADDING = { left: 88, right: 116, top: 10, bottom: 56 };
const TEXT_SIZE = 13;
/** Most letters of TEXT_SIZE above a panel, also in a wide font. */
const LINE_LENGTH = 52;
const TICK_LABEL_SIZE = 12;
const TICK_LABEL_WIDTH = 27;
const LABEL_HEIGHT = 17;
/** Areas that look alike. */
const POINT_SIZES = { full: 75, cold: 70, warm: 85 };

/**
 * Where everything is, and so how large the picture is, is said here, not found by measuring text: it is the same with
 * every font.
 *
 * @param {Chart} chart
 */
export function chartLayout(chart) {
  const { panels } = chart;
  return {
    width: panels.length * PANEL.width + (panels.length - 1) * SPACING,
    height: PANEL.height,
    padding: { ...PADDING, top: PADDING.top + headingsOf(chart).height },
    autosize: 'none',
  };
}

/**
 * @param {Chart} chart
 * @param {Theme} theme
 */
export function chartSpec(chart, theme) {
  const axes = axesOf(chart);
  const headings = headingsOf(chart);
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    description: chart.description,
    background: theme.background,
    spacing: SPACING,
    bounds: 'flush',
    hconcat: chart.panels.map((panel, index) =>
      panelSpec(panel, theme, axes, {
        first: index === 0,
        heading: [...(index === 0 ? headings.chart : []), ...(headings.panels[index] ?? [])],
      }),
    ),
    resolve: { scale: { x: 'shared', y: 'shared' } },
    config: configOf(theme),
  };
}

/** @typedef {ReturnType<typeof axesOf>} Axes */

/** @param {Chart} chart */
function axesOf({ panels, formatX, formatY, xTitle }) {
  const points = panels.flatMap(({ series }) => series).flatMap((one) => one.points);
  const xs = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b);
  const [least = 1, greatest = least] = [xs[0], xs.at(-1)];
  // One length alone has no range of its own.
  const xRange = /** @type {[number, number]} */ ([least / 1.15, Math.max(greatest, 2 * least) * 1.15]);
  const yRange = roundRange(points.flatMap(({ y, low = y, high = y }) => [low, high]));
  const x = logScale(xRange, PANEL.width);
  return {
    xRange,
    yRange,
    y: logScale(yRange, PANEL.height),
    xTicks: withoutCrowd(xs, x.pixelOf, TICK_LABEL_WIDTH),
    yTicks: powersOfTen(yRange),
    xTitle,
    formatX,
    formatY,
  };
}

/**
 * A text in lines that a panel has room for, cut at its commas.
 *
 * @param {string} text
 * @returns {string[]}
 */
export function wrapped(text) {
  /** @type {string[]} */
  const lines = [];
  for (const part of text.split(', ')) {
    const longer = lines.length === 0 ? part : `${lines.at(-1)}, ${part}`;
    if (lines.length > 0 && longer.length > LINE_LENGTH) lines.push(part);
    else lines.splice(-1, 1, longer);
  }
  return lines;
}

/**
 * A line of text above a panel.
 *
 * @typedef {object} Heading
 * @property {string} text
 * @property {number} y of its baseline; the panel begins at 0
 * @property {number} size
 * @property {boolean} strong
 */

/**
 * @param {Chart} chart
 * @returns {{ height: number, chart: Heading[], panels: Heading[][] }}
 */
function headingsOf({ title, subtitle, panels }) {
  let below = 0;
  /** @type {(height: number, text: string, style: { size: number, strong: boolean }) => Heading} */
  const line = (height, text, style) => {
    below += height;
    return { text, y: below, ...style };
  };
  const plain = { size: TEXT_SIZE, strong: false };
  const ofChart = [
    line(18, title, { size: 18, strong: true }),
    ...subtitle.map((text, index) => line(index === 0 ? 24 : 18, text, plain)),
  ];
  const begin = below + 32;
  let lowest = begin;
  const ofPanels = panels.map((panel) => {
    below = begin;
    const lines = [
      line(0, panel.title, { size: 14, strong: true }),
      ...panel.subtitle.flatMap(wrapped).map((text) => line(18, text, plain)),
    ];
    lowest = Math.max(lowest, below);
    return lines;
  });
  const height = lowest + 24;
  /** @param {Heading} heading */
  const abovePanel = (heading) => ({ ...heading, y: heading.y - height });
  return { height, chart: ofChart.map(abovePanel), panels: ofPanels.map((lines) => lines.map(abovePanel)) };
}

/**
 * @param {Panel} panel
 * @param {Theme} theme
 * @param {Axes} axes
 * @param {{ first: boolean, heading: readonly Heading[] }} place the first panel has the y axis's labels
 */
function panelSpec({ quoted, series }, theme, axes, { first, heading }) {
  const x = {
    field: 'x',
    type: 'quantitative',
    scale: { type: 'log', base: 2, domain: axes.xRange, nice: false },
    axis: { values: axes.xTicks, labelExpr: namesOf(axes.xTicks, axes.formatX), title: axes.xTitle },
  };
  const y = {
    field: 'y',
    type: 'quantitative',
    scale: { type: 'log', domain: axes.yRange, nice: false },
    axis: {
      values: axes.yTicks,
      labelExpr: namesOf(axes.yTicks, axes.formatY),
      labels: first,
      title: null,
    },
  };
  return {
    ...PANEL,
    encoding: { x, y },
    layer: [
      ...advantageLayers(series, theme),
      // Layer by layer, so that no line or bar crosses another one's points.
      ...series.flatMap((one) => barLayers(one, theme)),
      ...series.map((one) => lineLayer(one, theme)),
      ...series.filter(({ dashed }) => !dashed).map((one) => pointLayer(one, theme, quoted)),
      ...labelLayers(labelsOf(series, theme, axes.y)),
      ...heading.map((line) => headingLayer(line, theme)),
    ],
  };
}

/**
 * @param {readonly number[]} ticks
 * @param {(value: number) => string} format
 * @returns {string} an expression of Vega's that gives a tick's text
 */
const namesOf = (ticks, format) =>
  `${JSON.stringify(Object.fromEntries(ticks.map((tick) => [tick, format(tick)])))}[datum.value]`;

/**
 * @param {Series} series
 * @param {Theme} theme
 */
function barLayers({ role, points }, theme) {
  const values = points.filter(({ low, high }) => low !== undefined && high !== undefined);
  if (values.length === 0) return [];
  return [
    {
      data: { values },
      mark: { type: 'rule', color: theme.roles[role], strokeWidth: 1.5, opacity: 0.5 },
      encoding: { y: { field: 'low', type: 'quantitative' }, y2: { field: 'high' } },
    },
  ];
}

/**
 * @param {Series} series
 * @param {Theme} theme
 */
function lineLayer({ role, dashed = false, points }, theme) {
  const stroke = dashed ? { strokeWidth: 1.5, strokeDash: [4, 4] } : { strokeWidth: 2.25 };
  return { data: { values: points }, mark: { type: 'line', color: theme.roles[role], ...stroke } };
}

/**
 * @param {Series} series
 * @param {Theme} theme
 * @param {boolean} hollow
 */
function pointLayer({ role, points }, theme, hollow) {
  const color = theme.roles[role];
  const paint = hollow
    ? { strokeWidth: 2, stroke: color, fill: theme.background }
    : { strokeWidth: 1, stroke: theme.background, fill: color };
  return {
    data: { values: points },
    mark: { type: 'point', shape: shapes[role], size: POINT_SIZES[role], opacity: 1, ...paint },
  };
}

/**
 * How many times less a warm request takes than full attention, at the greatest length of both.
 *
 * @param {readonly Series[]} series
 */
function advantageOf(series) {
  /** @param {'full' | 'warm'} role */
  const last = (role) => series.find((one) => one.role === role && !one.dashed)?.points.at(-1);
  const [full, warm] = [last('full'), last('warm')];
  if (full === undefined || warm === undefined || full.x !== warm.x) return undefined;
  return { x: full.x, from: warm.y, to: full.y, ratio: full.y / warm.y };
}

/**
 * @param {readonly Series[]} series
 * @param {Theme} theme
 */
function advantageLayers(series, theme) {
  const advantage = advantageOf(series);
  if (advantage === undefined) return [];
  return [
    {
      data: { values: [advantage] },
      mark: { type: 'rule', color: theme.muted, strokeDash: [1, 3], strokeCap: 'round', strokeWidth: 1.5 },
      encoding: { y: { field: 'from', type: 'quantitative' }, y2: { field: 'to' } },
    },
  ];
}

/**
 * The labels at the ends of the lines, moved apart where they would overlap.
 *
 * @param {readonly Series[]} series
 * @param {Theme} theme
 * @param {Axes['y']} y
 */
export function labelsOf(series, theme, y) {
  const wanted = series.flatMap(({ label, role, dashed = false, points }) => {
    const end = points.at(-1);
    return end === undefined ? [] : [{ ...end, text: label, color: theme.roles[role], bold: !dashed }];
  });
  const advantage = advantageOf(series);
  if (advantage !== undefined) {
    const { x, from, to, ratio } = advantage;
    const text = `${ratio < 9.95 ? ratio.toFixed(1) : Math.round(ratio)}× less`;
    wanted.push({ x, y: Math.sqrt(from * to), text, color: theme.muted, bold: false });
  }
  const pixels = spreadApart(
    wanted.map((label) => y.pixelOf(label.y)),
    LABEL_HEIGHT,
  );
  return wanted.map(({ x, text, color, bold }, index) => ({
    x,
    y: y.valueAt(pixels[index] ?? 0),
    text,
    color,
    bold,
  }));
}

/** @param {ReturnType<typeof labelsOf>} labels */
function labelLayers(labels) {
  return labels.map(({ x, y, text, color, bold }) => ({
    data: { values: [{ x, y }] },
    mark: {
      type: 'text',
      text,
      color,
      fontWeight: bold ? 600 : 400,
      fontSize: TEXT_SIZE,
      align: 'left',
      baseline: 'middle',
      dx: 11,
    },
  }));
}

/**
 * @param {Heading} heading
 * @param {Theme} theme
 */
function headingLayer({ text, y, size, strong }, theme) {
  return {
    data: { values: [{}] },
    mark: {
      type: 'text',
      text,
      color: strong ? theme.text : theme.muted,
      fontSize: size,
      fontWeight: strong ? 600 : 400,
      align: 'left',
      baseline: 'alphabetic',
    },
    encoding: { x: { value: 0 }, y: { value: y } },
  };
}

/** @param {Theme} theme */
function configOf({ muted, grid }) {
  const lettering = {
    labelFont: FONTS,
    titleFont: FONTS,
    labelFontSize: TICK_LABEL_SIZE,
    titleFontSize: TEXT_SIZE,
  };
  return {
    font: FONTS,
    view: { stroke: null },
    axis: {
      ...lettering,
      labelColor: muted,
      titleColor: muted,
      titleFontWeight: 400,
      gridColor: grid,
      domain: false,
      ticks: false,
      labelPadding: 8,
      titlePadding: 10,
      // What stands at an axis has room: `axesOf` sees to it.
      labelOverlap: false,
      labelBound: false,
      labelFlush: false,
    },
    axisX: {
      grid: false,
      domain: true,
      domainColor: grid,
      ticks: true,
      tickColor: grid,
      tickSize: 5,
      labelPadding: 4,
    },
  };
}
