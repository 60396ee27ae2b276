/**
 * The typed errors of the package. Everything that it throws on purpose is a `BlockAttentionError`; `code` is stable
 * and meant for programs, `message` names what is wrong and what to do.
 */

export const ERROR_CODES = [
  /** An argument or option has the wrong type or range. */
  'INVALID_ARGUMENT',
  /** The final block has no tokens. */
  'EMPTY_QUERY',
  /** A token id is not in the model's vocabulary. */
  'TOKEN_OUT_OF_RANGE',
  /** Text was given, but the model folder has no tokenizer. */
  'TOKENIZER_MISSING',
  /** The tokenizer produces ids that the model does not have. */
  'TOKENIZER_MISMATCH',
  /** Prompt and maxTokens do not fit the model's context. */
  'PROMPT_TOO_LONG',
  /** One request needs more KV memory than the whole cache has. */
  'CACHE_TOO_SMALL',
  /** The model folder or a file in it cannot be read. */
  'IO',
  /** A model file contradicts its format, or another file. */
  'MODEL_FORMAT',
  /** The model, RoPE type, device or option is known but not supported. */
  'UNSUPPORTED',
  /** The caller's AbortSignal fired. */
  'ABORTED',
  /** A configured time limit passed. */
  'TIMEOUT',
  /** The engine was closed. */
  'CLOSED',
  /** Memory could not be allocated. */
  'OUT_OF_MEMORY',
  /** The KV pool has no free page (the engine queues such requests; callers see it only from the native face). */
  'OUT_OF_PAGES',
  /** There is no such device, or it is too old; the message says what was found. */
  'DEVICE_UNAVAILABLE',
  /** The GPU or its driver failed while it computed. Close the engine and load a new one. */
  'DEVICE',
  /** The native addon is not built for this platform. */
  'NATIVE_UNAVAILABLE',
  /** A defect of this package. */
  'INTERNAL',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export class BlockAttentionError extends Error {
  override readonly name = 'BlockAttentionError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

function isErrorCode(code: unknown): code is ErrorCode {
  return ERROR_CODES.some((known) => known === code);
}

/** Any thrown value as a `BlockAttentionError`: those of the addon carry a `code`; unknown ones become INTERNAL. */
export function toBlockAttentionError(error: unknown): BlockAttentionError {
  if (error instanceof BlockAttentionError) return error;
  const code = error instanceof Error && 'code' in error && isErrorCode(error.code) ? error.code : 'INTERNAL';
  return new BlockAttentionError(code, error instanceof Error ? error.message : String(error), {
    cause: error,
  });
}
