// A chart as SVG and PNG. The packages that draw are installed apart (package.json in this folder), so they are imported
// when they are needed, by names that the type checker need not resolve.
import { createRequire } from 'node:module';
import { chartLayout, chartSpec, FONT } from './chart-spec.mjs';

/** @import { Chart } from '../common/chart.mjs' */
/** @import { Theme } from './themes.mjs' */

/** Pixels of the PNG for one of the SVG. */
const PNG_SCALE = 2;
const WEIGHTS = ['400Regular', '600SemiBold'];

/**
 * @typedef {object} Pictures
 * @property {string} svg
 * @property {Uint8Array} png
 */

/** @returns {Promise<(chart: Chart, theme: Theme) => Promise<Pictures>>} */
export async function loadDrawing() {
  const require = createRequire(import.meta.url);
  const names = ['vega', 'vega-lite', '@resvg/resvg-js'];
  const [vega, vegaLite, { Resvg }] = await Promise.all(names.map((name) => import(name)));
  // The PNG's font is among the packages: the machine need not have any.
  const fontFiles = WEIGHTS.map((weight) =>
    require.resolve(`@expo-google-fonts/inter/${weight}/Inter_${weight}.ttf`),
  );
  return async (chart, theme) => {
    const { spec } = vegaLite.compile(chartSpec(chart, theme));
    const view = new vega.View(vega.parse({ ...spec, ...chartLayout(chart) }), { renderer: 'none' });
    const svg = await view.toSVG();
    view.finalize();
    const font = { loadSystemFonts: false, fontFiles, defaultFontFamily: FONT };
    const png = new Resvg(svg, { font, fitTo: { mode: 'zoom', value: PNG_SCALE } }).render().asPng();
    return { svg: `${svg}\n`, png };
  };
}
