// In words: what a record was measured on.

/**
 * @param {import('./record.mjs').Record} record
 * @returns {string} one paragraph
 */
export function recordLine({ date, commit, machine, subject }) {
  const what = [
    subject && `${subject.model}${subject.randomWeights ? ' with random weights' : ''} on ${subject.device}`,
    `${machine.cpu}, ${machine.cores} cores, ${Math.round(machine.memoryBytes / 2 ** 30)} GiB, ${machine.platform}, Node ${machine.node}`,
    date.slice(0, 16).replace('T', ' '),
    commit && `commit ${commit}`,
  ];
  const busy = machine.busy
    ? ` **Measured on a busy machine** (load average ${machine.loadBefore.toFixed(1)} on ${machine.cores} cores before the run): times are too long, ratios unreliable.`
    : '';
  return `${what.filter(Boolean).join('; ')}.${busy}`;
}
