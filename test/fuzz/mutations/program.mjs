// Loads one mutated folder after another, and draws a token where one loads. Whatever does not end in a
// BlockAttentionError, or in one that says that this package has a defect, is a finding. Arguments: the first seed, how
// many seeds, a file that always holds the seed under way (a process that crashes cannot say it), and after how many ms
// to stop.
//
// Reports JSON on stdout: { done: how many, outcomes: { <what>: count }, findings: [{ seed, base, steps, what }] }.
import { mkdirSync, mkdtempSync, openSync, rmSync, unlinkSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlockAttentionError, Engine, inspectModel, Tokenizer } from 'block-attention';
import { TEXT_BASES } from './bases.mjs';
import { mutation } from './mutate.mjs';
import { Choices } from './random.mjs';

const [first = 0, count = 1] = process.argv.slice(2, 4).map(Number);
const [stateFile, milliseconds] = process.argv.slice(4);
const deadline = performance.now() + Number(milliseconds ?? Number.POSITIVE_INFINITY);
const state = stateFile === undefined ? undefined : openSync(stateFile, 'w');

/** @type {Record<string, number>} */
const outcomes = {};
/** @type {{ seed: number, base: string, steps: string[], what: string }[]} */
const findings = [];

/** What a thrown value says; undefined if it is what a caller is promised. @param {unknown} error */
function defectIn(error) {
  if (error instanceof BlockAttentionError && error.code !== 'INTERNAL') return undefined;
  return error instanceof Error ? `${error.stack ?? error}` : `a thrown ${typeof error}`;
}

/** @param {unknown} error @returns {string} */
const codeOf = (error) => (error instanceof BlockAttentionError ? error.code : 'untyped');

/** Keeps the worker of the tokenizers alive, which otherwise starts anew for every input. */
const held = mkdtempSync(join(tmpdir(), 'block-attention-held-'));
writeFileSync(join(held, 'tokenizer.json'), TEXT_BASES[0]?.files.get('tokenizer.json') ?? '');
const holder = await Tokenizer.load(held);

/**
 * @param {string} folder
 * @param {boolean} hasText
 * @param {Choices} choices
 * @returns {Promise<string>} the outcome
 */
async function load(folder, hasText, choices) {
  const engine = await Engine.load(folder, {
    // What a seed ends in is then the same on every machine; and a GPU takes neither these small matrices nor f32.
    device: 'cpu',
    threads: choices.chance(0.9) ? 1 : 2,
    cacheBytes: 1 << 18,
    maxBatchTokens: choices.of([3, 16]),
    kvDtype: choices.of(['bf16', 'f32']),
  });
  try {
    const { hasTokenizer } = engine.model;
    const asText = hasText && hasTokenizer;
    if (asText && choices.chance(0.3)) {
      await engine.generate({ messages: [{ role: 'user', content: 'a b</s>' }], maxTokens: 1 }).result();
      return 'answered a conversation';
    }
    const blocks = asText ? ['ab \u2581<s> \ud800\u00e9', 'b'] : [[0, 1, 2, 3, 4], [5]];
    await engine.generate({ blocks, query: asText ? 'a a' : [0, 1], maxTokens: 1 }).result();
    return 'answered';
  } finally {
    await engine.close();
  }
}

const folder = mkdtempSync(join(tmpdir(), 'block-attention-mutations-'));
let current = '';
/** @type {Set<string>} */
let dirty = new Set();

/** @param {import('./mutate.mjs').Mutation} input */
function write({ base, files, changed }) {
  const stale = base === current ? [...dirty] : [...files.keys()];
  if (base !== current) {
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
  }
  for (const name of stale) writeFileSync(join(folder, name), files.get(name) ?? '');
  for (const [name, content] of changed) {
    if (content === null) unlinkSync(join(folder, name));
    else writeFileSync(join(folder, name), content);
  }
  current = base;
  dirty = new Set(changed.keys());
}

/**
 * What `inspectModel` says about the folder is what loading it would have said.
 *
 * @param {(what: string) => void} report
 */
async function inspect(report) {
  try {
    const { problems } = await inspectModel(folder);
    for (const { code, message } of problems) if (code === 'INTERNAL') report(`inspectModel: ${message}`);
  } catch (error) {
    const what = defectIn(error);
    if (what !== undefined) report(`inspectModel: ${what}`);
  }
}

let done = 0;
for (let seed = first; seed < first + count && (done === 0 || performance.now() < deadline); seed++) {
  done += 1;
  if (state !== undefined) writeSync(state, String(seed).padEnd(16), 0);
  const input = mutation(seed);
  write(input);
  const choices = new Choices(seed ^ 0x5bd1e995);
  const report = (/** @type {string} */ what) =>
    findings.push({ seed, base: input.base, steps: input.steps, what });
  let outcome;
  try {
    outcome = await load(folder, input.hasText, choices);
  } catch (error) {
    outcome = codeOf(error);
    const what = defectIn(error);
    if (what !== undefined) report(what);
  }
  if (choices.chance(0.1)) await inspect(report);
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
}

await holder.close();
rmSync(folder, { recursive: true });
rmSync(held, { recursive: true });
process.stdout.write(JSON.stringify({ done, outcomes, findings }));
