/** What a caller asks for, and its checks. Nothing is computed here. */
import { BlockAttentionError } from '../errors.js';
import type { BlockInput, GenerationDefaults } from '../model/types.js';
import type { NativeSampling } from '../native.js';
import {
  checkArray,
  checkBoolean,
  checkChoice,
  checkFields,
  checkInteger,
  checkSignal,
  checkString,
  type Fields,
  invalid,
  optional,
} from './checks.js';
import { checkPrompt, type CheckedPrompt, type PromptOptions, PROMPT_FIELDS } from './prompt.js';
import { checkSampling, checkToken, SAMPLING_FIELDS, type SamplingOptions } from './sampling.js';

/** What the blocks of a prompt see, and whom they are shared with. */
export interface BlockOptions {
  /**
   * 'block' (the default): each block is encoded on its own and reused wherever it stands. 'full': ordinary attention,
   * each block sees all blocks before it, so a block is reused where everything before it is the same.
   */
  attention?: 'block' | 'full' | undefined;
  /**
   * In block mode: every block is encoded directly behind the first one (the system text), sees it, and is reused
   * wherever a prompt begins with that same block. false unless said.
   */
  sharedPrefix?: boolean | undefined;
  /** Blocks are reused only within one namespace: give each tenant its own. '' unless said. */
  namespace?: string | undefined;
  /** Ends the work; what it belongs to then fails with ABORTED. */
  signal?: AbortSignal | undefined;
}

export interface GenerateRequest extends PromptOptions, BlockOptions, SamplingOptions {
  /**
   * The final block: it sees all blocks. At least one token. Required, except where `messages` end with it or `prompt`
   * holds it.
   */
  query?: BlockInput | undefined;
  /** Most tokens of the answer, 256 unless said; cut down to what fits behind the prompt in the model's context. */
  maxTokens?: number | undefined;
  /** Texts that end the answer; they are not part of it. */
  stop?: string | readonly string[] | undefined;
  /** Token ids that end the answer, besides the model's own; part of `tokens`, not of `text`. */
  stopTokens?: readonly number[] | undefined;
  /** Go on behind the model's own end-of-text tokens. */
  ignoreEos?: boolean | undefined;
}

export interface EncodeOptions extends BlockOptions {}

export interface CheckedBlockOptions {
  attention: 'block' | 'full';
  sharedPrefix: boolean;
  namespace: string;
  signal: AbortSignal | undefined;
}

export interface CheckedRequest {
  prompt: CheckedPrompt;
  options: CheckedBlockOptions;
  maxTokens: number;
  sampling: NativeSampling;
  stop: readonly string[];
  stopTokens: number[];
}

/** What a model allows. */
export interface RequestLimits {
  vocabSize: number;
  hasTokenizer: boolean;
  defaults: GenerationDefaults;
}

const BLOCK_OPTION_FIELDS = [
  'attention',
  'sharedPrefix',
  'namespace',
  'signal',
] as const satisfies readonly (keyof BlockOptions)[];

/** The fields of a `GenerateRequest`. */
export const REQUEST_FIELDS = [
  ...PROMPT_FIELDS,
  'query',
  ...BLOCK_OPTION_FIELDS,
  'maxTokens',
  'stop',
  'stopTokens',
  'ignoreEos',
  ...SAMPLING_FIELDS,
] as const satisfies readonly (keyof GenerateRequest)[];

const DEFAULT_MAX_TOKENS = 256;
const MAX_INT32 = 2 ** 31 - 1;

export function checkRequest(request: unknown, limits: RequestLimits): CheckedRequest {
  const fields = checkFields(request, 'request', REQUEST_FIELDS);
  const ignoreEos = optional(fields.ignoreEos, false, (value) => checkBoolean(value, 'ignoreEos'));
  const stopTokens = optional(fields.stopTokens, [], (value) => checkStopTokens(value, limits.vocabSize));
  return {
    prompt: checkPrompt(fields),
    options: blockOptions(fields),
    maxTokens: optional(fields.maxTokens, DEFAULT_MAX_TOKENS, (value) =>
      checkInteger(value, 'maxTokens', { min: 1, max: MAX_INT32 }),
    ),
    sampling: checkSampling(fields, limits.defaults.sampling, limits.vocabSize),
    stop: optional(fields.stop, [], (value) => checkStop(value, limits.hasTokenizer)),
    stopTokens: [...new Set(ignoreEos ? stopTokens : [...limits.defaults.eosTokenIds, ...stopTokens])],
  };
}

export function checkBlockOptions(options: unknown): CheckedBlockOptions {
  return blockOptions(checkFields(options, 'options', BLOCK_OPTION_FIELDS));
}

function blockOptions(fields: Fields): CheckedBlockOptions {
  return {
    attention: optional(fields.attention, 'block', (value) =>
      checkChoice(value, 'attention', ['block', 'full'] as const),
    ),
    sharedPrefix: optional(fields.sharedPrefix, false, (value) => checkBoolean(value, 'sharedPrefix')),
    namespace: optional(fields.namespace, '', (value) => checkString(value, 'namespace')),
    signal: optional(fields.signal, undefined, (value) => checkSignal(value, 'signal')),
  };
}

function checkStop(value: unknown, hasTokenizer: boolean): readonly string[] {
  const stops = typeof value === 'string' ? [value] : checkArray(value, 'stop');
  if (stops.length > 0 && !hasTokenizer) {
    throw new BlockAttentionError(
      'TOKENIZER_MISSING',
      'stop needs a tokenizer, and the model folder has no tokenizer.json; use stopTokens',
    );
  }
  return stops.map((stop, index) => {
    if (typeof stop !== 'string' || stop === '')
      throw invalid(`stop[${index}]`, 'a string that is not empty', stop);
    return stop;
  });
}

function checkStopTokens(value: unknown, vocabSize: number): number[] {
  return checkArray(value, 'stopTokens').map((token, index) =>
    checkToken(token, `stopTokens[${index}]`, vocabSize),
  );
}
