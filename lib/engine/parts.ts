/**
 * The parts of an answer on their way to readers. They are kept until the answer is dropped: the work never waits for a
 * reader, and a reader that begins late, or a second one, gets all of them.
 */
export class PartBuffer<Part> {
  readonly #parts: Part[] = [];
  #ending: { error: Error | undefined } | undefined;
  #wake: (() => void)[] = [];

  push(part: Part): void {
    this.#parts.push(part);
    this.#notify();
  }

  /** No more parts; with an error, readers get it behind the last part. */
  end(error?: Error): void {
    this.#ending = { error };
    this.#notify();
  }

  /** `leave` is called if the reader goes before the end. */
  read(leave: () => void): AsyncIterableIterator<Part> {
    let next = 0;
    let left = false;
    const done: IteratorResult<Part> = { done: true, value: undefined };
    const iterator: AsyncIterableIterator<Part> = {
      next: async () => {
        for (;;) {
          if (left) return done;
          const place = next;
          if (place < this.#parts.length) {
            next += 1;
            return { done: false, value: this.#parts[place] as Part };
          }
          if (this.#ending !== undefined) {
            left = true;
            if (this.#ending.error !== undefined) throw this.#ending.error;
            return done;
          }
          await new Promise<void>((resolve) => this.#wake.push(resolve));
        }
      },
      return: async () => {
        left = true;
        if (this.#ending === undefined) leave();
        this.#notify();
        return done;
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const resolve of wake) resolve();
  }
}
