/**
 * Downloads a model from a Hugging Face hub: the files that loading reads, and no others. Interrupted downloads go on where
 * they stopped, and every file is checked against the hash that the hub lists for it. Nothing else in this package touches
 * the network.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { BlockAttentionError } from '../index.js';

export interface PullOptions {
  /** A branch, a tag or a commit. */
  revision: string;
  /** Another hub than huggingface.co. */
  hubUrl: string | undefined;
  /** For models that are not open to everybody: "hf_...". */
  accessToken: string | undefined;
  signal: AbortSignal;
  /** Bytes of the file that are there; called often. */
  onProgress: (file: string, done: number, total: number) => void;
}

export interface PulledFile {
  name: string;
  bytes: number;
  /** It was there already. */
  kept: boolean;
}

interface HubFile {
  name: string;
  bytes: number;
  hash: { algorithm: 'sha256' | 'git'; digest: string };
}

/** What loading reads, and what tells a person what the model is and what its licence allows. */
const WANTED =
  /^(?:(?:config|generation_config|tokenizer|tokenizer_config)\.json|chat_template\.jinja|model(?:-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|README\.md|LICENSE[\w.-]*)$/;

/** Loaded when it is needed: only this command needs it. */
type Hub = typeof import('@huggingface/hub');

/** IO if the hub cannot be reached, has no such model, or sent something else than it lists; ABORTED. */
export async function pullModel(id: string, folder: string, options: PullOptions): Promise<PulledFile[]> {
  const { signal } = options;
  const hub = await import('@huggingface/hub');
  const common = {
    ...(options.hubUrl === undefined ? {} : { hubUrl: options.hubUrl }),
    ...(options.accessToken === undefined ? {} : { accessToken: options.accessToken }),
    fetch: (input: Parameters<typeof fetch>[0], init?: RequestInit) => fetch(input, { ...init, signal }),
  };
  try {
    // A commit: the files of one pull belong together, also if somebody changes the model meanwhile.
    const info = await hub.modelInfo({
      ...common,
      name: id,
      revision: options.revision,
      additionalFields: ['sha'],
    });
    const source = { ...common, repo: { type: 'model', name: id }, revision: info.sha } as const;
    const files = await listModel(hub, source);
    await mkdir(folder, { recursive: true });
    const pulled: PulledFile[] = [];
    for (const file of files) {
      const blob = () => hub.downloadFile({ ...source, path: file.name });
      pulled.push(await pullFile(file, folder, blob, options));
    }
    return pulled;
  } catch (error) {
    throw pullError(error, id, signal);
  }
}

async function listModel(hub: Hub, source: Parameters<Hub['listFiles']>[0]): Promise<HubFile[]> {
  const files: HubFile[] = [];
  for await (const { type, path, size, lfs, oid } of hub.listFiles(source)) {
    // Names come from the hub; this leaves none that has a folder in it.
    if (type !== 'file' || !WANTED.test(path)) continue;
    const hash =
      lfs === undefined
        ? ({ algorithm: 'git', digest: oid ?? '' } as const)
        : ({ algorithm: 'sha256', digest: lfs.oid } as const);
    if (!/^[0-9a-f]{40,64}$/.test(hash.digest))
      throw new BlockAttentionError('IO', `The hub lists no hash for ${path}.`);
    files.push({ name: path, bytes: lfs?.size ?? size, hash });
  }
  if (
    !files.some(({ name }) => name === 'config.json') ||
    !files.some(({ name }) => /safetensors/.test(name))
  ) {
    throw new BlockAttentionError(
      'UNSUPPORTED',
      'It has no config.json or no safetensors, so it cannot be used.',
    );
  }
  return files;
}

async function pullFile(
  file: HubFile,
  folder: string,
  blob: () => Promise<Blob | null>,
  options: PullOptions,
): Promise<PulledFile> {
  const { name, bytes } = file;
  const path = join(folder, name);
  if ((await sizeOf(path)) === bytes && (await hasHash(path, file))) {
    options.onProgress(name, bytes, bytes);
    return { name, bytes, kept: true };
  }
  // Named after the content: what is left of another version is not gone on with.
  const part = join(folder, `.${name}.${file.hash.digest.slice(0, 16)}.part`);
  const there = (await sizeOf(part)) ?? 0;
  const start = there > bytes ? 0 : there;
  if (start < bytes || bytes === 0) await download(file, part, start, blob, options);
  if (!(await hasHash(part, file))) {
    await rm(part, { force: true });
    throw new BlockAttentionError('IO', `${name} is not what the hub lists; it is removed, pull again.`);
  }
  await rename(part, path);
  return { name, bytes, kept: false };
}

async function download(
  { name, bytes }: HubFile,
  part: string,
  start: number,
  blob: () => Promise<Blob | null>,
  { signal, onProgress }: PullOptions,
): Promise<void> {
  const whole = bytes === 0 ? new Blob([]) : await blob();
  if (whole === null) throw new BlockAttentionError('IO', `The hub lists ${name}, but does not have it.`);
  let done = start;
  const counted = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      done += chunk.length;
      onProgress(name, done, bytes);
      yield chunk;
    }
  };
  const stream = whole.slice(start, bytes).stream() as ReadableStream;
  await pipeline(
    Readable.fromWeb(stream),
    counted,
    createWriteStream(part, { flags: start === 0 ? 'w' : 'a' }),
    { signal },
  );
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch {
    return undefined;
  }
}

/** Large files are listed with their SHA-256, small ones with git's hash of a blob. */
async function hasHash(path: string, { bytes, hash }: HubFile): Promise<boolean> {
  const digest = createHash(hash.algorithm === 'git' ? 'sha1' : 'sha256');
  if (hash.algorithm === 'git') digest.update(`blob ${bytes}\0`);
  for await (const chunk of createReadStream(path)) digest.update(chunk);
  return digest.digest('hex') === hash.digest;
}

function pullError(error: unknown, id: string, signal: AbortSignal): BlockAttentionError {
  if (signal.aborted)
    return new BlockAttentionError('ABORTED', 'Pulling was aborted.', { cause: signal.reason });
  const code = error instanceof BlockAttentionError ? error.code : 'IO';
  return new BlockAttentionError(code, `Cannot pull ${id}: ${reason(error)}`, { cause: error });
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const status = 'statusCode' in error ? error.statusCode : undefined;
  if (status === 404) return 'the hub has no such model or revision';
  if (status === 401 || status === 403) {
    return 'the hub does not give it to everybody, or does not have it; set HF_TOKEN to an access token that may read it';
  }
  // fetch says "fetch failed", and why in its cause.
  const cause = error.cause instanceof Error && error.message === 'fetch failed' ? error.cause : error;
  return cause.message;
}
