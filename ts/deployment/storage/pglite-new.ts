/**
 * A program of its own that puts a new, empty database into the folder that it is given. initdb takes
 * several times the memory that a database needs, and a process that has ended gives it back.
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
