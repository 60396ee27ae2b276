/** Values of command-line options. A wrong one throws commander's error, which becomes a message and exit code 2. */
import { InvalidArgumentError } from 'commander';

const UNITS = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** Bytes: "1048576", "512M", "4G", "1.5GiB"; the units are powers of 1024. */
export function parseBytes(text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text) ?? [];
  const factor = UNITS[unit.toUpperCase() as keyof typeof UNITS];
  const bytes = Math.floor(Number(number) * factor);
  if (!Number.isSafeInteger(bytes) || bytes < 1)
    throw new InvalidArgumentError('Give bytes, e.g. 512M or 4G.');
  return bytes;
}

export function parseCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(count) || count < 1) {
    throw new InvalidArgumentError('Give a whole number from 1 on.');
  }
  return count;
}

export function parseNumber(text: string): number {
  const number = Number(text);
  if (text.trim() === '' || !Number.isFinite(number)) throw new InvalidArgumentError('Give a number.');
  return number;
}

/** For options that may be given again and again. */
export function collect(value: string, earlier: readonly string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}
