// Our side of a contender: a process of its own, which computes only while it is asked.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** @import { Request } from './serve.mjs' */

const PREFIX = '{"answer":';
/** Of what a process wrote to stderr, for the message when it ends. */
const STDERR_CHARACTERS = 2000;

export class Contender {
  #child;
  #lines;
  #stderr = '';
  #ended;

  /**
   * @param {string} command
   * @param {readonly string[]} args
   * @param {Record<string, string>} [env] beside that of this process
   */
  constructor(command, args, env = {}) {
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    this.#child.stderr.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_CHARACTERS);
    });
    // A process that is gone shows in `ask`.
    this.#child.stdin.on('error', () => undefined);
    this.#ended = once(this.#child, 'close').catch((error) => {
      this.#stderr += String(error);
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /**
   * @param {Request} request
   * @returns {Promise<any>}
   */
  async ask(request) {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    for (;;) {
      const { done, value } = await this.#lines.next();
      if (done) {
        await this.#ended;
        throw new Error(`the process ended: ${this.#stderr.trim() || 'it said nothing'}`);
      }
      // A library may print lines of its own.
      if (!value.startsWith(PREFIX)) continue;
      const { answer } = JSON.parse(value);
      if (answer.error !== undefined) throw new Error(answer.error);
      return answer;
    }
  }

  /** Ends the process. */
  async end() {
    this.#child.stdin.end();
    this.#child.kill();
    await this.#ended;
  }
}
