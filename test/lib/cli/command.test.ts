/** The command as a user runs it: a process, on the model that ships with the package. */
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { builtDevices, inspectModel } from 'block-attention';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const { cuda } = (await inspectModel('models/tiny-rag')).devices;
/** An addon with CUDA and no GPU says so, unless it is told to take the CPU. */
const saysNoGpu = !cuda.available && builtDevices().includes('cuda');
const SIZES = ['--cache-bytes', '16M', '--threads', '1'];
const SMALL = [...SIZES, ...(saysNoGpu ? ['--device', 'cpu'] : [])];

function start(args: readonly string[]) {
  const child = spawn(process.execPath, ['dist/cli/main.js', ...args], { stdio: 'pipe' });
  child.stdin.on('error', () => undefined);
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.on('close', (code, signal) => resolve(code ?? signal)),
  );
  return { child, ended };
}

async function run(args: readonly string[], input = '') {
  const { child, ended } = start(args);
  child.stdin.end(input);
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { stdout, stderr, code };
}

const parsed = (stdout: string) =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

const lines = (requests: object[]) => requests.map((request) => `${JSON.stringify(request)}\n`).join('');

const DOCUMENTS = [
  { title: 'Liros', text: 'Liros lies on the river Shornos.' },
  { title: 'Luta Flinnos', text: 'Luta Flinnos went to college in Liros.' },
];
const REQUEST = { documents: DOCUMENTS, query: 'Which river does Liros lie on?', maxTokens: 8 };

describe('block-attention generate', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'block-attention-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('answers requests from a file, in order, and reports a bad line in its place', async () => {
    const path = join(folder, 'requests.jsonl');
    await writeFile(
      path,
      `${lines([REQUEST, { ...REQUEST, documents: [...DOCUMENTS].reverse() }])}{"query":\n`,
    );
    const args = ['generate', '--model', 'models/tiny-rag', '--input', path, '--concurrency', '2', ...SMALL];
    const { stdout, stderr, code } = await run(args);
    expect([code, stderr]).toEqual([0, '']);
    const results = parsed(stdout);
    expect(results).toHaveLength(3);
    expect(results[0].text).toContain('Shornos');
    expect(results[1].usage.blocks.map((block: { status: string }) => block.status)).toEqual([
      'hit',
      'hit',
      'hit',
    ]);
    expect(results[2]).toEqual({
      error: { code: 'INVALID_ARGUMENT', message: expect.stringContaining('line 3') },
    });
  });

  it('answers requests from stdin, as token ids and with options', async () => {
    const requests = [
      {
        blocks: [[10, 11], [12]],
        query: [13],
        maxTokens: 3,
        ignoreEos: true,
        logprobs: 2,
        attention: 'full',
      },
      {
        blocks: [[10, 11], [12]],
        query: [13],
        maxTokens: 3,
        ignoreEos: true,
        logprobs: 2,
        attention: 'full',
      },
    ];
    const { stdout, code } = await run(
      // A GPU's keys and values have one type.
      ['generate', '--input', '-', '--device', 'cpu', '--kv-dtype', 'f32', ...SIZES],
      lines(requests),
    );
    expect(code).toBe(0);
    const [cold, warm] = parsed(stdout);
    expect(cold).toMatchObject({ finishReason: 'length', usage: { cachedTokens: 0, completionTokens: 3 } });
    expect(cold.topLogprobs.map((top: object[]) => top.length)).toEqual([2, 2, 2]);
    expect(warm.usage.cachedTokens).toBe(3);
    expect([warm.tokens, warm.topLogprobs]).toEqual([cold.tokens, cold.topLogprobs]);
  });

  it('answers questions over documents, and says what was cached', async () => {
    const paths = await Promise.all(
      DOCUMENTS.map(async ({ title, text: content }) => {
        const path = join(folder, `${title}.txt`);
        await writeFile(path, content);
        return path;
      }),
    );
    const docs = paths.flatMap((path) => ['--doc', path]);
    const question = 'Which river does Liros lie on?';
    const { stdout, stderr, code } = await run([
      'generate',
      ...docs,
      question,
      question,
      '--max-tokens',
      '8',
      ...SMALL,
    ]);
    expect(code).toBe(0);
    const [first, second] = stdout.trim().split('\n');
    expect(first).toContain('Shornos');
    expect(second).toBe(first);
    const [cold, warm] = stderr.trim().split('\n');
    expect(cold).toMatch(
      /^\[0 of 3 blocks and 0 of \d+ tokens came from the cache; first token after [\d.]+ ms/,
    );
    expect(warm).toMatch(
      /^\[3 of 3 blocks and \d+ of \d+ tokens .* [\d.]+% less computing than full attention/,
    );
  });

  it('says why the CPU computes to whom that is news', async () => {
    const args = ['generate', '--max-tokens', '1', ...SIZES, 'Why?'];
    const remark = cuda.available ? undefined : `block-attention: computing on the CPU: ${cuda.problem}`;
    for (const [device, says] of [
      [['--device', 'auto'], !cuda.available],
      [['--device', 'cpu'], false],
      [[], saysNoGpu],
    ] as const) {
      const { stderr, code } = await run([...args, ...device]);
      expect(code).toBe(0);
      expect(stderr.split('\n').filter((line) => line.includes('CPU'))).toEqual(says ? [remark] : []);
    }
  });

  it('keeps int8 weights, and says what was wrong with those that were kept', async () => {
    const cache = join(folder, 'weights');
    const int8 = ['--device', 'cpu', '--dtype', 'int8', '--weights-cache', cache];
    const args = ['generate', '--max-tokens', '3', ...SIZES, ...int8, 'Why?'];
    const said = async () => (await run(args)).stderr.split('\n').filter((line) => /cache:/.test(line));
    expect(await said()).toEqual([]);
    const [name] = await readdir(cache);
    expect(await said()).toEqual([]);
    await writeFile(join(cache, name ?? ''), 'x');
    expect(await said()).toEqual([`block-attention: weights cache: ${join(cache, name ?? '')} is cut off`]);
    expect(await said()).toEqual([]);
  });

  it.each([
    [[], 2, /Usage: block-attention/],
    [['generate'], 2, /give --input, or at least one question/],
    [['generate', '--input', '-', 'question'], 2, /no place beside --input/],
    [['generate', '--weights-cache', 'x', 'q'], 2, /no place without --dtype int8/],
    [['generate', '--kv-dtype', 'f16', 'q'], 2, /Allowed choices are bf16, f32/],
    [['generate', '--cache-bytes', 'much', 'q'], 2, /512M or 4G/],
    [['generate', '--device', 'tpu', 'q'], 2, /Allowed choices are auto, cpu, cuda/],
    [['generate', '--nonsense', 'q'], 2, /unknown option/],
    [['generate', '--model', 'models/none', 'q'], 1, /^block-attention: IO: /],
    [['generate', '--doc', 'none.txt', 'q'], 1, /^block-attention: IO: Cannot read the document none.txt/],
    [
      ['generate', '--input', 'none.jsonl'],
      1,
      /^block-attention: IO: Cannot read the requests in none.jsonl/,
    ],
    [['generate', '--cache-bytes', '1', 'q'], 1, /^block-attention: INVALID_ARGUMENT: /],
  ])('fails with the right exit code: %j', async (args, expected, message) => {
    const { stdout, stderr, code } = await run(args);
    expect([stdout, code]).toEqual(['', expected]);
    expect(stderr).toMatch(message);
  });

  it('shows help and its version', async () => {
    const help = await run(['generate', '--help']);
    expect([help.code, help.stderr]).toEqual([0, '']);
    expect(help.stdout).toContain('--concurrency');
    expect(await run(['--version'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
  });

  it('ends in peace when the reader of its output goes away', async () => {
    const { child, ended } = start(['generate', '--input', '-', ...SMALL]);
    const stderr = text(child.stderr);
    const request = lines([REQUEST]);
    child.stdin.write(request);
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.stdout.destroy();
    const more = setInterval(() => child.stdin.write(request), 20);
    expect(await ended).toBe(0);
    clearInterval(more);
    expect(await stderr).toBe('');
  });

  it('ends at Ctrl-C, while it waits and while it computes', async () => {
    for (const request of ['', lines([{ ...REQUEST, maxTokens: 400, ignoreEos: true, documents: [] }])]) {
      const { child, ended } = start(['generate', '--input', '-', ...SMALL]);
      const stderr = text(child.stderr);
      child.stdin.write(lines([REQUEST]));
      await new Promise((resolve) => child.stdout.once('data', resolve));
      child.stdin.write(request);
      child.kill('SIGINT');
      expect(await ended).toBe(130);
      expect(await stderr).toBe('');
    }
  });
});
