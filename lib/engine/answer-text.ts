/** The text of one answer, token by token: decoded so that no character is torn, and ended by stop strings. */
import type { StreamDecoder } from '../model/types.js';
import { StopStrings, type StoppedText } from './stop-strings.js';

export class AnswerText {
  readonly #decoder: StreamDecoder | undefined;
  readonly #stops: StopStrings;

  /** Without a decoder (a model without tokenizer) every text is ''. */
  constructor(decoder: StreamDecoder | undefined, stops: readonly string[]) {
    this.#decoder = decoder;
    this.#stops = new StopStrings(stops);
  }

  push(token: number): StoppedText {
    return this.#stops.push(this.#decoder?.push([token]) ?? '');
  }

  /** The rest: what was held back because it might have become a stop string or a character. */
  end(): StoppedText {
    const last = this.#stops.push(this.#decoder?.end() ?? '');
    return last.stopped ? last : { text: last.text + this.#stops.end(), stopped: false };
  }
}
