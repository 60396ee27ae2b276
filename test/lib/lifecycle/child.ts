import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface Ended {
  /** Exit code, or the signal that ended the process: nothing that a test expects. */
  status: number | string;
  stdout: string;
  stderr: string;
}

/** Runs a program of `programs/` in a process of its own. One that does not end by itself is killed: status SIGKILL. */
export function runProgram(name: string, args: string[] = [], nodeOptions: string[] = []): Promise<Ended> {
  const path = fileURLToPath(new URL(`programs/${name}`, import.meta.url));
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [...nodeOptions, path, ...args],
      { timeout: 60_000, killSignal: 'SIGKILL' },
      (_error, stdout, stderr) =>
        resolve({ status: child.signalCode ?? child.exitCode ?? 'not started', stdout, stderr }),
    );
  });
}

/** What a program said with `report()`. */
export function reportOf({ status, stdout, stderr }: Ended): Record<string, unknown> {
  if (status !== 0) throw new Error(`the program ended with ${status}: ${stderr}`);
  return JSON.parse(stdout);
}
