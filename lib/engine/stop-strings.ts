/**
 * Ends a text at the first stop string, wherever the borders of its pieces lie. Text that may be the beginning of a stop
 * string is held back, so that what was given out never has to be taken back. The result does not depend on how the text
 * was cut into pieces: of several stop strings the one that is complete first counts, of those the longest.
 */

export interface StoppedText {
  /** Text that is certainly in front of any stop string. */
  text: string;
  stopped: boolean;
}

export class StopStrings {
  readonly #stops: readonly string[];
  #held = '';

  /** No stop string may be empty. */
  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  push(piece: string): StoppedText {
    const text = this.#held + piece;
    const cut = this.#firstStop(text);
    if (cut >= 0) {
      this.#held = '';
      return { text: text.slice(0, cut), stopped: true };
    }
    const certain = text.length - this.#uncertainLength(text);
    this.#held = text.slice(certain);
    return { text: text.slice(0, certain), stopped: false };
  }

  /** What was held back; the text is over. */
  end(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }

  /** Where the stop string that is complete first begins, or -1. */
  #firstStop(text: string): number {
    let first = -1;
    let firstEnd = Number.POSITIVE_INFINITY;
    for (const stop of this.#stops) {
      const begin = text.indexOf(stop);
      if (begin < 0) continue;
      const end = begin + stop.length;
      if (end < firstEnd || (end === firstEnd && begin < first)) {
        first = begin;
        firstEnd = end;
      }
    }
    return first;
  }

  /** Length of the longest end of `text` that begins a stop string. */
  #uncertainLength(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
