/** Reading the files of a model folder: IO errors name the path, and text that is not JSON is a MODEL_FORMAT error. */
import { readFile, stat } from 'node:fs/promises';
import { BlockAttentionError } from '../errors.js';

/** Far above any real config, index or tokenizer_config: they are parsed on the event loop. */
const MAX_JSON_BYTES = 1 << 24;

/** Whether there is a regular file (or a link to one). */
export async function fileExists(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT') || hasErrorCode(error, 'ENOTDIR')) return false;
    throw ioError(path, error);
  }
}

export async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    const info = await stat(path);
    if (!info.isFile()) throw new Error('not a file');
    checkSize(path, info.size, MAX_JSON_BYTES);
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof BlockAttentionError) throw error;
    throw ioError(path, error);
  }
  return parseJson(text, path);
}

/** MODEL_FORMAT if a file is larger than any of its kind: it would cost its size in memory to find out what it is. */
export function checkSize(path: string, bytes: number, most: number): void {
  if (bytes <= most) return;
  throw new BlockAttentionError(
    'MODEL_FORMAT',
    `${path} has ${bytes} bytes, more than any such file; at most ${most} are read.`,
  );
}

export function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // Python writes these for numbers that JSON does not have.
    const [, field, value] = /"([^"\\]*)"\s*:\s*(NaN|-?Infinity)/.exec(text) ?? [];
    const reason = error instanceof Error ? error.message : String(error);
    const message =
      field === undefined
        ? `${file} is not JSON: ${reason}`
        : `${file}: ${field} is ${value}, expected JSON.`;
    throw new BlockAttentionError('MODEL_FORMAT', message, { cause: error });
  }
}

export function ioError(path: string, error: unknown): BlockAttentionError {
  const cause = hasErrorCode(error, 'ENOENT')
    ? 'it does not exist'
    : error instanceof Error
      ? error.message
      : String(error);
  return new BlockAttentionError('IO', `Cannot read ${path}: ${cause}.`, { cause: error });
}

function hasErrorCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
