/** Where a step's time goes: what is counted, and that nothing else changes. */
import { Engine, type GenerateRequest, type OpTime } from 'block-attention';
import { expect, it } from 'vitest';

const MODEL = 'models/tiny-rag';
const LAYERS = 5;
const REQUEST: GenerateRequest = { query: [5, 6, 7, 8], maxTokens: 3, ignoreEos: true, logprobs: 3 };
/** Calls of a step that draws a token. */
const CALLS = {
  copy_pages: 0,
  plan_attention: 2,
  embedding: 1,
  rms_norm: 1,
  add_rms_norm: 2 * LAYERS,
  qkv: LAYERS,
  rope_store: LAYERS,
  attention: LAYERS,
  gather_rows: 2,
  o: LAYERS,
  gate_up: LAYERS,
  down: LAYERS,
  lm_head: 1,
  sample: 1,
  other: 1,
};

const load = (options: { profile?: boolean; device?: 'cpu' | 'cuda-emulated' }) =>
  Engine.load(MODEL, { device: 'cpu', threads: 2, cacheBytes: 16 << 20, ...options });

const callsOf = (profile: OpTime[] | undefined) =>
  Object.fromEntries((profile ?? []).map(({ op, calls }) => [op, calls]));

it('is not there unless asked for', async () => {
  for (const options of [{}, { profile: false }]) {
    await using engine = await load(options);
    expect(engine.stats()).not.toHaveProperty('profile');
  }
});

it('counts the ops of every step, and gives the same bits', async () => {
  await using plain = await load({});
  await using engine = await load({ profile: true });
  expect(Object.values(callsOf(engine.stats().profile))).toEqual(Object.keys(CALLS).map(() => 0));

  const begun = performance.now();
  const result = await engine.generate(REQUEST).result();
  const elapsed = performance.now() - begun;
  const { steps, profile = [] } = engine.stats();
  expect(steps).toBe(3);
  const ofSteps = Object.entries(CALLS).map(([op, calls]) => [op, 3 * calls]);
  // Two of the three steps decode: all rows are wanted, as they are.
  expect(callsOf(profile)).toEqual({
    ...Object.fromEntries(ofSteps),
    plan_attention: 3 * CALLS.plan_attention - 2,
    gather_rows: 3 * CALLS.gather_rows - 2 * 2,
  });
  expect(profile.map(({ op }) => op)).toEqual(Object.keys(CALLS));
  for (const { op, calls, milliseconds } of profile) expect(milliseconds > 0, op).toBe(calls > 0);
  // They follow one another: together no longer than the request.
  expect(profile.reduce((sum, { milliseconds }) => sum + milliseconds, 0)).toBeLessThan(elapsed);

  const { tokens, logprobs, topLogprobs } = await plain.generate(REQUEST).result();
  expect(result).toMatchObject({ tokens, logprobs, topLogprobs });
});

/** What scripts/pack/run.sh runs has no emulation. */
const noEmulation = process.env.BLOCK_ATTENTION_PROGRAMS !== undefined;

it.skipIf(noEmulation)(
  'waits for the ops of a device that computes later',
  { timeout: 120_000 },
  async () => {
    const request = { ...REQUEST, maxTokens: 1 };
    await using plain = await load({ device: 'cuda-emulated' });
    await using engine = await load({ device: 'cuda-emulated', profile: true });
    const [expected, result] = await Promise.all(
      [plain, engine].map((each) => each.generate(request).result()),
    );
    expect(result?.tokens).toEqual(expected?.tokens);
    expect(result?.logprobs).toEqual(expected?.logprobs);
    const { profile = [] } = engine.stats();
    expect(callsOf(profile)).toEqual(CALLS);
    // Nothing is left to be computed when the step is waited for.
    const sum = profile.reduce((total, { milliseconds }) => total + milliseconds, 0);
    expect(profile.at(-1)?.milliseconds).toBeLessThan(sum / 10);
  },
);
