// Who takes part: the engines, and for which types of weights each of them has a contender.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Contender } from './contender.mjs';

/** @import { WeightType } from './gguf-model.mjs' */
/** @import { OpenOptions } from './serve.mjs' */

const run = promisify(execFile);
/** @param {string} name */
const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url));

/**
 * @typedef {object} EngineSpec
 * @property {string} name
 * @property {'folder' | 'gguf'} model what it loads
 * @property {Partial<Record<WeightType, string>>} weights its own name of each type of weights that it has
 * @property {readonly Partial<OpenOptions>[]} settings of which the faster is taken
 * @property {boolean} severalStreams whether it decodes several answers at once
 * @property {() => Promise<void>} prepare rejects with the reason why it cannot take part
 * @property {() => Contender} start
 */

/** @type {EngineSpec} */
export const OURS = {
  name: 'block-attention',
  model: 'folder',
  weights: { bf16: 'bf16', int8: 'int8' },
  settings: [{}],
  severalStreams: true,
  prepare: async () => undefined,
  start: () => new Contender(process.execPath, [pathOf('block-attention.mjs')]),
};

/** @type {readonly EngineSpec[]} */
export const PEERS = [
  {
    name: 'node-llama-cpp',
    model: 'gguf',
    weights: { bf16: 'BF16', int8: 'Q8_0' },
    settings: [{ flashAttention: true }, { flashAttention: false }],
    severalStreams: true,
    prepare: installNodeLlamaCpp,
    start: () => new Contender(process.execPath, [pathOf('node-llama-cpp/main.mjs')]),
  },
  {
    name: 'transformers',
    model: 'folder',
    weights: { bf16: 'bfloat16' },
    settings: [{}],
    severalStreams: false,
    async prepare() {
      try {
        await run('python3', ['-c', 'import torch, transformers']);
      } catch {
        throw new Error('python3 -c "import torch, transformers" fails (see transformers/requirements.txt)');
      }
    },
    start: () => new Contender('python3', [pathOf('transformers/main.py')]),
  },
];

/** Asks npm once; what is installed stays. No script of a package runs, so nothing is downloaded past the registry. */
async function installNodeLlamaCpp() {
  const folder = pathOf('node-llama-cpp');
  const { dependencies } = JSON.parse(await readFile(`${folder}/package.json`, 'utf8'));
  if (dependencies['node-llama-cpp'] === (await installedVersion(folder, 'node-llama-cpp'))) return;
  process.stderr.write(
    `[peers] npm ci --ignore-scripts in ${folder}: node-llama-cpp with its prebuilt binaries, about 100 MB\n`,
  );
  try {
    await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder });
  } catch (error) {
    throw new Error(`npm ci failed: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * @param {string} folder
 * @param {string} name
 * @returns {Promise<string | undefined>}
 */
async function installedVersion(folder, name) {
  try {
    return JSON.parse(await readFile(`${folder}/node_modules/${name}/package.json`, 'utf8')).version;
  } catch {
    return undefined;
  }
}
