// `npm run bench`: set up what is missing, then the benchmarks (`-- --short` for a quick pass).
import { startReady } from './setup.mjs';

await startReady('bench/main.mjs');
