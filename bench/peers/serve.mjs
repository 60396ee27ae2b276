// The side of a contender that is a Node process: reads requests and writes answers as lines of JSON, one at a time. What is
// timed is the same for every engine: when a token is in the hands of the code that iterates over an answer.
import { createInterface } from 'node:readline';

/**
 * @typedef {object} OpenOptions
 * @property {string} model a file or a folder
 * @property {'bf16' | 'int8'} dtype of the weights
 * @property {number} threads
 * @property {number} positions most tokens of one prompt and its answer
 * @property {boolean} [flashAttention]
 */

/**
 * An open model.
 *
 * @typedef {object} Session
 * @property {(stream: number, streams: number, prompt: readonly number[]) => AsyncIterable<number>} generate the likeliest
 *   tokens, without end, of answer number `stream` of `streams` at once; nothing that was computed before is reused
 * @property {(prompt: readonly number[]) => Promise<{ token: number, logprob: number }>} first the likeliest first token
 * @property {(prompts: readonly number[][], tokens: number) => Promise<number[][]>} [decode] when each token of answers at
 *   once was there, ms: for an engine that brings tokens to JavaScript in bundles and knows the times itself
 * @property {() => Promise<void>} close
 * @property {Record<string, string | number | boolean>} facts for the record: versions, settings
 */

/**
 * @typedef {{ do: 'open', options: OpenOptions } | { do: 'first', prompts: number[][] } | { do: 'ttft', prompt: number[] }
 *   | { do: 'decode', prompts: number[][], tokens: number } | { do: 'close' }} Request
 */

/** @param {(options: OpenOptions) => Promise<Session>} open */
export async function serve(open) {
  /** @type {Session | undefined} */
  let session;
  for await (const line of createInterface({ input: process.stdin })) {
    /** @type {Request} */
    const request = JSON.parse(line);
    let answer;
    try {
      if (request.do === 'open') {
        const begun = performance.now();
        session = await open(request.options);
        await takeTokens(session.generate(0, 1, [1]), 1);
        answer = { ms: performance.now() - begun, facts: session.facts };
      } else if (session === undefined) throw new Error('no model is open');
      else if (request.do === 'close') {
        await session.close();
        session = undefined;
        answer = {};
      } else answer = await measure(session, request);
    } catch (error) {
      answer = { error: error instanceof Error ? error.message : String(error) };
    }
    process.stdout.write(`${JSON.stringify({ answer })}\n`);
  }
  // Nobody asks any more, whatever an open model may wait for.
  process.exit();
}

/**
 * @param {Session} session
 * @param {Exclude<Request, { do: 'open' | 'close' }>} request
 */
async function measure(session, request) {
  if (request.do === 'first') {
    const tokens = [];
    for (const prompt of request.prompts) tokens.push(await session.first(prompt));
    return { tokens };
  }
  const begun = performance.now();
  if (request.do === 'ttft') {
    const [at = Number.NaN] = await takeTokens(session.generate(0, 1, request.prompt), 1);
    return { ms: at - begun };
  }
  const { prompts, tokens } = request;
  if (session.decode !== undefined) return { streams: await session.decode(prompts, tokens) };
  const answers = prompts.map((prompt, stream) => session.generate(stream, prompts.length, prompt));
  return { streams: await Promise.all(answers.map((answer) => takeTokens(answer, tokens))) };
}

/**
 * @param {AsyncIterable<number>} answer
 * @param {number} count at least 1
 * @returns {Promise<number[]>} when each token came, ms
 */
async function takeTokens(answer, count) {
  const times = [];
  for await (const _ of answer) {
    times.push(performance.now());
    if (times.length === count) return times;
  }
  throw new Error(`an answer ended after ${times.length} of ${count} tokens`);
}
