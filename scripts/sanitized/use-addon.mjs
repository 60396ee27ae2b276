// Imported into Node before a program: the package then gets the addon that BLOCK_ATTENTION_SANITIZED_ADDON names, in
// place of the one that `bindings` would find.
import { createRequire, Module } from 'node:module';

const require = createRequire(import.meta.url);
const addon = process.env.BLOCK_ATTENTION_SANITIZED_ADDON;
if (addon === undefined) throw new Error('BLOCK_ATTENTION_SANITIZED_ADDON is not set.');
const path = require.resolve('bindings');
const bindings = new Module(path);
bindings.exports = () => require(addon);
bindings.loaded = true;
require.cache[path] = /** @type {NodeJS.Module} */ (bindings);
