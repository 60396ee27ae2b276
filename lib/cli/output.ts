/** Writing to a stream that may be slow, or go away: `head` closes its end as soon as it has seen enough. */
import { once } from 'node:events';
import type { Writable } from 'node:stream';

export class Output {
  /** Fires when the reader went away: nothing that is still to come will be read. */
  readonly gone: AbortSignal;
  readonly #stream: Writable;
  #failure: Error | undefined;

  constructor(stream: Writable) {
    this.#stream = stream;
    const controller = new AbortController();
    this.gone = controller.signal;
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') this.#failure = error;
      controller.abort();
    });
  }

  /** Waits if the reader is behind. Rejects if writing failed, except that a reader that went away is no failure. */
  async write(text: string): Promise<void> {
    if (this.gone.aborted) return this.check();
    if (this.#stream.write(text)) return;
    // Aborted: the reader went away while we waited for it.
    await once(this.#stream, 'drain', { signal: this.gone }).catch(() => this.check());
  }

  /** Throws if writing failed. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}
