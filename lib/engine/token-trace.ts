/** The tokens of one answer as they came in, with their times and log-probabilities. */
import type { NativeEvent } from '../native.js';
import type { TokenLogprob } from './result.js';

export interface TokenLogprobs {
  logprobs?: number[];
  topLogprobs?: TokenLogprob[][];
}

export class TokenTrace {
  text = '';
  readonly tokens: number[] = [];
  /** Undefined unless log-probabilities were asked for. */
  logprobs: number[] | undefined;
  topLogprobs: TokenLogprob[][] | undefined;
  /** Milliseconds from the start to the first token. */
  firstToken: number | undefined;
  /** Milliseconds between each two tokens. */
  readonly perToken: number[] = [];
  readonly #startedAt: number;
  #lastAt = 0;

  /** `startedAt`: on the clock of native times. */
  constructor(startedAt: number) {
    this.#startedAt = startedAt;
  }

  /** Takes over the event's token of this index, and gives its log-probabilities back. */
  add(event: NativeEvent, index: number): TokenLogprobs {
    this.tokens.push(event.tokens?.[index] ?? 0);
    const at = event.times?.[index] ?? this.#lastAt;
    if (this.firstToken === undefined) this.firstToken = at - this.#startedAt;
    else this.perToken.push(at - this.#lastAt);
    this.#lastAt = at;

    const logprob = event.logprobs?.[index];
    if (logprob === undefined) return {};
    const top = topOf(event, index);
    this.logprobs ??= [];
    this.logprobs.push(logprob);
    this.topLogprobs ??= [];
    this.topLogprobs.push(top);
    return { logprobs: [logprob], topLogprobs: [top] };
  }
}

function topOf(event: NativeEvent, index: number): TokenLogprob[] {
  const { tokens = [], topTokens = [], topLogprobs = [] } = event;
  const width = topTokens.length / tokens.length;
  const top: TokenLogprob[] = [];
  for (let place = index * width; place < (index + 1) * width; place++) {
    top.push({ token: topTokens[place] ?? 0, logprob: topLogprobs[place] ?? Number.NEGATIVE_INFINITY });
  }
  return top;
}
