/** A tokenizer whose tokens are the bytes of UTF-8; 256 and up are special. */
import { BlockAttentionError } from '#lib/errors.js';
import type { StreamDecoder, TextInput, TokenizerHandle } from '#lib/model/types.js';

export const SPECIAL = new Map([
  ['<|end|>', 256],
  ['<|user|>', 257],
  ['<|assistant|>', 258],
]);

export class FakeTokenizer implements TokenizerHandle {
  readonly digest = '00';
  readonly size = 259;
  readonly specialTokens = SPECIAL;
  /** Texts that were tokenised. */
  readonly encoded: TextInput[] = [];
  /** How many calls were aborted. */
  aborted = 0;
  closed = false;
  /** `encode` waits for it. */
  gate: Promise<void> = Promise.resolve();

  async encode(
    inputs: readonly TextInput[],
    options?: { signal?: AbortSignal | undefined },
  ): Promise<Int32Array[]> {
    this.encoded.push(...inputs);
    await Promise.race([this.gate, aborted(options?.signal)]);
    if (this.closed) throw new BlockAttentionError('CLOSED', 'the tokenizer is closed');
    if (options?.signal?.aborted) {
      this.aborted += 1;
      throw new BlockAttentionError('ABORTED', 'tokenising was aborted');
    }
    return inputs.map((input) => Int32Array.from(tokensOf(input)));
  }

  streamDecoder(): StreamDecoder {
    let decoder = new TextDecoder();
    return {
      push: (tokens) => decoder.decode(bytesOf(tokens), { stream: true }),
      end: () => {
        const rest = decoder.decode();
        decoder = new TextDecoder();
        return rest;
      },
    };
  }

  decode(tokens: ArrayLike<number>): string {
    return new TextDecoder().decode(bytesOf(tokens));
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}

function aborted(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true }));
}

function tokensOf(input: TextInput): number[] {
  if (typeof input === 'string') return [...Buffer.from(input)];
  return input.parts.flatMap(({ text, special }) => {
    const id = special ? SPECIAL.get(text) : undefined;
    return id === undefined ? [...Buffer.from(text)] : [id];
  });
}

function bytesOf(tokens: ArrayLike<number>): Uint8Array {
  return Uint8Array.from(Array.from(tokens).filter((token) => token < 256));
}
