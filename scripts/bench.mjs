// `npm run bench`: set up what is missing, then the benchmarks (`-- --short` for a quick pass).
import { ensureCompiled, startReady } from './setup.mjs';

// A report reads files and computes nothing: it does not wait for a native build.
await startReady('bench/main.mjs', process.argv[2] === 'report' ? ensureCompiled : undefined);
