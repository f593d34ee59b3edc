/**
 * Lets commands use an embedded database through the process that holds it: they send their statements over
 * a socket, and each of their transactions becomes one of that process. Only users who may read the data
 * folder can do this: the path of the socket and its password are in a file that belongs to the folder's
 * owner.
 *
 * It is no way for deployments to share data; that takes a PostgreSQL server.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, open, readFile, rename, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type { Database, Parameter, Queryable } from './database.js';

/** The address of the socket, and its password. */
interface Way {
  readonly address: string;
  readonly word: string;
}

/** A question on a connection: statements, or a transaction that ends with the connection. */
type Question =
  | { readonly kind: 'query'; readonly sql: string; readonly params: readonly Parameter[] }
  | { readonly kind: 'script'; readonly sql: string }
  | { readonly kind: 'begin' | 'commit' };

type Answer = { readonly rows: unknown[] } | { readonly message: string; readonly code?: string };

/** Serves the database to commands. Returns a function that stops it. */
export async function shareDatabase(
  database: Database,
  folder: string,
): Promise<() => Promise<void>> {
  // The path of a socket is limited to about a hundred characters; a data folder's may be longer.
  const place = await mkdtemp(join(tmpdir(), 'taskcluster-local-'));
  const name = randomBytes(8).toString('hex');
  const address =
    process.platform === 'win32'
      ? `\\\\.\\pipe\\taskcluster-local-${name}`
      : join(place, 'control');
  const word = randomBytes(32).toString('base64url');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.once('close', () => sockets.delete(socket)));
    // The command has disconnected: roll its transaction back.
    socket.on('error', () => undefined);
    serveOne(database, new Line(socket), word).catch(() => socket.destroy());
  });
  server.listen(address).unref();
  await once(server, 'listening');
  await writeWay(folder, { address, word });
  return async () => {
    await rm(wayFile(folder), { force: true });
    server.close();
    for (const socket of sockets) {
      socket.destroy();
    }
    await rm(place, { recursive: true, force: true });
  };
}

/** The database of the process that serves this folder; undefined if none answers. */
export async function sharedDatabase(folder: string): Promise<Database | undefined> {
  try {
    const way = JSON.parse(await readFile(wayFile(folder), 'utf8')) as Way;
    const database = new SharedDatabase(folder, way);
    await database.query('SELECT 1');
    return database;
  } catch {
    return undefined;
  }
}

function wayFile(folder: string): string {
  return join(folder, 'control');
}

async function writeWay(folder: string, way: Way): Promise<void> {
  const unfinished = `${wayFile(folder)}.unfinished`;
  await rm(unfinished, { force: true });
  const file = await open(unfinished, 'wx', 0o600);
  await file.writeFile(JSON.stringify(way));
  await file.close();
  await rename(unfinished, wayFile(folder));
}

async function serveOne(database: Database, line: Line, word: string): Promise<void> {
  const said = await line.receiveText();
  const expected = Buffer.from(word);
  if (said.length !== expected.length || !timingSafeEqual(said, expected)) {
    throw new Error('not the word');
  }
  const question = (await line.receive()) as Question;
  if (question.kind !== 'begin') {
    await line.send(await answered(database, question));
    line.end();
    return;
  }
  const done = { rows: [] } satisfies Answer;
  await database.transaction(async (transaction) => {
    await line.send(done);
    for (;;) {
      const next = (await line.receive()) as Question;
      if (next.kind === 'commit') {
        return;
      }
      await line.send(await answered(transaction, next));
    }
  });
  await line.send(done);
  line.end();
}

async function answered(on: Queryable, question: Question): Promise<Answer> {
  try {
    switch (question.kind) {
      case 'query':
        return { rows: await on.query(question.sql, question.params) };
      case 'script':
        await on.script(question.sql);
        return { rows: [] };
      default:
        throw new Error('a transaction is in no other');
    }
  } catch (error) {
    const { message, code } = error as Error & { code?: unknown };
    return { message, ...(typeof code === 'string' && { code }) };
  }
}

/** A `Database` without `listen`: a command receives no notifications. */
class SharedDatabase implements Database {
  readonly location: string;
  readonly isExclusive = false;
  readonly #way: Way;

  constructor(folder: string, way: Way) {
    this.location = folder;
    this.#way = way;
  }

  query<Row>(sql: string, params: readonly Parameter[] = []): Promise<Row[]> {
    return this.#withLine((line) => ask(line, { kind: 'query', sql, params }));
  }

  async script(sql: string): Promise<void> {
    await this.#withLine((line) => ask(line, { kind: 'script', sql }));
  }

  transaction<Result>(work: (transaction: Queryable) => Promise<Result>): Promise<Result> {
    return this.#withLine(async (line) => {
      await ask(line, { kind: 'begin' });
      const result = await work(onLine(line));
      await ask(line, { kind: 'commit' });
      return result;
    });
  }

  async listen(): Promise<() => Promise<void>> {
    throw new Error('a command does not listen to a database that another process has');
  }

  listenAnew(): void {}

  async close(): Promise<void> {}

  async #withLine<Result>(work: (line: Line) => Promise<Result>): Promise<Result> {
    const socket = connect(this.#way.address);
    socket.on('error', () => undefined);
    try {
      await once(socket, 'connect');
      const line = new Line(socket);
      await line.sendText(this.#way.word);
      return await work(line);
    } finally {
      socket.destroy();
    }
  }
}

function onLine(line: Line): Queryable {
  const itself: Queryable = {
    query: (sql, params = []) => ask(line, { kind: 'query', sql, params }),
    async script(sql) {
      await ask(line, { kind: 'script', sql });
    },
    transaction: (work) => work(itself),
  };
  return itself;
}

async function ask<Row>(line: Line, question: Question): Promise<Row[]> {
  await line.send(question);
  const answer = (await line.receive()) as Answer;
  if ('rows' in answer) {
    return answer.rows as Row[];
  }
  throw Object.assign(new Error(answer.message), answer.code && { code: answer.code });
}

const LENGTH = 4;
const LONGEST_TEXT = 100;

/** Writes values one after the other, each after its length. */
class Line {
  readonly #socket: Socket;
  readonly #chunks: AsyncIterator<Buffer>;
  #read = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#chunks = socket[Symbol.asyncIterator]();
  }

  send(value: unknown): Promise<void> {
    return this.#write(serialize(value));
  }

  async receive(): Promise<unknown> {
    const length = (await this.#take(LENGTH)).readUInt32BE();
    return deserialize(await this.#take(length));
  }

  sendText(text: string): Promise<void> {
    return this.#write(Buffer.from(text));
  }

  /** Receives a text, such as the password, of limited length: the peer is not authenticated yet. */
  async receiveText(): Promise<Buffer> {
    const length = (await this.#take(LENGTH)).readUInt32BE();
    if (length > LONGEST_TEXT) {
      throw new Error('too long');
    }
    return this.#take(length);
  }

  end(): void {
    this.#socket.end();
  }

  async #write(bytes: Buffer): Promise<void> {
    const length = Buffer.alloc(LENGTH);
    length.writeUInt32BE(bytes.length);
    if (!this.#socket.write(Buffer.concat([length, bytes]))) {
      await once(this.#socket, 'drain');
    }
  }

  async #take(length: number): Promise<Buffer> {
    while (this.#read.length < length) {
      const { value, done } = await this.#chunks.next();
      if (done === true) {
        throw new Error('the other end has gone');
      }
      this.#read = Buffer.concat([this.#read, value]);
    }
    const taken = this.#read.subarray(0, length);
    this.#read = this.#read.subarray(length);
    return taken;
  }
}
