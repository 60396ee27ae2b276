// The contender node-llama-cpp: llama.cpp's prebuilt binaries for Node, out of the node_modules folder that it is given.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { serve } from '../serve.mjs';

const [nodeModules = ''] = process.argv.slice(2);
const { getLlama, LlamaLogLevel } = await import(createRequire(nodeModules).resolve('node-llama-cpp'));

const BATCH_TOKENS = 512;
const STREAMS = 8;

// Once for the process: it finds and tries out the binary, which no load of a model should pay for.
const llama = await getLlama({
  gpu: false,
  // Only what the package brings along: nothing is downloaded, nothing built.
  build: 'never',
  skipDownload: true,
  progressLogs: false,
  logLevel: LlamaLogLevel.error,
});

/** Which of its libraries for CPUs llama.cpp has loaded, as far as Linux tells. */
async function loadedCpuLibrary() {
  const maps = await readFile('/proc/self/maps', 'utf8').catch(() => '');
  return [...new Set(maps.match(/libggml-cpu[\w-]*\.so/g))].join(' ') || 'unknown';
}
const cpuLibrary = await loadedCpuLibrary();

await serve(async ({ model: modelPath, threads, positions, flashAttention = true }) => {
  llama.maxThreads = threads;
  const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
  /** @param {number} sequences */
  const contextOf = async (sequences) => {
    const context = await model.createContext({
      sequences,
      contextSize: positions,
      batchSize: BATCH_TOKENS,
      threads: { ideal: threads, min: threads },
      flashAttention,
    });
    return { context, sequences: Array.from({ length: sequences }, () => context.getSequence()) };
  };
  const single = await contextOf(1);
  /** Made when it is first needed: loading does not pay for it. @type {ReturnType<typeof contextOf> | undefined} */
  let several;
  const greedy = { temperature: 0, yieldEogToken: true };
  return {
    async *generate(stream, streams, prompt) {
      if (streams > 1) several ??= contextOf(STREAMS);
      const { sequences } = streams > 1 && several !== undefined ? await several : single;
      await sequences[stream].clearHistory();
      yield* sequences[stream].evaluate(prompt, greedy);
    },
    async first(prompt) {
      const [sequence] = single.sequences;
      await sequence.clearHistory();
      for await (const { token, confidence } of sequence.evaluateWithMetadata(
        prompt,
        { confidence: true },
        greedy,
      ))
        return { token, logprob: Math.log(confidence) };
      throw new Error('an answer had no token');
    },
    async close() {
      await single.context.dispose();
      await (await several)?.context.dispose();
      await model.dispose();
    },
    facts: {
      llamaCpp: `${llama.llamaCppRelease.repo} ${llama.llamaCppRelease.release}`,
      build: llama.buildType,
      cpuLibrary,
      system: llama.systemInfo.trim(),
      threads: single.context.currentThreads,
      batchTokens: single.context.batchSize,
      flashAttention,
      kv: 'f16',
    },
  };
});
