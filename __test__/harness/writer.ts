// A process that writes to a deployment's storage, one thing after the other, and says each once it
// has been acknowledged, until it is killed. Its arguments: the data folder and a database URL, if
// any. It says first what it found: how many there are and the highest number.
import { openStorage } from '../../ts/deployment/storage/index.js';

/** How many writes lie between two checkpoints; PGlite leaves checkpoints to the deployment. */
const CHECKPOINT_EVERY = 25;

const [folder = '', databaseUrl] = process.argv.slice(2);
const { store, database } = await openStorage({ folder, databaseUrl });

const [found] = await database.query<{ count: number; last: number }>(`
  SELECT count(*) AS count, coalesce(max(substr(name, 2)::integer), 0) AS last FROM secrets`);
const { count = 0, last = 0 } = found ?? {};
// The reader may have ended first.
process.stdout.on('error', () => process.exit());
await sayFound();

for (let number = last + 1; ; number += 1) {
  const name = `n${number}`;
  const expires = new Date('3000-01-01');
  // Neither is ever there without the other.
  await store.transaction(async (inner) => {
    await inner.roles.put({ roleId: name, scopes: ['a'.repeat(number % 700)] });
    await inner.secrets.put({ name, secret: { number }, expires });
  });
  process.stdout.write(`wrote ${number}\n`);
  if (number % CHECKPOINT_EVERY === 0) {
    await database.script('CHECKPOINT');
  }
}

async function sayFound(): Promise<void> {
  const roles = (await store.roles.all()).filter(({ roleId }) => roleId.startsWith('n'));
  const { number = 0 } = (await store.secrets.get(`n${last}`))?.secret ?? {};
  const isWhole = roles.length === count && count === last && number === last;
  process.stdout.write(`found ${last} ${isWhole ? 'whole' : 'torn'}\n`);
}
