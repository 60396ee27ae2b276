// Ends the process in the way that the argument says while the native engine is loading or computing.
import { generation, loadSmall } from './support.mjs';

const [how] = process.argv.slice(2);
let drawn = 0;
const loading = loadSmall((events) => {
  for (const { tokens } of events) drawn += tokens?.length ?? 0;
  if (drawn < 20) return;
  if (how === 'exit in a callback') process.exit(7);
  if (how === 'throw in a callback') throw new Error('planted');
});
if (how === 'exit while loading') setImmediate(() => process.exit(7));
const engine = await loading;
if (how === 'exit while closing') {
  engine.submit([generation(0, 5000)]);
  void engine.close();
  process.exit(7);
}
if (how !== 'end without close') engine.submit([generation(0, 5000)]);
if (how === 'exit during a step') setTimeout(() => process.exit(7), 30);
if (how === 'end after a generation') {
  engine.abort(0);
  engine.submit([generation(1, 5)]);
}
