// The databases of a deployment: a test is declared once and runs on each.
import test, { type ExecutionContext } from 'ava';
import type { DeploymentOptions } from '../../ts/deployment/index.js';
import type { Database } from '../../ts/deployment/storage/database.js';
import { openDatabase } from '../../ts/deployment/storage/open.js';
import { schemaFor } from './database.js';
import { bucketFor } from './object-store.js';
import { postgresql } from './postgresql.js';
import { testWith } from './tools.js';

/** What an option of `deploymentFor` must be, for data of this test's own. */
export type Place = Pick<DeploymentOptions, 'database' | 'databaseUrl' | 'objectStore'>;

const BACKENDS = [
  { name: 'PGlite', declare: test, place: async (): Promise<Place> => ({}) },
  {
    name: 'PostgreSQL',
    declare: testWith('postgres'),
    place: async (): Promise<Place> => ({
      database: undefined,
      databaseUrl: await (await postgresql()).createDatabase(),
    }),
  },
] as const;

const STORES = [
  ...BACKENDS,
  {
    name: 'PGlite, objects in S3',
    declare: testWith('versitygw'),
    place: async (): Promise<Place> => ({ objectStore: await bucketFor() }),
  },
] as const;

/**
 * The same place with its database, so that a test can set times which it would otherwise have to wait
 * for. The deployment closes the database.
 */
export async function openPlace(place: Place): Promise<Place & { database: Database }> {
  const { databaseUrl: url } = place;
  const database = url === undefined ? await schemaFor() : await openDatabase({ folder: '', url });
  return { ...place, databaseUrl: undefined, database };
}

/** Declares a test that is given a place on PGlite, and the same on a PostgreSQL server. */
export function onEveryBackend(
  title: string,
  body: (t: ExecutionContext, place: Place) => Promise<void>,
): void {
  declareOn(BACKENDS, title, body);
}

/** As `onEveryBackend`, and with a store of objects instead of the folder: for artifacts. */
export function onEveryStore(
  title: string,
  body: (t: ExecutionContext, place: Place) => Promise<void>,
): void {
  declareOn(STORES, title, body);
}

function declareOn(
  places: readonly (typeof STORES)[number][],
  title: string,
  body: (t: ExecutionContext, place: Place) => Promise<void>,
): void {
  for (const { name, declare, place } of places) {
    declare(`${title} (${name})`, async (t) => body(t, await place()));
  }
}
