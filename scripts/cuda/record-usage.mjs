// A compiler launcher for nvcc (CMAKE_CUDA_COMPILER_LAUNCHER): runs the command, and keeps what ptxas says of every kernel
// beside the object file, as <object>.usage.
import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';

const [command = '', ...args] = process.argv.slice(2);
const object = args[args.indexOf('-o') + 1];
const compiles = args.includes('-c') && object !== undefined;
if (compiles) rmSync(`${object}.usage`, { force: true });
const { status, stdout, stderr, error } = spawnSync(
  command,
  compiles ? [...args, '--resource-usage'] : args,
  { encoding: 'utf8', maxBuffer: 1 << 28 },
);
if (error) throw error;
const usage = stdout + stderr;
const told = usage.split('\n').filter((line) => !/^ptxas info|^ {4}\d+ bytes stack frame|^$/.test(line));
if (told.length > 0) process.stderr.write(`${told.join('\n')}\n`);
if (compiles && status === 0) writeFileSync(`${object}.usage`, usage);
process.exitCode = status ?? 1;
