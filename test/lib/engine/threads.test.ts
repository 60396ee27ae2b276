import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { defaultThreads } from '#lib/engine/threads.js';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function rootWith(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'block-attention-'));
  folders.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

/** `siblings[i]`: the list of CPU i's core. */
function cpus(allowed: string, siblings: readonly string[]): Record<string, string> {
  return {
    'proc/self/status': `Name:\tnode\nCpus_allowed:\tff\nCpus_allowed_list:\t${allowed}\n`,
    ...Object.fromEntries(
      siblings.map((list, cpu) => [
        `sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`,
        `${list}\n`,
      ]),
    ),
  };
}

const FOUR_CORES = cpus('0-7', ['0,4', '1,5', '2,6', '3,7', '0,4', '1,5', '2,6', '3,7']);

describe('defaultThreads', () => {
  it('is what Node says where the system says nothing', () => {
    expect(defaultThreads(rootWith({}), 7)).toBe(7);
  });

  it('counts cores, not their threads', () => {
    expect(defaultThreads(rootWith(FOUR_CORES), 8)).toBe(4);
    expect(defaultThreads(rootWith(cpus('0-1,4', ['0-1', '0-1', '2-3', '2-3', '4'])), 3)).toBe(2);
  });

  it('is at most what Node says', () => {
    expect(defaultThreads(rootWith(FOUR_CORES), 2)).toBe(2);
  });

  it.each([
    ['version 2', { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': '200000 100000\n' }, 2],
    ['no limit', { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': 'max 100000\n' }, 4],
    ['half a CPU', { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': '50000 100000\n' }, 1],
    ['two and a half', { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/cpu.max': '250000 100000\n' }, 2],
    [
      'a group around it',
      {
        'proc/self/cgroup': '0::/outer/inner\n',
        'sys/fs/cgroup/outer/inner/cpu.max': 'max 100000\n',
        'sys/fs/cgroup/outer/cpu.max': '300000 100000\n',
      },
      3,
    ],
    [
      'version 1',
      {
        'proc/self/cgroup': '4:cpu,cpuacct:/docker/abc\n1:memory:/docker/abc\n0::/\n',
        'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '150000\n',
        'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '50000\n',
      },
      3,
    ],
    [
      'version 1 without a limit',
      {
        'proc/self/cgroup': '4:cpu:/\n',
        'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
        'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
      },
      4,
    ],
  ])('keeps within the quota of a cgroup: %s', (_, files, expected) => {
    expect(defaultThreads(rootWith({ ...FOUR_CORES, ...files }), 8)).toBe(expected);
  });

  it('is a number of threads on this machine', () => {
    expect(defaultThreads()).toBeGreaterThanOrEqual(1);
    expect(defaultThreads()).toBeLessThanOrEqual(availableParallelism());
  });
});
