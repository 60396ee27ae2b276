// Mutated model folders in the usual build: a few of those that scripts/test-sanitized.mjs runs by the hundred thousand with
// sanitizers; and that whatever can go wrong there is seen.
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from 'block-attention';
import { afterAll, describe, expect, it } from 'vitest';
import { findingText, runMutations } from '../../../scripts/sanitized/mutations.mjs';
import { PLAIN_BASES, TEXT_BASES } from '../../fuzz/mutations/bases.mjs';
import { mutation } from '../../fuzz/mutations/mutate.mjs';
import { expectError } from '../errors.js';
import { temporaryFolder } from './temporary-folder.js';

/** The sound folders are as small as can be, smaller than what the kernels of a GPU take. */
const OPTIONS = { device: 'cpu', cacheBytes: 1 << 20 } as const;

const folder = mkdtempSync(join(tmpdir(), 'block-attention-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A program in place of the real one. */
function programOf(source: string): string {
  const path = join(folder, `${Math.random()}.mjs`);
  writeFileSync(path, `import { writeFileSync } from 'node:fs';\n${source}`);
  return path;
}

describe('mutated model folders', () => {
  it('load, or end in a typed error', { timeout: 60_000 }, async () => {
    const report = await runMutations({ first: 1, count: 300, processes: 1 });
    expect(report.findings.map(findingText)).toEqual([]);
    expect(report.inputs).toBe(300);
    // Neither all sound nor all refused at the door.
    expect(report.outcomes.answered).toBeGreaterThan(15);
    expect(report.outcomes.MODEL_FORMAT).toBeGreaterThan(75);
  });

  it('come from sound ones', async () => {
    for (const { name, files } of [...PLAIN_BASES, ...TEXT_BASES]) {
      const engine = await Engine.load(temporaryFolder(Object.fromEntries(files)), OPTIONS);
      const query = engine.model.hasTokenizer ? 'ab' : [1];
      const { tokens } = await engine.generate({ query, maxTokens: 1 }).result();
      expect(tokens, name).toHaveLength(1);
      await engine.close();
    }
  });

  it('load with weights that are no numbers, and give no answer', async () => {
    const files = new Map(PLAIN_BASES[0]?.files);
    const weights = Buffer.from(files.get('model.safetensors') ?? '');
    weights.fill(0xff, 8 + Number(weights.readBigUInt64LE()));
    files.set('model.safetensors', weights);
    const engine = await Engine.load(temporaryFolder(Object.fromEntries(files)), OPTIONS);
    const answer = engine.generate({ query: [1], maxTokens: 1 }).result();
    await expectError(() => answer, 'MODEL_FORMAT', expect.stringContaining('not numbers'));
    await engine.close();
  });

  it('are the same for the same seed, and others for another', () => {
    const digestOf = (seed: number) => {
      const { base, changed } = mutation(seed);
      const hash = createHash('sha256').update(base);
      for (const [name, content] of changed) hash.update(name).update(content ?? 'removed');
      return hash.digest('hex');
    };
    const digests = Array.from({ length: 50 }, (_, seed) => digestOf(seed));
    expect(Array.from({ length: 50 }, (_, seed) => digestOf(seed))).toEqual(digests);
    expect(new Set(digests).size).toBeGreaterThan(45);
  });
});

describe('what is found', () => {
  const end = `process.stdout.write(JSON.stringify({ done: Number(count), outcomes: {}, findings: [] }));`;
  const begin = `const [first, count, state] = process.argv.slice(2);`;

  it('a crash, at its seed; the seeds behind it are still tried', async () => {
    const program = programOf(`${begin}
      if (Number(first) <= 12 && Number(first) + Number(count) > 12) {
        writeFileSync(state, '12');
        process.stderr.write('AddressSanitizer: as it were');
        process.abort();
      }
      ${end}`);
    const report = await runMutations({ first: 5, count: 20, chunk: 10, processes: 1, program });
    expect(report.findings).toEqual([{ seed: 12, what: expect.stringMatching(/SIGABRT.*as it were/s) }]);
    expect(report.inputs).toBe(20);
  });

  it('a process that stands still', async () => {
    const program = programOf(`${begin} writeFileSync(state, '3'); for (;;);`);
    const report = await runMutations({ first: 3, count: 1, processes: 1, program, patience: 400 });
    expect(report.findings).toEqual([{ seed: 3, what: expect.stringContaining('no progress') }]);
  });

  it('a process that ends early, without a report', async () => {
    const program = programOf('process.exit(0);');
    const report = await runMutations({ first: 7, count: 1, processes: 1, program });
    expect(report.findings).toHaveLength(1);
  });

  it('what the process itself reports', async () => {
    const finding = { seed: 9, base: 'llama', steps: ['a'], what: 'TypeError' };
    const program = programOf(
      `process.stdout.write(JSON.stringify({ done: 1, outcomes: { untyped: 1 }, findings: [${JSON.stringify(finding)}] }));`,
    );
    const report = await runMutations({ first: 9, count: 1, processes: 1, program });
    expect(report).toEqual({ inputs: 1, outcomes: { untyped: 1 }, findings: [finding] });
  });
});
