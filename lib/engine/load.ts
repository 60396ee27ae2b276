/** Puts together what an engine is made of: a model folder or a named shape, the native engine, the tokenizer. */
import { join } from 'node:path';
import { BlockAttentionError } from '../errors.js';
import type { ChatTemplate } from '../model/chat-template.js';
import { parseModelConfig } from '../model/config.js';
import { fileExists, readJson } from '../model/files.js';
import { loadModelFolder } from '../model/folder.js';
import { defaultGeneration } from '../model/generation-config.js';
import { isShapeName, namedShape } from '../model/shapes.js';
import { openTokenizer } from '../model/tokenizer/handle.js';
import type { GenerationDefaults, ModelConfig, TokenizerHandle } from '../model/types.js';
import { loadNativeEngine, type NativeEngine, type NativeEvent } from '../native.js';
import {
  checkLoadOptions,
  checkRandomOptions,
  type CheckedLoadOptions,
  type LoadOptions,
  type RandomOptions,
} from './load-options.js';

export interface EngineParts {
  native: NativeEngine;
  /** Whoever is to hear of native events sets `deliver`. */
  events: { deliver(events: readonly NativeEvent[]): void };
  config: ModelConfig;
  defaults: GenerationDefaults;
  tokenizer: TokenizerHandle | undefined;
  chatTemplate?: ChatTemplate | undefined;
}

/** `loadNativeEngine`, or a stand-in for it. */
export type NativeLoader = typeof loadNativeEngine;

export async function loadParts(
  path: string,
  options: LoadOptions | undefined,
  loadNative: NativeLoader = loadNativeEngine,
): Promise<EngineParts> {
  const checked = checkLoadOptions(options);
  throwIfAborted(checked.signal);
  const folder = await loadModelFolder(path, { signal: checked.signal });
  const { vocabSize } = folder.config.native;

  // Both take seconds for a large model, so they run at the same time; if one fails, the other is ended.
  const failure = new AbortController();
  const signal =
    checked.signal === undefined ? failure.signal : AbortSignal.any([failure.signal, checked.signal]);
  const stopOther = (error: unknown) => {
    failure.abort(error);
    throw error;
  };
  const events = eventRelay();
  const loadingEngine = loadNative(
    folder.config.native,
    folder.weights,
    { ...checked.native, maxPositions: folder.config.maxPositions },
    (batch) => events.deliver(batch),
    checked.onProgress,
    signal,
  ).catch(stopOther);
  const openingTokenizer =
    folder.tokenizer === undefined
      ? Promise.resolve(undefined)
      : openTokenizer(folder.tokenizer, { vocabSize, signal }).catch(stopOther);
  const [engine, tokenizer] = await Promise.allSettled([loadingEngine, openingTokenizer]);
  if (engine.status === 'fulfilled' && tokenizer.status === 'fulfilled') {
    return {
      native: engine.value,
      events,
      config: folder.config,
      defaults: folder.generation,
      tokenizer: tokenizer.value,
      chatTemplate: folder.chatTemplate,
    };
  }
  if (engine.status === 'fulfilled') await engine.value.close();
  if (tokenizer.status === 'fulfilled') await tokenizer.value?.close();
  throwIfAborted(checked.signal);
  throw failure.signal.reason;
}

export async function randomParts(
  shape: string,
  options: RandomOptions | undefined,
  loadNative: NativeLoader = loadNativeEngine,
): Promise<EngineParts> {
  const checked = checkRandomOptions(options);
  throwIfAborted(checked.signal);
  const config = await randomConfig(shape);
  const events = eventRelay();
  const native = await loadNative(
    config.native,
    { seed: checked.seed, dtype: checked.dtype },
    { ...checked.native, maxPositions: config.maxPositions },
    (batch) => events.deliver(batch),
    checked.onProgress,
    checked.signal,
  );
  return {
    native,
    events,
    config,
    defaults: defaultGeneration(config),
    tokenizer: undefined,
  };
}

/** Of a named shape, or of a folder, whose weights are not looked at. */
export async function randomConfig(shape: string): Promise<ModelConfig> {
  const file = join(shape, 'config.json');
  if (isShapeName(shape) || !(await fileExists(file))) return namedShape(shape);
  return parseModelConfig(await readJson(file), file);
}

function eventRelay(): EngineParts['events'] {
  return { deliver: () => undefined };
}

function throwIfAborted(signal: CheckedLoadOptions['signal']): void {
  if (signal?.aborted)
    throw new BlockAttentionError('ABORTED', 'Loading was aborted.', { cause: signal.reason });
}
