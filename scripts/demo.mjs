// `npm run demo`: set up what is missing, then the demonstration.
import { startReady } from './setup.mjs';

await startReady('scripts/demo/main.mjs');
