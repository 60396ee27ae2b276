/** The command as a user runs it: a process. */
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';

export async function runCommand(args: readonly string[], input = '') {
  const child = spawn(process.execPath, ['dist/cli/main.js', ...args], { stdio: 'pipe' });
  child.stdin.on('error', () => undefined);
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.on('close', (code, signal) => resolve(code ?? signal)),
  );
  child.stdin.end(input);
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { stdout, stderr, code };
}
