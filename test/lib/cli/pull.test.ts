/** Downloading, from a stand-in for the hub on the loopback interface. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspectModel } from 'block-attention';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { pullModel } from '#lib/cli/hub.js';
import { expectError } from '../errors.js';
import { temporaryFolder } from '../model/temporary-folder.js';
import { type HubServer, startHub } from './hub-server.js';
import { runCommand } from './process.js';

const ID = 'owner/tiny.model';
const NAMES = ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json'];
const WEIGHTS = readFileSync('models/tiny-rag/model.safetensors');

let hub: HubServer;
beforeEach(async () => {
  const files = new Map(NAMES.map((name) => [name, readFileSync(`models/tiny-rag/${name}`)]));
  for (const name of ['pytorch_model.bin', 'sub/config.json', '../escape.json', '.gitattributes'])
    files.set(name, Buffer.from('not wanted'));
  hub = await startHub(ID, files);
});
afterEach(() => hub.close());

function pull(folder: string, rest: { id?: string; signal?: AbortSignal } = {}) {
  const progress: string[] = [];
  const pulled = pullModel(rest.id ?? ID, folder, {
    revision: 'main',
    hubUrl: hub.url,
    accessToken: undefined,
    signal: rest.signal ?? new AbortController().signal,
    onProgress: (file, done, total) => progress.push(`${file} ${done}/${total}`),
  });
  return { pulled, progress };
}

it('brings what loading needs, and nothing else', async () => {
  const folder = temporaryFolder();
  const { pulled, progress } = pull(join(folder, 'new'));
  expect((await pulled).map(({ name, kept }) => [name, kept])).toEqual(NAMES.map((name) => [name, false]));
  expect(readdirSync(join(folder, 'new')).sort()).toEqual(NAMES);
  expect(progress.at(-1)).toMatch(/^tokenizer.json (\d+)\/\1$/);
  expect(await inspectModel(join(folder, 'new'))).toMatchObject({ supported: true });
});

it('keeps files that are whole, and replaces others', async () => {
  const folder = temporaryFolder();
  await pull(folder).pulled;
  hub.ranges.length = 0;
  const damaged = Buffer.from(WEIGHTS);
  damaged.writeUInt8(damaged.readUInt8(5000) ^ 1, 5000);
  writeFileSync(join(folder, 'model.safetensors'), damaged);
  const again = await pull(folder).pulled;
  expect(again.filter(({ kept }) => !kept).map(({ name }) => name)).toEqual(['model.safetensors']);
  expect(hub.ranges).toHaveLength(1);
  expect(readFileSync(join(folder, 'model.safetensors')).equals(WEIGHTS)).toBe(true);
});

it('goes on where an interrupted download stopped', async () => {
  const folder = temporaryFolder();
  hub.breakAfter = { name: 'model.safetensors', bytes: 1_000_000 };
  await expectError(() => pull(folder).pulled, 'IO', expect.stringContaining(ID));
  expect(readdirSync(folder)).not.toContain('model.safetensors');
  hub.ranges.length = 0;
  await pull(folder).pulled;
  const start = Number(/^model.safetensors (\d+)-/.exec(hub.ranges[0] ?? '')?.[1]);
  expect(start).toBeGreaterThan(0);
  expect(start).toBeLessThanOrEqual(1_000_000);
  expect(readFileSync(join(folder, 'model.safetensors')).equals(WEIGHTS)).toBe(true);
  expect(readdirSync(folder).sort()).toEqual(NAMES);
});

it('does not take content that is not what the hub lists', async () => {
  const folder = temporaryFolder();
  hub.corrupt = 'model.safetensors';
  await expectError(
    () => pull(folder).pulled,
    'IO',
    expect.stringContaining('model.safetensors is not what'),
  );
  hub.corrupt = undefined;
  await pull(folder).pulled;
  expect(readdirSync(folder).sort()).toEqual(NAMES);
});

it('says what is wrong', async () => {
  const folder = temporaryFolder();
  const unknown = pull(folder, { id: 'owner/none' });
  await expectError(
    () => unknown.pulled,
    'IO',
    'Cannot pull owner/none: the hub has no such model or revision',
  );
  await expectError(() => pull(folder, { signal: AbortSignal.abort() }).pulled, 'ABORTED');
  hub.files.delete('model.safetensors');
  await expectError(() => pull(folder).pulled, 'UNSUPPORTED', expect.stringContaining('no safetensors'));
  await hub.close();
  await expectError(
    () => pull(folder).pulled,
    'IO',
    expect.stringMatching(/^Cannot pull .*(ECONNREFUSED|closed)/),
  );
});

it('is a command', async () => {
  const folder = join(temporaryFolder(), 'model');
  process.env.HF_ENDPOINT = hub.url;
  const { stdout, stderr, code } = await runCommand(['pull', ID, '--out', folder]);
  const failed = await runCommand(['pull', 'owner/none', '--out', folder]);
  const { HF_ENDPOINT: _, ...environment } = process.env;
  process.env = environment;
  expect([code, stdout]).toEqual([0, `${folder}\n`]);
  expect(stderr).toMatch(/^model.safetensors 100%$/m);
  expect(stderr).toMatch(/^4 files, 0 of them there already$/m);
  expect(failed).toMatchObject({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(/IO: Cannot pull owner/),
  });
  expect(await runCommand(['pull', '../x'])).toMatchObject({ code: 2, stdout: '' });
});
