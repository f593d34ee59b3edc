/**
 * The way into the one file, a Node single executable application: the command, on a Node that the
 * machine's variables do not change. tools/one-file.mjs puts it together.
 */
/** Variables of Node itself, such as NODE_OPTIONS, NODE_EXTRA_CA_CERTS and NODE_DEBUG. */
const OF_NODE = /^NODE_/;

/** Of Node 22.15; the one file carries a newer one than the package's oldest. */
type Execve = (file: string, args: string[], environment: NodeJS.ProcessEnv) => never;

function main(): Promise<unknown> {
  const others = Object.entries(process.env).filter(([name]) => !OF_NODE.test(name));
  if (others.length < Object.keys(process.env).length && process.platform !== 'win32') {
    // Node has read them by now, but for NODE_OPTIONS. The process stays the same.
    const args = [process.execPath, ...process.argv.slice(2)];
    const { execve } = process as typeof process & { execve: Execve };
    execve(process.execPath, args, Object.fromEntries(others));
  }
  return import('../taskcluster-proxy.js');
}

void main();
