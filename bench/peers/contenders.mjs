// Who takes part: the engines, and for which types of weights each of them has a contender.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Contender } from './contender.mjs';
import { checkHeldLlama, checkHeldOurs, copyHeldLlama } from './held.mjs';

/** @import { WeightType } from './gguf-model.mjs' */
/** @import { HeldIsa } from './held.mjs' */
/** @import { OpenOptions } from './serve.mjs' */

const run = promisify(execFile);
/** @param {string} name */
const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url));

const LLAMA_FOLDER = pathOf('node-llama-cpp');
/** @param {HeldIsa} isa */
const heldModules = (isa) => `${LLAMA_FOLDER}/.cache/${isa}/node_modules`;

/**
 * @typedef {object} EngineSpec
 * @property {string} name
 * @property {'folder' | 'gguf'} model what it loads
 * @property {Partial<Record<WeightType, string>>} weights its own name of each type of weights that it has
 * @property {readonly Partial<OpenOptions>[]} settings of which the faster is taken
 * @property {boolean} severalStreams whether it decodes several answers at once
 * @property {(isa?: HeldIsa) => Promise<void>} prepare rejects with the reason why it cannot take part
 * @property {(isa?: HeldIsa) => Contender} start held to `isa`, for which it was prepared
 * @property {(facts: Record<string, unknown>, isa: HeldIsa) => void} checkHeld throws unless an open model is held to it
 */

/** @type {EngineSpec} */
export const OURS = {
  name: 'block-attention',
  model: 'folder',
  weights: { bf16: 'bf16', int8: 'int8' },
  settings: [{}],
  severalStreams: true,
  prepare: async () => undefined,
  start: (isa) =>
    new Contender(
      process.execPath,
      [pathOf('block-attention.mjs')],
      isa === undefined ? {} : { BLOCK_ATTENTION_ISA: isa },
    ),
  checkHeld: checkHeldOurs,
};

/** @type {readonly EngineSpec[]} */
export const PEERS = [
  {
    name: 'node-llama-cpp',
    model: 'gguf',
    weights: { bf16: 'BF16', int8: 'Q8_0' },
    settings: [{ flashAttention: true }, { flashAttention: false }],
    severalStreams: true,
    async prepare(isa) {
      await installNodeLlamaCpp();
      if (isa !== undefined) await copyHeldLlama(`${LLAMA_FOLDER}/node_modules`, heldModules(isa), isa);
    },
    start: (isa) =>
      new Contender(process.execPath, [
        `${LLAMA_FOLDER}/main.mjs`,
        isa === undefined ? `${LLAMA_FOLDER}/node_modules` : heldModules(isa),
      ]),
    checkHeld: checkHeldLlama,
  },
  {
    name: 'transformers',
    model: 'folder',
    weights: { bf16: 'bfloat16' },
    settings: [{}],
    severalStreams: false,
    async prepare(isa) {
      if (isa !== undefined) throw new Error(`no way is known to hold it to ${isa}, and to see that it is`);
      try {
        await run('python3', ['-c', 'import torch, transformers']);
      } catch {
        throw new Error('python3 -c "import torch, transformers" fails (see transformers/requirements.txt)');
      }
    },
    start: () => new Contender('python3', [pathOf('transformers/main.py')]),
    checkHeld() {
      throw new Error('transformers is held to no instruction set');
    },
  },
];

/** Asks npm once; what is installed stays. No script of a package runs, so nothing is downloaded past the registry. */
async function installNodeLlamaCpp() {
  const folder = LLAMA_FOLDER;
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
