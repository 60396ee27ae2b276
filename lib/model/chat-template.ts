/**
 * A model's own chat template: a Jinja program that lays out a conversation, from chat_template.jinja or
 * tokenizer_config.json, and the special tokens that it may name. It comes with the model and is trusted like it: the
 * special tokens that it spells count. It is only run in the tokenizer worker, under a time limit.
 */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BlockAttentionError } from '../errors.js';
import { Fields } from './fields.js';
import { fileExists, ioError, readJson } from './files.js';

export interface ChatTemplate {
  /** Absolute path of the file that it came from. */
  file: string;
  /** Jinja. */
  source: string;
  /** By the names that templates use ("bos_token"), their spellings. */
  specialTokens: Readonly<Record<string, string>>;
}

/** Far above any real template. */
const MAX_TEMPLATE_BYTES = 1 << 20;

/** What transformers hands to a template. */
const SPECIAL_TOKENS = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const;

/**
 * The template of a model folder; undefined if there is none. As in transformers, chat_template.jinja goes before
 * tokenizer_config.json, and of several named ones "default" is taken. IO or MODEL_FORMAT if a file cannot be read or is
 * malformed.
 */
export async function loadChatTemplate(folder: string): Promise<ChatTemplate | undefined> {
  const configFile = join(folder, 'tokenizer_config.json');
  const config = (await fileExists(configFile))
    ? new Fields(configFile, await readJson(configFile))
    : undefined;
  const ownFile = join(folder, 'chat_template.jinja');
  const found = (await fileExists(ownFile))
    ? { file: ownFile, source: await readTemplate(ownFile) }
    : { file: configFile, source: config === undefined ? undefined : templateOf(config) };
  if (found.source === undefined) return undefined;
  if (Buffer.byteLength(found.source) > MAX_TEMPLATE_BYTES) throw tooLarge(found.file);
  return {
    file: found.file,
    source: found.source,
    specialTokens: config === undefined ? {} : specialTokensOf(config),
  };
}

async function readTemplate(file: string): Promise<string> {
  try {
    if ((await stat(file)).size > MAX_TEMPLATE_BYTES) throw tooLarge(file);
    return await readFile(file, 'utf8');
  } catch (error) {
    throw error instanceof BlockAttentionError ? error : ioError(file, error);
  }
}

/** A string, or a list of {name, template}. */
function templateOf(config: Fields): string | undefined {
  const value = config.raw('chat_template');
  if (!Array.isArray(value)) return config.string('chat_template');
  for (const entry of value) {
    const fields = new Fields(config.file, entry, 'chat_template.');
    if (fields.string('name') === 'default') return fields.string('template');
  }
  return undefined;
}

/** Spelled out, or as an object with the spelling in `content`. */
function specialTokensOf(config: Fields): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const name of SPECIAL_TOKENS) {
    const value = config.raw(name);
    const spelling = typeof value === 'object' ? config.object(name)?.string('content') : config.string(name);
    if (spelling !== undefined) tokens[name] = spelling;
  }
  return tokens;
}

function tooLarge(file: string): BlockAttentionError {
  return new BlockAttentionError(
    'MODEL_FORMAT',
    `${file}: the chat template has more than ${MAX_TEMPLATE_BYTES} bytes.`,
  );
}
