// The contender that is this package.
import { Engine } from 'block-attention';
import { tokenTimes } from '../common/token-times.mjs';
import { serve } from './serve.mjs';

await serve(async ({ model, dtype, threads, positions }) => {
  const kvDtype = 'bf16';
  // bf16 is what the files hold, and no type of its own.
  const weights = dtype === 'bf16' ? {} : { dtype };
  const engine = await Engine.load(model, { device: 'cpu', threads, kvDtype, ...weights });
  /**
   * @param {readonly number[]} query
   * @param {number} maxTokens
   */
  const request = (query, maxTokens) => ({
    query,
    maxTokens,
    attention: /** @type {const} */ ('full'),
    ignoreEos: true,
    temperature: 0,
  });
  return {
    async *generate(_stream, _streams, prompt) {
      const generation = engine.generate(request(prompt, positions - prompt.length));
      try {
        for await (const { tokens } of generation) yield* tokens;
      } finally {
        generation.abort();
        // Nothing of it is computed any more when the next request begins.
        await generation.result();
      }
    },
    async first(prompt) {
      const { tokens, logprobs } = await engine.generate({ ...request(prompt, 1), logprobs: 0 }).result();
      return { token: tokens[0] ?? Number.NaN, logprob: logprobs?.[0] ?? Number.NaN };
    },
    decode: (prompts, tokens) =>
      Promise.all(
        prompts.map(async (prompt) => {
          const startedAt = performance.now();
          return tokenTimes(startedAt, await engine.generate(request(prompt, tokens)).result());
        }),
      ),
    close: () => engine.close(),
    facts: { device: engine.device, weightBytes: engine.stats().weightBytes, kv: kvDtype },
  };
});
