// Runs a program to its end, whatever its exit code. `command.ts` does so for the proxy's own command.
import { type ExecFileOptions, execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface EndedProgram {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function runProgram(
  program: string,
  args: readonly string[],
  options: ExecFileOptions = {},
): Promise<EndedProgram> {
  try {
    return { code: 0, ...(await run(program, args, { ...options, encoding: 'utf8' })) };
  } catch (error) {
    // The error of a program that has ended has these fields, too.
    return error as EndedProgram;
  }
}
