/**
 * Finds the tensors of a model in its safetensors files without reading their data: one model.safetensors, or shards
 * listed by model.safetensors.index.json. A file is a little-endian u64 length, so many bytes of JSON, and raw data
 * (https://github.com/huggingface/safetensors); offsets in the JSON count from the first byte of data.
 *
 * The files may come from anybody: nothing in them is believed before it is checked.
 */
import { open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { BlockAttentionError } from '../errors.js';
import type { NativeTensor } from '../native.js';
import { quote } from './fields.js';
import { fileExists, ioError, parseJson, readJson } from './files.js';

/** A tensor as it is stored; its dtype may be one that the engine cannot use. */
export type StoredTensor = Omit<NativeTensor, 'dtype'> & { dtype: string };

export interface StoredTensors {
  /** Absolute paths. */
  files: string[];
  tensors: StoredTensor[];
}

const SINGLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';

/** The reference implementation allows three times as many; no model has a tenth, and they are parsed on the event loop. */
const MAX_HEADER_BYTES = 1 << 25;
const LENGTH_BYTES = 8;
const MAX_DIMENSIONS = 8;

const ELEMENT_BYTES: ReadonlyMap<string, number> = new Map([
  ['BOOL', 1],
  ['U8', 1],
  ['I8', 1],
  ['F8_E4M3', 1],
  ['F8_E5M2', 1],
  ['F8_E8M0', 1],
  ['I16', 2],
  ['U16', 2],
  ['F16', 2],
  ['BF16', 2],
  ['I32', 4],
  ['U32', 4],
  ['F32', 4],
  ['I64', 8],
  ['U64', 8],
  ['F64', 8],
]);

/** All tensors of the model in `folder`. IO if a file is missing, MODEL_FORMAT if one contradicts the format. */
export async function findTensors(folder: string): Promise<StoredTensors> {
  const single = join(folder, SINGLE_FILE);
  if (await fileExists(single)) return collect([single], undefined);
  const indexPath = join(folder, INDEX_FILE);
  if (await fileExists(indexPath)) {
    const index = await readIndex(indexPath);
    const shards = [...new Set(index.values())].sort();
    return collect(
      shards.map((shard) => join(folder, shard)),
      { path: indexPath, shardOf: index },
    );
  }
  if (await fileExists(join(folder, 'pytorch_model.bin'))) {
    throw new BlockAttentionError(
      'UNSUPPORTED',
      `${folder} has pytorch_model.bin only: convert it to ${SINGLE_FILE}.`,
    );
  }
  throw new BlockAttentionError('IO', `${folder} has neither ${SINGLE_FILE} nor ${INDEX_FILE}.`);
}

interface ShardIndex {
  path: string;
  /** Tensor name to file name. */
  shardOf: ReadonlyMap<string, string>;
}

async function collect(files: string[], index: ShardIndex | undefined): Promise<StoredTensors> {
  const tensors: StoredTensor[] = [];
  const seen = new Map<string, string>();
  for (const [number, path] of files.entries()) {
    for (const tensor of await readHeader(path, number)) {
      const other = seen.get(tensor.name);
      if (other !== undefined) throw malformed(path, `tensor ${quote(tensor.name)} is also in ${other}`);
      seen.set(tensor.name, path);
      tensors.push(tensor);
    }
  }
  for (const [name, shard] of index?.shardOf ?? []) {
    const path = seen.get(name);
    if (path === undefined || basename(path) !== shard) {
      throw malformed(index?.path ?? '', `tensor ${quote(name)} is not in ${shard}, where the index puts it`);
    }
  }
  return { files, tensors };
}

async function readIndex(path: string): Promise<Map<string, string>> {
  const json = await readJson(path);
  const { weight_map: map } = isRecord(json) ? json : {};
  if (!isRecord(map)) throw malformed(path, `weight_map is ${quote(map)}, expected an object`);
  const entries = Object.entries(map).map(([name, shard]): [string, string] => {
    // A name that leads out of the folder would make any file of the machine part of the model.
    const plain =
      typeof shard === 'string' && shard !== '' && !/[/\\\0]/.test(shard) && !/^\.\.?$/.test(shard);
    if (!plain) throw malformed(path, `tensor ${quote(name)} lies in ${quote(shard)}, expected a file name`);
    return [name, shard];
  });
  if (entries.length === 0) throw malformed(path, 'weight_map is empty');
  return new Map(entries);
}

/** The tensors of one file; `file` is its index in `StoredTensors.files`. */
async function readHeader(path: string, file: number): Promise<StoredTensor[]> {
  const { text, dataStart, fileBytes } = await readHeaderText(path);
  const header = parseJson(text, `the header of ${path}`);
  if (!isRecord(header)) throw malformed(path, 'the header is not an object');
  refuseDuplicates(path, text);
  const tensors: StoredTensor[] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    tensors.push({ name, file, ...checkEntry(path, name, entry, dataStart, fileBytes) });
  }
  refuseOverlaps(path, tensors);
  return tensors;
}

async function readHeaderText(path: string): Promise<{ text: string; dataStart: number; fileBytes: number }> {
  // Before it is opened: opening a pipe would wait for a writer.
  if (!(await fileExists(path)))
    throw new BlockAttentionError('IO', `Cannot read ${path}: it does not exist.`);
  try {
    const handle = await open(path, 'r');
    try {
      const fileBytes = (await handle.stat()).size;
      const length = Buffer.alloc(LENGTH_BYTES);
      const { bytesRead } = await handle.read(length, 0, LENGTH_BYTES, 0);
      if (bytesRead < LENGTH_BYTES) throw malformed(path, `it has ${fileBytes} bytes, too few for a header`);
      const headerBytes = Number(length.readBigUInt64LE());
      const dataStart = LENGTH_BYTES + headerBytes;
      if (headerBytes > MAX_HEADER_BYTES || dataStart > fileBytes) {
        throw malformed(path, `its header would have ${headerBytes} bytes, but the file has ${fileBytes}`);
      }
      const header = Buffer.alloc(headerBytes);
      const read = await handle.read(header, 0, headerBytes, LENGTH_BYTES);
      if (read.bytesRead < headerBytes) throw malformed(path, 'it became shorter while it was read');
      return { text: header.toString('utf8'), dataStart, fileBytes };
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw error instanceof BlockAttentionError ? error : ioError(path, error);
  }
}

function checkEntry(
  path: string,
  name: string,
  entry: unknown,
  dataStart: number,
  fileBytes: number,
): Omit<StoredTensor, 'name' | 'file'> {
  const wrong = (what: string) => malformed(path, `tensor ${quote(name)}: ${what}`);
  if (!isRecord(entry)) throw wrong(`its entry is ${quote(entry)}, expected an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  const elementBytes = typeof dtype === 'string' ? ELEMENT_BYTES.get(dtype) : undefined;
  if (typeof dtype !== 'string' || elementBytes === undefined) throw wrong(`unknown dtype ${quote(dtype)}`);
  if (!isCounts(shape) || shape.length > MAX_DIMENSIONS)
    throw wrong(`shape ${quote(shape)} is not a list of sizes`);
  if (!isCounts(offsets) || offsets.length !== 2)
    throw wrong(`data_offsets ${quote(offsets)} are not two offsets`);
  const [begin = 0, end = 0] = offsets;
  // In floating point, so that no product wraps around; anything inexact is far larger than the range it must equal.
  const bytes = shape.reduce((product, size) => product * size, elementBytes);
  if (end < begin || end - begin !== bytes) {
    throw wrong(
      `data_offsets ${quote(offsets)} do not hold ${quote(shape)} values of ${dtype} (${bytes} bytes)`,
    );
  }
  if (dataStart + end > fileBytes) {
    throw wrong(`its data end at byte ${dataStart + end}, but the file has ${fileBytes}: it is truncated`);
  }
  const offset = dataStart + begin;
  if (offset % elementBytes !== 0)
    throw wrong(`its data begin at byte ${offset}, which is not aligned to ${dtype}`);
  return { dtype, shape, offset, bytes };
}

function refuseOverlaps(path: string, tensors: readonly StoredTensor[]): void {
  const sorted = tensors.filter((tensor) => tensor.bytes > 0).sort((a, b) => a.offset - b.offset);
  let previous: StoredTensor | undefined;
  for (const tensor of sorted) {
    if (previous !== undefined && tensor.offset < previous.offset + previous.bytes) {
      throw malformed(path, `the data of tensors ${quote(previous.name)} and ${quote(tensor.name)} overlap`);
    }
    previous = tensor;
  }
}

/** JSON.parse silently keeps the last of equal keys; other readers may keep the first. `text` is valid JSON. */
function refuseDuplicates(path: string, text: string): void {
  const seen = new Set<string>();
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '{') depth += 1;
    else if (character === '}') depth -= 1;
    else if (character === '"') {
      // Strings are skipped whole, so a brace inside one does not count.
      const end = stringEnd(text, at);
      if (depth === 1 && isKey(text, end)) {
        const name = String(JSON.parse(text.slice(at, end)));
        if (seen.has(name)) throw malformed(path, `tensor ${quote(name)} is listed twice`);
        seen.add(name);
      }
      at = end - 1;
    }
  }
}

/** The index behind the string that begins at `start`. (A regular expression would take stack for every character.) */
function stringEnd(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text[end - 1 - backslashes] === '\\') backslashes += 1;
    if (backslashes % 2 === 0) return end + 1;
  }
  return text.length;
}

/** Whether the string that ends before `end` is followed by a colon. */
function isKey(text: string, end: number): boolean {
  let at = end;
  while (at < text.length && ' \t\n\r'.includes(text.charAt(at))) at += 1;
  return text[at] === ':';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((entry) => Number.isSafeInteger(entry) && entry >= 0);
}

function malformed(path: string, what: string): BlockAttentionError {
  return new BlockAttentionError('MODEL_FORMAT', `${path}: ${what}.`);
}
