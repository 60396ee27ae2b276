/** One answer under way: an async iterable of its parts, and a promise of the whole. */
import type { PartBuffer } from './parts.js';
import type { GenerationPart, GenerationResult } from './result.js';

/** Made by `engine.generate()`. The work goes on whether anybody reads or not. */
export class Generation implements AsyncIterable<GenerationPart> {
  readonly #parts: PartBuffer<GenerationPart>;
  readonly #result: Promise<GenerationResult>;
  readonly #abort: () => void;

  /** Use `engine.generate()`. */
  constructor(parts: PartBuffer<GenerationPart>, result: Promise<GenerationResult>, abort: () => void) {
    this.#parts = parts;
    this.#result = result;
    this.#abort = abort;
    // Who only iterates gets the error there; the promise nobody asked for must not end the process.
    result.catch(() => undefined);
  }

  /**
   * The parts from the first on, also for a second reader. Leaving the loop early aborts the generation. Throws behind
   * the last part if the generation failed: a BlockAttentionError, ABORTED if the request's signal fired.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<GenerationPart> {
    return this.#parts.read(this.#abort);
  }

  /**
   * The whole answer, once it ended. Rejects with a BlockAttentionError if the request was wrong (INVALID_ARGUMENT,
   * EMPTY_QUERY, TOKEN_OUT_OF_RANGE, TOKENIZER_MISSING, PROMPT_TOO_LONG, CACHE_TOO_SMALL), its signal fired (ABORTED) or
   * the engine was closed (CLOSED).
   */
  result(): Promise<GenerationResult> {
    return this.#result;
  }

  /** Ends the answer here: `result()` gives what there is, with the finish reason 'aborted'. No effect after the end. */
  abort(): void {
    this.#abort();
  }
}
