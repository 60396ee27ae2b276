import { type GpuReport, inspectModel } from 'block-attention';
import { expect, it } from 'vitest';
import { describe as describeReport } from '#lib/cli/inspect.js';
import { temporaryFolder } from '../model/temporary-folder.js';
import { runCommand } from './process.js';

it('describes a model for a person', async () => {
  const args = ['inspect', 'models/tiny-rag', '--cache-bytes', '1M', '--kv-dtype', 'f32'];
  const { stdout, stderr, code } = await runCommand(args);
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toMatch(/^architecture +LlamaForCausalLM$/m);
  expect(stdout).toMatch(/^parameters +2\.3 million$/m);
  expect(stdout).toMatch(/^KV states +5\.00 KiB a token in f32$/m);
  expect(stdout).toMatch(/^cache +1\.00 MiB hold 204 tokens$/m);
  expect(stdout).toMatch(/^GPU +\S/m);
  expect(stdout).toMatch(/^supported +yes$/m);
});

it('describes a GPU, or says why there is none', async () => {
  const report = await inspectModel('models/tiny-rag');
  const lineOf = (cuda: GpuReport) =>
    describeReport({ ...report, devices: { cuda } })
      .split('\n')
      .find((line) => line.startsWith('GPU'));
  const gpu = {
    available: true,
    name: 'A card',
    computeCapability: '9.0',
    memoryBytes: 80 * 2 ** 30,
  } as const;
  expect(lineOf({ ...gpu, gemm: 'cuBLASLt 13.0' })).toBe(
    'GPU            A card, 80.0 GiB, compute capability 9.0, linear layers by cuBLASLt 13.0',
  );
  expect(lineOf({ ...gpu, gemm: 'own GEMM', gemmProblem: 'no library' })).toMatch(
    /linear layers by own GEMM \(no library\)$/,
  );
  expect(lineOf({ available: false, problem: 'no driver' })).toBe('GPU            none: no driver');
});

it('gives the report as JSON', async () => {
  const { stdout, code } = await runCommand(['inspect', '--json', 'models/tiny-rag']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ supported: true, kv: { bytesPerToken: 2560 } });
});

it('exits with 1 and says why if the model cannot be used', async () => {
  const folder = temporaryFolder({ 'config.json': { architectures: ['GPT2LMHeadModel'] } });
  const { stdout, stderr, code } = await runCommand(['inspect', folder]);
  expect([code, stderr]).toEqual([1, '']);
  expect(stdout).toMatch(/^supported +no$/m);
  expect(stdout).toMatch(/^ {2}UNSUPPORTED: .*GPT2LMHeadModel/m);
  expect(await runCommand(['inspect', 'none'])).toMatchObject({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(/^block-attention: IO: /),
  });
});
