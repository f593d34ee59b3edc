/**
 * How a deployment stands, as its data tell it, whether a process serves them or not. Nothing is
 * changed: tables are left as old, or as new, as they are.
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
  /** Processes that serve these data, as far as the database knows. */
  readonly processes: number;
  /** Whether what one process changes is heard by others, on this way to the database. */
  readonly listen: 'heard' | 'unheard';
  readonly migrations: {
    readonly applied: number;
    /** How many this program has. */
    readonly known: number;
    readonly latest: AppliedMigration | undefined;
  };
  /** Rows by what they are; without what these tables do not have yet. */
  readonly counts: Readonly<Record<string, number>>;
  /** What an operator has to do, in a sentence each; none where all is well. */
  readonly problems: readonly string[];
}

export interface StatusOptions {
  readonly database: Database;
  /** Whether a process has the database for itself, and is asked. */
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

/** Each process of a deployment has one connection that listens. */
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

/** How long the first notice may take, in milliseconds. */
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

/** What a table holds, as an operator calls it. */
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
