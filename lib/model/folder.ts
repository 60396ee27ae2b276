/**
 * A Hugging Face model folder: what the engine needs to know before anything is loaded. Reads config.json,
 * generation_config.json, the chat template and the headers of the weights; neither the weights nor the tokenizer.
 */
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { BlockAttentionError } from '../errors.js';
import { loadChatTemplate } from './chat-template.js';
import { parseModelConfig } from './config.js';
import { fileExists, ioError, readJson } from './files.js';
import { defaultGeneration, parseGenerationConfig } from './generation-config.js';
import { findTensors } from './safetensors.js';
import type { GenerationDefaults, ModelConfig, ModelFolder } from './types.js';
import { checkWeights } from './weights.js';

/**
 * IO if the folder or a file of it cannot be read, MODEL_FORMAT if a file is malformed or contradicts another one,
 * UNSUPPORTED if the model needs something that the engine cannot do, ABORTED if `signal` fired.
 */
export async function loadModelFolder(
  path: string,
  options?: { signal?: AbortSignal | undefined },
): Promise<ModelFolder> {
  const folder = resolve(path);
  await checkFolder(folder);
  const configPath = join(folder, 'config.json');
  const config = parseModelConfig(await readJson(configPath), configPath);
  const generation = await loadGeneration(folder, config);
  throwIfAborted(options?.signal);
  const weights = checkWeights(config, await findTensors(folder));
  const tokenizerPath = join(folder, 'tokenizer.json');
  const tokenizer = (await fileExists(tokenizerPath)) ? { path: tokenizerPath } : undefined;
  const chatTemplate = await loadChatTemplate(folder);
  throwIfAborted(options?.signal);
  return { path: folder, config, weights, generation, tokenizer, chatTemplate };
}

/** IO unless there is a folder of that path. */
export async function checkFolder(folder: string): Promise<void> {
  let isFolder: boolean;
  try {
    isFolder = (await stat(folder)).isDirectory();
  } catch (error) {
    throw ioError(`the model folder ${folder}`, error);
  }
  if (!isFolder)
    throw new BlockAttentionError('IO', `Cannot read the model folder ${folder}: it is not a folder.`);
}

async function loadGeneration(folder: string, config: ModelConfig): Promise<GenerationDefaults> {
  const path = join(folder, 'generation_config.json');
  if (!(await fileExists(path))) return defaultGeneration(config);
  return parseGenerationConfig(await readJson(path), path, config);
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted)
    throw new BlockAttentionError('ABORTED', 'Loading was aborted.', { cause: signal.reason });
}
