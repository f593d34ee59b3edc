/**
 * The state of a deployment as read from its data, whether a process serves them or not. It changes
 * nothing and applies no migrations.
 */
import { type Database, one } from '../storage/database.js';
import { ListenProof } from '../storage/listen-proof.js';
import {
  type AppliedMigration,
  appliedMigrations,
  MIGRATIONS,
} from '../storage/migrations/index.js';

export interface Status {
  readonly database: string;
  /** Number of processes that serve these data, according to the database. */
  readonly processes: number;
  /** Whether processes receive each other's notifications over this connection to the database. */
  readonly listen: 'heard' | 'unheard';
  readonly migrations: {
    readonly applied: number;
    /** Number of migrations of this program. */
    readonly known: number;
    readonly latest: AppliedMigration | undefined;
  };
  /** Number of rows of each kind, without tables that do not exist yet. */
  readonly counts: Readonly<Record<string, number>>;
  /** What the operator has to do, one sentence each; empty if all is well. */
  readonly problems: readonly string[];
}

export interface StatusOptions {
  readonly database: Database;
  /** Whether a running process holds the embedded database and answers for it. */
  readonly isShared: boolean;
}

export async function readStatus({ database, isShared }: StatusOptions): Promise<Status> {
  const isEmbedded = isShared || database.isExclusive;
  const applied = await appliedMigrations(database);
  const status = {
    database: database.location,
    processes: isEmbedded ? Number(isShared) : await processesOn(database),
    listen: isEmbedded || (await isHeard(database)) ? ('heard' as const) : ('unheard' as const),
    migrations: { applied: applied.length, known: MIGRATIONS.length, latest: applied.at(-1) },
    counts: await counts(database),
  };
  return { ...status, problems: problems(status) };
}

/** Each process of a deployment has one listening connection. */
async function processesOn(database: Database): Promise<number> {
  const row = await one<{ count: number }>(
    database,
    `SELECT count(*) AS count FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'taskcluster-local'
       AND query LIKE 'LISTEN %'`,
    [],
  );
  return row?.count ?? 0;
}

/** Longest time for the first notification, in milliseconds. */
const PATIENCE = 5_000;

async function isHeard(database: Database): Promise<boolean> {
  let hear: (isHeard: boolean) => void = () => undefined;
  const heard = new Promise<boolean>((resolve) => {
    hear = resolve;
  });
  const late = setTimeout(() => hear(false), PATIENCE);
  const proof = await ListenProof.start({
    database,
    onChange: (isHeard) => hear(isHeard),
    onSilence: () => undefined,
  });
  try {
    return await heard;
  } finally {
    clearTimeout(late);
    proof.stop();
  }
}

/** The tables and their names for an operator. */
const COUNTED = {
  clients: 'clients',
  roles: 'roles',
  users: 'users',
  secrets: 'secrets',
  tasks: 'tasks',
  artifacts: 'artifacts',
  task_queues: 'task queues',
  workers: 'workers',
} as const;

async function counts(database: Database): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const [table, name] of Object.entries(COUNTED)) {
    const there = await one<{ name: string | null }>(
      database,
      'SELECT to_regclass($1)::text AS name',
      [table],
    );
    if (there?.name != null) {
      const row = await one<{ count: number }>(
        database,
        `SELECT count(*) AS count FROM ${table}`,
        [],
      );
      found[name] = row?.count ?? 0;
    }
  }
  return found;
}

function problems({ listen, migrations }: Pick<Status, 'listen' | 'migrations'>): string[] {
  const { applied, known, latest } = migrations;
  return [
    ...(listen === 'heard'
      ? []
      : ['LISTEN is not heard: if there is a pooler in transaction mode, name the server itself']),
    ...(applied < known
      ? [`${known - applied} migrations are to be applied: \`start\` or \`migrate\` does it`]
      : []),
    ...(applied > known
      ? [`a newer version has used the data (${latest?.name}): use that version`]
      : []),
  ];
}
