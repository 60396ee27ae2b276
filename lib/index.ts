/**
 * `block-attention`: an LLM inference engine for retrieval-augmented generation that encodes every document once.
 *
 *     const engine = await Engine.load('./model');
 *     const generation = engine.generate({ documents, query });
 *     for await (const part of generation) process.stdout.write(part.text);
 *     const { usage, timings } = await generation.result();
 */
export { type CloseOptions, Engine, type ModelInfo } from './engine/engine.js';
export type { BlockKey } from './cache/key.js';
export type { DeleteTarget } from './engine/deletion.js';
export type { Flops, FlopsPair } from './engine/flops.js';
export type { Generation } from './engine/generation.js';
export { type InspectOptions, inspectModel, type ModelReport } from './engine/inspect.js';
export type { LoadOptions, RandomOptions } from './engine/load-options.js';
export type { PromptOptions } from './engine/prompt.js';
export {
  type BlockOptions,
  type EncodeOptions,
  type GenerateRequest,
  REQUEST_FIELDS,
} from './engine/request.js';
export type {
  BlockUsage,
  GenerationPart,
  GenerationResult,
  Timings,
  TokenLogprob,
  Usage,
} from './engine/result.js';
export type { SamplingOptions } from './engine/sampling.js';
export type { BlockStatus } from './engine/job.js';
export type { EngineStats } from './engine/stats.js';
export { Tokenizer, type TokenizerOptions } from './engine/tokenizer.js';
export { BlockAttentionError, ERROR_CODES, type ErrorCode } from './errors.js';
export type { ChatMessage } from './model/chat-format.js';
export type { ReferenceDocument } from './model/reference-format.js';
export type { ModelProblem } from './model/inspect.js';
export type { RopeParameters } from './model/rope.js';
export { SHAPE_NAMES, type ShapeName } from './model/shapes.js';
export type { BlockInput, TextInput, TextPart } from './model/types.js';
export {
  builtDevices,
  type Device,
  type DType,
  type GpuReport,
  type KvDType,
  type NativeLoadProgress as LoadProgress,
  type OpTime,
  type WeightsCacheReport,
} from './native.js';
