import { Engine } from 'block-attention';
import { expect, it } from 'vitest';
import { Progress } from '../../bench/common/progress.mjs';
import { randomOf } from '../../bench/common/random.mjs';
import { textBlocks, tokenBlocks } from '../../bench/ttft/content.mjs';
import { measureTtft } from '../../bench/ttft/measure.mjs';
import { ttftTables } from '../../bench/ttft/tables.mjs';
import { executedFlops, paperFlops } from '#lib/engine/flops.js';
import { loadModelFolder } from '#lib/model/folder.js';

const model = new URL('../../models/tiny-rag', import.meta.url).pathname;

it('measures full, cold and warm requests and counts what each computed', async () => {
  await using engine = await Engine.load(model, { cacheBytes: 256 << 20 });
  const random = randomOf(5);
  const makeBlock = tokenBlocks(engine, random);
  const plan = { lengths: [50, 450], rounds: 1, seconds: 60, random, makeBlock };
  const rows = await measureTtft(engine, plan, new Progress());
  expect(rows.map(({ promptTokens, mode }) => `${promptTokens} ${mode}`)).toEqual([
    '50 full',
    '50 cold',
    '50 warm',
    '450 full',
    '450 cold',
    '450 warm',
  ]);
  const { config } = await loadModelFolder(model);
  const [full, cold, warm] = rows.slice(3);
  expect(full?.flops.paper.request).toBe(paperFlops(config, 450));
  expect(cold?.flops.paper.request).toBe(paperFlops(config, 450));
  expect(warm?.flops.paper.request).toBe(paperFlops(config, 50));
  // The engine's count of what it ran, against the closed formula.
  expect(full?.flops.executed.request).toBe(
    executedFlops(config.native, { begin: 0, rows: 450, output: true }),
  );
  expect(warm?.flops.executed.request).toBe(
    executedFlops(config.native, { begin: 400, rows: 50, output: true }),
  );
  // 450 tokens are two documents of 200.
  const document = executedFlops(config.native, { begin: 0, rows: 200, output: false });
  expect(cold?.flops.executed.request).toBe((warm?.flops.executed.request ?? 0) + 2 * document);
  for (const { ttft, parts } of rows) {
    expect(ttft.count).toBe(1);
    expect(ttft.median).toBeGreaterThan(0);
    expect(parts.tokenize + parts.queue + parts.encode + parts.step).toBeCloseTo(ttft.median, 3);
  }

  const [times, flops, parts] = ttftTables(rows);
  for (const table of [times, flops, parts]) {
    expect(table?.rows.map(([name]) => name)).toEqual(['50', '450']);
    for (const cells of table?.rows ?? []) expect(cells).toHaveLength(table?.columns.length ?? 0);
  }
  expect(flops?.rows[1]?.[3]).toBe('88.9%');
}, 60_000);

it('makes texts of about as many tokens as asked for', async () => {
  await using engine = await Engine.load(model, { cacheBytes: 64 << 20 });
  const makeBlock = await textBlocks(engine, randomOf(6));
  const [first, second] = await engine.encode([makeBlock(200), makeBlock(200)]);
  for (const block of [first, second]) {
    expect(block?.tokens).toBeGreaterThan(160);
    expect(block?.tokens).toBeLessThan(240);
  }
  expect(first?.key).not.toBe(second?.key);
});
