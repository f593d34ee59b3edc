/**
 * Keeps the machine's variables of Node from the one-file build. Node has read them before any code of ours
 * runs, so the program starts again without them: in its own place, or, on Windows, which cannot do that, as a
 * child that ends with it. It reads no variable of the command's.
 */
/** Variables of Node itself, such as NODE_EXTRA_CA_CERTS and NODE_DEBUG. NODE_OPTIONS it ignores here anyway. */
const OF_NODE = /^NODE_/i;

/** For the child alone: its parent's id, and that of the process which started its parent. */
const STARTED_BY = 'TASKCLUSTER_PROXY_STARTED_BY';

/** Since Node 22.15; the one-file build carries a newer Node than the oldest one of the package. */
type Execve = (file: string, args: string[], environment: NodeJS.ProcessEnv) => never;

/**
 * Starts the program again without these variables. Undefined where there are none: then the command runs
 * in this process.
 */
export function withoutVariables(): Promise<void> | undefined {
  const others = Object.entries(process.env).filter(([name]) => !OF_NODE.test(name));
  if (others.length === Object.keys(process.env).length) {
    readStarter();
    return undefined;
  }
  const environment = Object.fromEntries(others);
  if (process.platform === 'win32') {
    return runChild(environment);
  }
  const args = [process.execPath, ...process.argv.slice(2)];
  const { execve } = process as typeof process & { execve: Execve };
  return execve(process.execPath, args, environment);
}

/** On Windows, Node ends its children with itself, however it ends. */
async function runChild(environment: NodeJS.ProcessEnv): Promise<void> {
  // With NODE_DEBUG Node would show how it starts the child: arguments and variables, secrets among them.
  const write = process.stderr.write.bind(process.stderr);
  process.stderr.write = () => true;
  // The command's bundle has no such module.
  const { spawn } = process.getBuiltinModule('node:child_process');
  // The console tells the child, too, which then ends in its own time.
  for (const signal of ['SIGINT', 'SIGBREAK', 'SIGHUP'] as const) {
    process.on(signal, () => {});
  }
  const child = spawn(process.execPath, process.argv.slice(2), {
    env: { ...environment, [STARTED_BY]: `${process.pid} ${process.ppid}` },
    stdio: 'inherit',
  });
  process.exitCode = await new Promise<number>((resolve) => {
    child.once('exit', (code) => resolve(code ?? 1));
    child.once('error', ({ code }: NodeJS.ErrnoException) => {
      const names = Object.keys(process.env).filter((name) => OF_NODE.test(name));
      write(
        `taskcluster-proxy: it cannot start again without variables of Node (${code}): ` +
          `unset ${names.join(', ')}\n`,
      );
      resolve(1);
    });
  });
}

/** To the child, the process that started it is the one that started the program. */
function readStarter(): void {
  const [parent, starter] = process.env[STARTED_BY]?.split(' ') ?? [];
  delete process.env[STARTED_BY];
  if (process.platform === 'win32' && parent === `${process.ppid}`) {
    Object.defineProperty(process, 'ppid', { value: Number(starter) });
  }
}
