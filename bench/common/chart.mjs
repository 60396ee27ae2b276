// A chart as data: lines over prompt length on logarithmic axes, in one or more panels that share both axes.

/**
 * @typedef {object} Point
 * @property {number} x
 * @property {number} y
 * @property {number} [low] end of its error bar
 * @property {number} [high]
 */

/**
 * @typedef {object} Series
 * @property {string} label stands at the end of its line
 * @property {Role} role gives colour and shape
 * @property {boolean} [dashed] another count of the same role
 * @property {readonly Point[]} points by x
 */

/**
 * What a line is of: ordinary attention, or block attention with nothing or everything cached.
 *
 * @typedef {'full' | 'cold' | 'warm'} Role
 */

/**
 * @typedef {object} Panel
 * @property {string} title
 * @property {readonly string[]} subtitle lines
 * @property {boolean} quoted whether the figures are somebody else's: its points are hollow
 * @property {readonly Series[]} series
 */

/**
 * @typedef {object} Chart
 * @property {string} name begins its file's name
 * @property {string} title
 * @property {readonly string[]} subtitle lines
 * @property {string} description for those who cannot see it
 * @property {(x: number) => string} formatX
 * @property {(y: number) => string} formatY with its unit
 * @property {string} xTitle
 * @property {readonly Panel[]} panels
 */

export {};
