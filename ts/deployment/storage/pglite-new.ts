/**
 * A separate program that creates a new, empty database in the given folder. initdb takes several times the
 * memory of a running database, and only the end of its process frees that.
 */
import { PGlite } from '@electric-sql/pglite';
import { NodeFS } from '@electric-sql/pglite/nodefs';

/** WAL in segments of 1 MiB, since the default of 16 MiB is most of a small database's size. */
const INITDB_PARAMETERS = ['--wal-segsize=1', '--encoding=UTF8', '--locale=C.UTF-8', '--no-sync'];

// The parent process has ended.
process.once('disconnect', () => process.exit(1));

const [, , data = ''] = process.argv;
const pglite = await PGlite.create({
  fs: new NodeFS(data),
  initDbStartParams: INITDB_PARAMETERS,
});
await pglite.close();
process.exit(0);
