// The committed report of the kernels' resources against what the compiler says now.

/** @import { KernelUsage } from './usage.mjs' */

/**
 * `reasons`: for a kernel that uses local memory, why it may.
 *
 * @typedef {{ nvcc: string, reasons: Record<string, string>, kernels: KernelUsage }} Report
 */

/**
 * What is wrong, a line each. Another compiler may give other numbers, but still no kernel may spill.
 *
 * @param {Report} report
 * @param {Omit<Report, 'reasons'>} now
 * @returns {string[]}
 */
export function problemsOf(report, now) {
  const problems = [];
  for (const [name, byArchitecture] of Object.entries(now.kernels)) {
    for (const [architecture, usage] of Object.entries(byArchitecture)) {
      const kernel = `${name} on ${architecture}`;
      if (usage.spills > 0) problems.push(`${kernel} spills ${usage.spills} bytes of registers`);
      if (usage.stack > 0 && report.reasons[name] === undefined)
        problems.push(`${kernel} uses ${usage.stack} bytes of local memory, and no reason is given`);
    }
  }
  for (const name of Object.keys(report.reasons)) {
    const uses = Object.values(now.kernels[name] ?? {}).some(({ stack }) => stack > 0);
    if (!uses) problems.push(`${name} uses no local memory: its reason is out of date`);
  }
  if (report.nvcc === now.nvcc) problems.push(...differences(report.kernels, now.kernels));
  return problems;
}

/**
 * @param {KernelUsage} before
 * @param {KernelUsage} now
 */
function differences(before, now) {
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])].sort();
  return names.flatMap((name) => {
    const [was, is] = [before[name], now[name]].map((usage) => JSON.stringify(usage) ?? 'nothing');
    return was === is ? [] : [`${name}: the report says ${was}, the compiler ${is}`];
  });
}
