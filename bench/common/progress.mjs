// What is going on and how long it will take, on stderr. On a terminal one line is written over; elsewhere a line now and
// then, so that a log stays short.
import { duration } from './format.mjs';

const LOG_INTERVAL_MS = 15_000;

/**
 * Seconds left, from how much of the work is done; undefined as long as nothing can be said.
 *
 * @param {number} done work done, in any unit
 * @param {number} total
 * @param {number} elapsed seconds that `done` took
 */
export function timeLeft(done, total, elapsed) {
  return done <= 0 ? undefined : (elapsed * Math.max(0, total - done)) / done;
}

export class Progress {
  #stream;
  #shown = Number.NEGATIVE_INFINITY;
  #begun = performance.now();
  #done = 0;
  #total = 0;

  /** @param {NodeJS.WriteStream} [stream] */
  constructor(stream = process.stderr) {
    this.#stream = stream;
  }

  /**
   * Begins anew.
   *
   * @param {number} total work to come, in any unit
   */
  begin(total) {
    this.#begun = performance.now();
    this.#done = 0;
    this.#total = total;
  }

  /** @param {number} work done since the last call */
  add(work) {
    this.#done += work;
  }

  /** @param {string} message */
  show(message) {
    const now = performance.now();
    if (!this.#stream.isTTY && now - this.#shown < LOG_INTERVAL_MS) return;
    this.#shown = now;
    const left = timeLeft(this.#done, this.#total, (now - this.#begun) / 1000);
    const line = left === undefined ? message : `${message}, about ${duration(left)} left`;
    this.#stream.write(this.#stream.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
  }

  clear() {
    if (this.#stream.isTTY) this.#stream.write('\r\x1b[K');
  }
}
