/**
 * How many threads compute unless said: one for each physical core that this process may run on, but no more than the CPU time
 * that its cgroup gets. Two threads on one core share its multipliers, and threads beyond a quota only wait for each other.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

/** `root` stands for /: tests have other files there. */
export function defaultThreads(root = '/', available = availableParallelism()): number {
  const cores = physicalCores(root) ?? available;
  const quota = cgroupCpus(root) ?? Number.POSITIVE_INFINITY;
  return Math.max(1, Math.min(available, cores, Math.floor(quota)));
}

/** Cores behind the CPUs that this process may run on; undefined where the system does not say. */
function physicalCores(root: string): number | undefined {
  const status = read(root, 'proc/self/status');
  const allowed = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status ?? '')?.[1];
  if (allowed === undefined) return undefined;
  const cores = new Set<string>();
  for (const cpu of numbersOf(allowed)) {
    const siblings = read(root, `sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`);
    if (siblings === undefined) return undefined;
    cores.add(siblings.trim());
  }
  return cores.size === 0 ? undefined : cores.size;
}

/** CPUs that the quota of the cgroup, or of one around it, amounts to; undefined: none is known. */
function cgroupCpus(root: string): number | undefined {
  const lines = read(root, 'proc/self/cgroup')?.split('\n') ?? [];
  const quotas: number[] = [];
  for (const line of lines) {
    const [id, controllers = '', ...path] = line.split(':');
    const folders = foldersUpwards(path.join(':'));
    if (id === '0' && controllers === '') {
      // Version 2: "max 100000", or microseconds per period.
      for (const folder of folders)
        quotas.push(quotaOf(...words(read(root, `sys/fs/cgroup${folder}/cpu.max`))));
    } else if (controllers.split(',').includes('cpu')) {
      for (const folder of folders) {
        const file = (name: string) => read(root, `sys/fs/cgroup/${controllers}${folder}/${name}`)?.trim();
        quotas.push(quotaOf(file('cpu.cfs_quota_us'), file('cpu.cfs_period_us')));
      }
    }
  }
  const known = quotas.filter((quota) => quota > 0);
  return known.length === 0 ? undefined : Math.min(...known);
}

/** NaN: there is none. (-1 stands for none in version 1.) */
function quotaOf(quota?: string, period?: string): number {
  return Number(quota ?? Number.NaN) / Number(period ?? Number.NaN);
}

function words(text: string | undefined): string[] {
  return text?.trim().split(/\s+/) ?? [];
}

/** "/a/b": "/a/b", "/a" and "". */
function foldersUpwards(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '');
  return Array.from({ length: parts.length + 1 }, (_, count) =>
    parts
      .slice(0, parts.length - count)
      .map((part) => `/${part}`)
      .join(''),
  );
}

/** "0-2,5": 0, 1, 2, 5. */
function numbersOf(list: string): number[] {
  return list.split(',').flatMap((range) => {
    const [first = Number.NaN, last = first] = range.split('-').map(Number);
    const count = last - first + 1;
    return Number.isSafeInteger(count) && count > 0 ? Array.from({ length: count }, (_, i) => first + i) : [];
  });
}

function read(root: string, path: string): string | undefined {
  try {
    return readFileSync(join(root, path), 'utf8');
  } catch {
    return undefined; // another system, or another version of this one
  }
}
