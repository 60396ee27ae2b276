// A chart on a Markdown page: the dark picture where the reader's page is dark.

/** @import { Drawing } from './choose.mjs' */

/**
 * @param {Drawing} drawing
 * @returns {string}
 */
export const pictureText = ({ name, chart }) =>
  [
    '<picture>',
    `  <source media="(prefers-color-scheme: dark)" srcset="${name}-dark.svg">`,
    `  <img alt="${chart.description}" src="${name}-light.svg">`,
    '</picture>',
  ].join('\n');
