import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A folder with these files (objects are written as JSON), removed when the test is over. */
export function temporaryFolder(files: Record<string, Uint8Array | string | object> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'block-attention-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    const isRaw = typeof content === 'string' || content instanceof Uint8Array;
    writeFileSync(join(folder, name), isRaw ? content : JSON.stringify(content));
  }
  return folder;
}

export interface TensorEntry {
  dtype: unknown;
  shape: unknown;
  data_offsets: unknown;
}

/** A safetensors file of this header, as it is, and so many bytes of data. */
export function safetensors(header: object | string, dataBytes: number, headerLength?: bigint): Uint8Array {
  const text = typeof header === 'string' ? header : JSON.stringify(header);
  // Padded as the reference implementation does, so that data are aligned.
  const padding = -Buffer.byteLength(text) & 7;
  const json = Buffer.from(text + ' '.repeat(padding));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerLength ?? BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(dataBytes)]);
}

/** A well-formed file that holds zeros of these shapes. */
export function tensorsFile(
  shapes: Iterable<readonly [string, readonly number[]]>,
  dtype = 'BF16',
): Uint8Array {
  const elementBytes = dtype === 'F32' ? 4 : 2;
  const header: Record<string, TensorEntry> = {};
  let end = 0;
  for (const [name, shape] of shapes) {
    const begin = end;
    end += shape.reduce((product, size) => product * size, elementBytes);
    header[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  return safetensors({ __metadata__: { format: 'pt' }, ...header }, end);
}
