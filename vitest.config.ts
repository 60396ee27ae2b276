import { defineConfig } from 'vitest/config';

// Tests import the compiled package ("block-attention" and "#lib/*"), so nothing of lib/ passes through Vite.
export default defineConfig({
  test: {
    include: ['test/lib/**/*.test.ts', 'test/bench/**/*.test.ts'],
    // A native addon holds threads of its own: a process for each test file keeps its faults in that file.
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
