/**
 * Lines of JSON in, lines of JSON out, in the order of the input. What is wrong with one line is that line's answer, and
 * the rest go on.
 */
import { setMaxListeners } from 'node:events';
import { BlockAttentionError } from '../index.js';
import type { Output } from './output.js';

export interface LinesOptions {
  /** Lines under way at once; the next one is taken up when one has ended. */
  concurrency: number;
  signal: AbortSignal;
}

/** What becomes a line of output, as JSON. `line` counts from 1; it names the line in errors. */
export type AnswerLine = (value: unknown, line: number, signal: AbortSignal) => Promise<unknown>;

/** Results that wait for an earlier one, for each line under way. */
const MOST_WAITING = 64;

/** Returns when the input ended and all is written, when the reader of the output went away, or when `signal` fired. */
export async function answerLines(
  answer: AnswerLine,
  lines: AsyncIterable<string>,
  output: Output,
  options: LinesOptions,
): Promise<void> {
  const signal = AbortSignal.any([options.signal, output.gone]);
  // Every line under way listens to it; Node would take more than ten for a leak.
  setMaxListeners(0, signal);
  const underWay = new Set<Promise<string>>();
  const inOrder: Promise<void>[] = [];
  let written = Promise.resolve();
  let number = 0;

  for await (const line of untilAborted(lines, signal)) {
    number += 1;
    if (line.trim() === '') continue;
    const text = answerText(answer, line, number, signal);
    underWay.add(text);
    text.then(() => underWay.delete(text));
    written = written.then(async () => {
      const result = await text;
      if (!signal.aborted) await output.write(result);
    });
    // A failure is seen when `written` is awaited.
    written.catch(() => undefined);
    inOrder.push(written);
    if (underWay.size >= options.concurrency) await Promise.race(underWay);
    if (inOrder.length > MOST_WAITING * options.concurrency) await inOrder.shift();
  }
  await written;
}

async function answerText(
  answer: AnswerLine,
  line: string,
  number: number,
  signal: AbortSignal,
): Promise<string> {
  try {
    return `${JSON.stringify(await answer(parseLine(line, number), number, signal))}\n`;
  } catch (error) {
    const { code, message } =
      error instanceof BlockAttentionError ? error : { code: 'INTERNAL', message: String(error) };
    return `${JSON.stringify({ error: { code, message } })}\n`;
  }
}

function parseLine(line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    throw new BlockAttentionError('INVALID_ARGUMENT', `line ${number} is not JSON: ${cause}`);
  }
}

/** Ends when the signal fires, even while waiting for a line that never comes. */
async function* untilAborted(lines: AsyncIterable<string>, signal: AbortSignal): AsyncGenerator<string> {
  const iterator = lines[Symbol.asyncIterator]();
  const aborted = new Promise<undefined>((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
  for (;;) {
    const next = await Promise.race([iterator.next(), aborted]);
    if (next === undefined || next.done || signal.aborted) return;
    yield next.value;
  }
}
