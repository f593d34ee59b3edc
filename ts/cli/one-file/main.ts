/**
 * The entry point of the one-file build, a Node single executable application: the command, on a Node that
 * ignores the machine's variables. tools/one-file.mjs builds it.
 */
/** Variables of Node itself, such as NODE_OPTIONS, NODE_EXTRA_CA_CERTS and NODE_DEBUG. */
const OF_NODE = /^NODE_/;

/** Since Node 22.15; the one-file build carries a newer Node than the oldest one of the package. */
type Execve = (file: string, args: string[], environment: NodeJS.ProcessEnv) => never;

function main(): Promise<unknown> {
  const others = Object.entries(process.env).filter(([name]) => !OF_NODE.test(name));
  if (others.length < Object.keys(process.env).length && process.platform !== 'win32') {
    // Node has already read them, except NODE_OPTIONS. The process stays the same.
    const args = [process.execPath, ...process.argv.slice(2)];
    const { execve } = process as typeof process & { execve: Execve };
    execve(process.execPath, args, Object.fromEntries(others));
  }
  return import('../taskcluster-proxy.js');
}

void main();
