/** What a command has of the process that it runs in. */
export interface CommandContext {
  stdin: AsyncIterable<Buffer | string>;
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
  /** Fires when the command is to end early. */
  signal: AbortSignal;
}
