/**
 * What is in a model folder, also in one that cannot be loaded: every part is read for itself, and what is wrong with it
 * is noted. Weights are not read, only their headers.
 */
import { join, resolve } from 'node:path';
import { type ErrorCode, toBlockAttentionError } from '../errors.js';
import { loadChatTemplate } from './chat-template.js';
import { parseModelConfig } from './config.js';
import { Fields } from './fields.js';
import { fileExists, readJson } from './files.js';
import { checkFolder } from './folder.js';
import { parseGenerationConfig } from './generation-config.js';
import { readRope } from './rope-config.js';
import type { RopeParameters } from './rope.js';
import { findTensors, type StoredTensor, type StoredTensors } from './safetensors.js';
import { openTokenizer } from './tokenizer/handle.js';
import type { ModelConfig } from './types.js';
import { checkWeights } from './weights.js';

export interface ModelProblem {
  /** As loading would fail. */
  code: ErrorCode;
  message: string;
}

export interface FolderContents {
  /** Absolute. */
  path: string;
  problems: ModelProblem[];
  /** As config.json names it, supported or not. */
  architecture: string | undefined;
  config: ModelConfig | undefined;
  rope: RopeParameters | undefined;
  /** The tensors that the model uses; all that there are if config.json cannot be used. */
  tensors: readonly StoredTensor[] | undefined;
  /** Path of tokenizer.json. */
  tokenizer: string | undefined;
  /** Path of the file with the chat template. */
  chatTemplate: string | undefined;
}

/** IO if there is no such folder, ABORTED. Everything else is a problem in the result. */
export async function inspectFolder(path: string, signal: AbortSignal | undefined): Promise<FolderContents> {
  const folder = resolve(path);
  await checkFolder(folder);
  const problems: ModelProblem[] = [];
  const attempt = async <Result>(act: () => Result | Promise<Result>): Promise<Result | undefined> => {
    try {
      return await act();
    } catch (thrown) {
      const error = toBlockAttentionError(thrown);
      if (error.code === 'ABORTED') throw error;
      problems.push({ code: error.code, message: error.message });
      return undefined;
    }
  };

  const configFile = join(folder, 'config.json');
  const json = await attempt(() => readJson(configFile));
  const config = json === undefined ? undefined : await attempt(() => parseModelConfig(json, configFile));
  const generationFile = join(folder, 'generation_config.json');
  if (config !== undefined && (await fileExists(generationFile)))
    await attempt(async () => parseGenerationConfig(await readJson(generationFile), generationFile, config));
  const stored = await attempt(() => findTensors(folder));
  const used = await attempt(() => usedTensors(config, stored));
  const tokenizerFile = join(folder, 'tokenizer.json');
  const hasTokenizer = await fileExists(tokenizerFile);
  if (hasTokenizer) await attempt(() => tryTokenizer(tokenizerFile, config, signal));
  const template = await attempt(() => loadChatTemplate(folder));
  return {
    path: folder,
    problems,
    architecture: config?.architecture ?? namedArchitecture(json),
    config,
    rope: config === undefined ? undefined : ropeOf(configFile, json, config),
    tensors: used ?? stored?.tensors,
    tokenizer: hasTokenizer ? tokenizerFile : undefined,
    chatTemplate: template?.file,
  };
}

function usedTensors(
  config: ModelConfig | undefined,
  stored: StoredTensors | undefined,
): readonly StoredTensor[] | undefined {
  if (config === undefined || stored === undefined) return undefined;
  return checkWeights(config, stored).tensors;
}

/** Some kinds of tokenizers are not supported, and only loading one tells. */
async function tryTokenizer(
  path: string,
  config: ModelConfig | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  const vocabSize = config?.native.vocabSize ?? Number.POSITIVE_INFINITY;
  const tokenizer = await openTokenizer({ path }, { vocabSize, signal });
  await tokenizer.close();
}

function ropeOf(file: string, json: unknown, config: ModelConfig): RopeParameters {
  const fields = new Fields(file, json);
  const declared = fields.integer('max_position_embeddings', { min: 1, max: 2 ** 31 - 1 });
  return readRope(fields, config.native.headDim, declared).parameters;
}

function namedArchitecture(json: unknown): string | undefined {
  if (typeof json !== 'object' || json === null) return undefined;
  const { architectures, model_type: modelType }: { architectures?: unknown; model_type?: unknown } = json;
  const name: unknown =
    Array.isArray(architectures) && architectures.length > 0 ? architectures[0] : modelType;
  return typeof name === 'string' ? name : undefined;
}
