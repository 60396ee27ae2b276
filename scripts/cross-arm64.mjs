// Compiles everything but the addon for arm64 with Debian's cross compiler, so that no x86-only code slips in.
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { root, runMain, runStep, SetupError } from './setup/process.mjs';
import { buildRequirements, ensureSystem } from './setup/system.mjs';

const folder = 'build/arm64';
const include = `${root}${folder}/include`;
const highway = process.env.BLOCK_ATTENTION_HIGHWAY_INCLUDE ?? '/usr/include';

await runMain(async () => {
  await ensureSystem([...buildRequirements, 'arm64Compiler']);
  if (!existsSync(`${highway}/hwy/highway.h`)) {
    throw new SetupError(
      `No hwy/highway.h in ${highway}: name its folder in the environment variable BLOCK_ATTENTION_HIGHWAY_INCLUDE.`,
    );
  }
  // Highway's headers alone: the rest of the host's include folder is for the host's C library.
  mkdirSync(include, { recursive: true });
  rmSync(`${include}/hwy`, { force: true });
  symlinkSync(`${highway}/hwy`, `${include}/hwy`);
  await runStep('configuring for arm64', 'cmake', [
    ...['-S', '.', '-B', folder],
    '-DCMAKE_SYSTEM_NAME=Linux',
    '-DCMAKE_SYSTEM_PROCESSOR=aarch64',
    '-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++',
    '-DBLOCK_ATTENTION_ADDON=OFF',
    `-DBLOCK_ATTENTION_HIGHWAY_INCLUDE=${include}`,
  ]);
  await runStep('compiling for arm64', 'cmake', [
    ...['--build', folder],
    ...['--parallel', String(availableParallelism())],
    ...['--target', 'block_attention_cpu'],
  ]);
  return 0;
});
