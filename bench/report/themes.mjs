// Colours on a light and on a dark page. Orange against two blues of different lightness: told apart by every common kind of
// colour vision, and by shape and a label as well.

/** @import { Role } from '../common/chart.mjs' */

/**
 * @typedef {object} Theme
 * @property {string} background
 * @property {string} text
 * @property {string} muted second-rank text
 * @property {string} grid
 * @property {Record<Role, string>} roles
 */

/** @type {Record<'light' | 'dark', Theme>} */
export const themes = {
  light: {
    background: '#ffffff',
    text: '#1f2328',
    muted: '#59636e',
    grid: '#dfe3e8',
    roles: { full: '#c2500a', cold: '#2778ba', warm: '#052f63' },
  },
  dark: {
    background: '#0d1117',
    text: '#e6edf3',
    muted: '#9198a1',
    grid: '#2a313a',
    roles: { full: '#f0883e', cold: '#3f82c8', warm: '#a3d3ff' },
  },
};

/** @type {Record<Role, string>} names of Vega's point shapes */
export const shapes = { full: 'circle', cold: 'square', warm: 'triangle-up' };
