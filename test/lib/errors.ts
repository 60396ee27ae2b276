import { expect } from 'vitest';
import { BlockAttentionError, type ErrorCode } from '#lib/errors.js';

/** Checks that `act` throws, or rejects with, a BlockAttentionError of that code (and message, text or matcher). */
export async function expectError(act: () => unknown, code: ErrorCode, message?: unknown): Promise<void> {
  let error: unknown;
  try {
    await act();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(BlockAttentionError);
  const expected = message === undefined ? { code } : { code, message };
  expect({ ...(error as object), message: (error as Error).message }).toMatchObject(expected);
}
