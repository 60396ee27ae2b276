/**
 * A host that blocks its event loop costs its streams latency, not throughput: drawn tokens feed the next step in native
 * code. The model is large enough that a step takes milliseconds, as with real ones, and small enough to be made here.
 */
import { Engine } from 'block-attention';
import { expect, it } from 'vitest';
import { withRandomModel } from '../../../bench/common/random-model.mjs';
import { randomOf } from '../../../bench/common/random.mjs';
import { median } from '../../../bench/common/statistics.mjs';
import { BLOCKERS, measureBlockedHost } from '../../../bench/event-loop/blocked-host.mjs';

const SHAPE = {
  vocabSize: 8192,
  hiddenSize: 576,
  intermediateSize: 1536,
  numLayers: 8,
  numHeads: 9,
  numKvHeads: 3,
  headDim: 64,
  tieWordEmbeddings: true,
  qkNorm: false,
};
/** Other work on the machine can make one attempt look bad; an engine that waits for JavaScript fails all of them. */
const ATTEMPTS = 3;

it('loses less than 5% of decode throughput to an event loop blocked for 200 ms again and again', async () => {
  await withRandomModel(SHAPE, async (folder) => {
    await using engine = await Engine.load(folder, { cacheBytes: 512 << 20 });
    const losses: number[] = [];
    do {
      const plan = { streams: 8, phases: 6, block: BLOCKERS.waiting, random: randomOf(1) };
      const { freeRates, ratios } = await measureBlockedHost(engine, plan);
      expect(Math.min(...freeRates)).toBeGreaterThan(0);
      losses.push(1 - median(ratios));
    } while (Math.min(...losses) >= 0.05 && losses.length < ATTEMPTS);
    expect(Math.min(...losses), `lost ${losses.join(', ')}`).toBeLessThan(0.05);
  });
}, 60_000);
