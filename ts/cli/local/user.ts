/**
 * `taskcluster-local user`: the users who may sign in to a deployment. The command reads passwords from
 * the standard input, or asks for them on a terminal: every user of a machine sees command lines.
 */
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { Command } from 'commander';
import { grantChanges } from '../../deployment/services.js';
import { openStorage, type Storage } from '../../deployment/storage/index.js';
import type { Store } from '../../deployment/storage/store.js';
import {
  addNewUser,
  grantScopes,
  removeUser,
  setPassword,
} from '../../deployment/web/local-users.js';
import { localUser } from '../../deployment/web/user.js';
import { ofRunning, openBeside, orOneSentence, type PlaceOptions, requirePlace } from './place.js';

interface UserOptions extends PlaceOptions {
  readonly json: boolean;
}

interface AddOptions extends UserOptions {
  readonly role: readonly string[];
  readonly scope: readonly string[];
}

/** A password that is refused. The message says what to do. */
class PasswordError extends Error {
  override readonly name = 'PasswordError';
}

export function declareUser(program: Command): void {
  const user = program
    .command('user')
    .description(
      'Manage the users who may sign in to a deployment at /login, by name and password.',
    );
  declareAdd(user);
  declareGrant(user);
  declareRemove(user);
  declareList(user);
  declareSetPassword(user);
}

function declareAdd(user: Command): void {
  const command = user
    .command('add')
    .description(
      'Add a user. The password is the first line of the standard input, or asked for on a ' +
        'terminal. The user has the scopes of the role login-identity:local/<name>, to which --scope adds.',
    )
    .argument('<name>', 'of letters, digits and @:.+|_-')
    .option('--role <roleId>', 'give the user this role too; may be repeated', collect, [])
    .option('--scope <scope>', "grant a scope to the user's own role; may be repeated", collect, [])
    .action(
      orOneSentence(async (name: string, options: AddOptions) => {
        const { role: roles, scope: scopes, json } = options;
        const password = await readPassword(name);
        const { dataFolder: folder, databaseUrl } = options;
        const database = await ofRunning(options);
        const storage = await openStorage({ folder, databaseUrl, database });
        await withStore(storage, (store) =>
          addNewUser(store, { name, password, roles, scopes }, grantChanges),
        );
        report(
          json,
          { name, roles },
          `Added ${name}, who is ${localUser({ name, roles }).identity}.`,
        );
      }),
    );
  addOptions(command);
}

interface GrantOptions extends UserOptions {
  readonly scope: readonly string[];
}

function declareGrant(user: Command): void {
  const command = user
    .command('grant')
    .description(
      "Grant scopes to an existing user: they are added to the user's own role, " +
        'login-identity:local/<name>. To take some away, write that role.',
    )
    .argument('<name>')
    .requiredOption('--scope <scope>', 'a scope to grant; may be repeated', collect)
    .action(
      orOneSentence(async (name: string, { scope: scopes, ...options }: GrantOptions) => {
        await withStore(await openBeside(options), (store) =>
          grantScopes(store, { name, scopes }, grantChanges),
        );
        report(options.json, { name, scopes }, `Granted ${name}: ${scopes.join(' ')}`);
      }),
    );
  addOptions(command);
}

function declareRemove(user: Command): void {
  const command = user
    .command('remove')
    .description("Remove a user, end the user's sessions, and disable the user's clients.")
    .argument('<name>')
    .action(
      orOneSentence(async (name: string, options: UserOptions) => {
        await withStore(await openBeside(options), (store) =>
          removeUser(store, name, grantChanges),
        );
        report(options.json, { name }, `Removed ${name}.`);
      }),
    );
  addOptions(command);
}

function declareList(user: Command): void {
  const command = user
    .command('list')
    .description('List the users, each with the additional roles that were given.')
    .action(
      orOneSentence(async (options: UserOptions) => {
        const users = await withStore(await openBeside(options), (store) => store.users.all());
        const lines = users.map(({ name, roles }) => [name, ...roles].join('  '));
        const printed = users.map(({ name, roles }) => ({ name, roles }));
        report(options.json, printed, lines.join('\n'));
      }),
    );
  addOptions(command);
}

function declareSetPassword(user: Command): void {
  const command = user
    .command('set-password')
    .description(
      "Give a user another password, read as with add, and end all of the user's sessions.",
    )
    .argument('<name>')
    .action(
      orOneSentence(async (name: string, options: UserOptions) => {
        const password = await readPassword(name);
        await withStore(await openBeside(options), (store) => setPassword(store, name, password));
        report(options.json, { name }, `Gave ${name} another password.`);
      }),
    );
  addOptions(command);
}

function addOptions(command: Command): void {
  command.option('--json', 'print it as JSON', false);
  requirePlace(command);
}

function collect(value: string, values: readonly string[] = []): string[] {
  return [...values, value];
}

async function withStore<Result>(
  storage: Storage,
  work: (store: Store) => Promise<Result>,
): Promise<Result> {
  try {
    return await work(storage.store);
  } finally {
    await storage.close();
  }
}

function report(json: boolean, value: object, words: string): void {
  const printed = json ? JSON.stringify(value, null, 2) : words;
  if (printed !== '') {
    console.log(printed);
  }
}

/** @throws PasswordError */
async function readPassword(name: string): Promise<string> {
  if (!process.stdin.isTTY) {
    const [line = ''] = (await text(process.stdin)).split(/\r?\n/);
    if (line === '') {
      throw new PasswordError(
        'there is no password: write it into the standard input, on one line',
      );
    }
    return line;
  }
  return askTwice(name);
}

/**
 * Asks on the terminal and shows nothing of the input, not even of input typed before the question.
 * @throws PasswordError
 */
async function askTwice(name: string): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const reader = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  let problem = 'there is no password: type one';
  reader.once('SIGINT', () => {
    problem = 'interrupted: nothing has changed';
    reader.close();
  });
  const lines = reader[Symbol.asyncIterator]();
  const ask = async (question: string): Promise<string> => {
    process.stderr.write(question);
    const line = await lines.next();
    process.stderr.write('\n');
    if (line.done === true) {
      throw new PasswordError(problem);
    }
    return line.value;
  };
  try {
    const password = await ask(`Password for ${name}: `);
    if ((await ask('The same again: ')) !== password) {
      throw new PasswordError('these are two different passwords: begin again');
    }
    return password;
  } finally {
    reader.close();
  }
}
