// The soak of the deployment: two processes of it on one PostgreSQL and one folder, and clients of
// Taskcluster's own that try again. The server is restarted now and then, and one of the processes is
// killed. A write that a client was told of has to be there, from either process, whatever has happened
// meanwhile.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import taskcluster from 'taskcluster-client';
import { PROGRAM_PATIENCE_MS, until } from '../__test__/harness/deadline.js';
import { unusedPort } from '../__test__/harness/port.js';
import { type Postgresql, postgresql } from '../__test__/harness/postgresql.js';
import { find } from '../__test__/harness/programs.js';
import { definition, WORKER } from '../__test__/harness/queue.js';
import { Random } from '../__test__/harness/random.js';
import { countDescriptors, readMemory } from '../bench/measure.js';
import { Program } from '../bench/program.js';
import { Ledger } from './ledger.js';
import { UsageError } from './options.js';
import type { Figures, Run } from './report.js';
import { bodyUp } from './upstream.js';

const COMMAND = path.resolve(import.meta.dirname, '../dist/cli/taskcluster-local.js');

const CLIENTS = 6;

/**
 * A client tries again for longer than a process may take to start (`PROGRAM_PATIENCE_MS`). The pauses of
 * Taskcluster's client double from 100 ms to 30 s, and chance makes them up to a quarter shorter.
 */
const RETRIES = 18;
const LONGEST_PAUSE_MS = 30_000;

const QUIET_MS = [1_000, 6_000] as const;
const OUTAGE_MS = [0, 2_000] as const;

/** A shorter load tells nothing of what is held for good. */
const SHORTEST_MS = 120_000;

/** What a process may hold more than at the mark. JavaScript's heap is collected when it likes. */
const MORE = { descriptors: 32, memory: 48 * 2 ** 20 };

/** A write that a client was told of. */
interface Written {
  readonly secrets: Map<string, number>;
  readonly roles: Map<string, string>;
  readonly tasks: string[];
  readonly artifacts: Map<string, number>;
}

interface Site {
  readonly ledger: Ledger;
  /** The longest pause of a client between two calls, in milliseconds. */
  readonly pause: number;
  readonly server: Postgresql;
  readonly members: readonly Member[];
  readonly written: Written;
}

export async function soakDeployment(run: Run): Promise<Figures[]> {
  if (find('postgres') === undefined) {
    throw new UsageError('PostgreSQL is not installed (Debian: apt-get install postgresql)');
  }
  const { directory, pause } = run;
  const server = await postgresql();
  const databaseUrl = await server.createDatabase();
  const members: Member[] = [];
  try {
    for (const name of ['lasting', 'killed']) {
      members.push(await Member.start({ directory, databaseUrl, name }));
    }
    const written = { secrets: new Map(), roles: new Map(), tasks: [], artifacts: new Map() };
    const site = { ledger: new Ledger(), pause, server, members, written };
    await soakSite(site, run);
    return [{ name: 'deployment', ledger: site.ledger }];
  } finally {
    await Promise.all(members.map((member) => member.stop()));
    await server.stop();
  }
}

async function soakSite(site: Site, { minutes, seed, progress }: Run): Promise<void> {
  const total = minutes * 60_000;
  const phases = new Random(seed);
  progress('warming up');
  await load(site, phases.below(2 ** 32), total / 4);
  const mark = hold(site);
  progress('under load');
  await load(site, phases.below(2 ** 32), (total * 3) / 4);
  progress('reading all that was written');
  await Promise.all(site.members.map((member) => readAll(site, member)));
  if (total >= SHORTEST_MS) {
    compare(site, mark);
  }
}

interface Place {
  readonly directory: string;
  readonly databaseUrl: string;
  readonly name: string;
}

/** One process of the deployment, on a port that it keeps. */
class Member {
  readonly #place: Place;
  readonly #port: number;
  #program: Program;
  #accessToken = '';

  private constructor(place: Place, port: number) {
    this.#place = place;
    this.#port = port;
    this.#program = this.#launch();
  }

  static async start(place: Place): Promise<Member> {
    const member = new Member(place, await unusedPort());
    await member.#serves();
    return member;
  }

  get pid(): number {
    return this.#program.pid;
  }

  get rootUrl(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get options() {
    const clientId = 'static/taskcluster/root';
    const credentials = { clientId, accessToken: this.#accessToken };
    return { rootUrl: this.rootUrl, credentials, retries: RETRIES };
  }

  get log(): string {
    return path.join(this.#place.directory, `${this.#place.name}.log`);
  }

  async killAndStart(): Promise<void> {
    process.kill(this.#program.pid, 'SIGKILL');
    await this.#program.stop();
    this.#program = this.#launch();
    await this.#serves();
  }

  stop(): Promise<void> {
    return this.#program.stop();
  }

  #launch(): Program {
    const { directory, databaseUrl } = this.#place;
    const folder = ['--data-folder', path.join(directory, 'data')];
    const command = [process.execPath, COMMAND, 'start', '--port', `${this.#port}`, ...folder];
    const env = { TASKCLUSTER_LOCAL_DATABASE_URL: databaseUrl };
    return new Program(command, { log: this.log, env });
  }

  async #serves(): Promise<void> {
    await this.#program.listensOn(this.#port);
    const printed = () => /^export TASKCLUSTER_ACCESS_TOKEN=(.*)$/m.exec(this.#said())?.[1];
    await until(() => printed() !== undefined, 'the access token', PROGRAM_PATIENCE_MS);
    this.#accessToken = printed() ?? '';
  }

  #said(): string {
    return readFileSync(this.log, 'utf8');
  }
}

async function load(site: Site, seed: number, milliseconds: number): Promise<void> {
  const signal = AbortSignal.timeout(milliseconds);
  await Promise.all([
    disturb(site, new Random(seed), signal),
    ...Array.from({ length: CLIENTS }, (_, index) =>
      work(site, index, new Random(seed, index + 1), signal),
    ),
  ]);
}

/** Restarts the server, or kills the process that may be killed. */
async function disturb(site: Site, random: Random, signal: AbortSignal): Promise<void> {
  const { server, members, ledger } = site;
  for (;;) {
    await sleep(random.between(...QUIET_MS), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) {
      return;
    }
    if (random.chance(3)) {
      ledger.add('processes killed');
      await members[1]?.killAndStart();
    } else {
      ledger.add('restarts of PostgreSQL');
      await server.stop();
      await sleep(random.between(...OUTAGE_MS));
      await server.resume();
    }
  }
}

/** One client of one process, whose calls all have to succeed in the end. */
async function work(site: Site, index: number, random: Random, signal: AbortSignal): Promise<void> {
  const { members, ledger } = site;
  const member = members[index % members.length];
  const calls = [writeSecret, writeRole, runTask, readBack];
  while (member !== undefined && !signal.aborted) {
    const call = random.pick(calls);
    const began = Date.now();
    try {
      await call(site, member, random);
      ledger.add(call.name);
    } catch (error) {
      ledger.fault(`${call.name} failed for good: ${error}`);
    }
    ledger.most(`longest ${call.name} in ms`, Date.now() - began);
    await sleep(random.below(site.pause), undefined, { signal }).catch(() => undefined);
  }
}

let lastNumber = 0;

async function writeSecret({ written }: Site, { options }: Member): Promise<void> {
  const number = ++lastNumber;
  const name = `soak/${number}`;
  const expires = taskcluster.fromNow('1 day');
  await new taskcluster.Secrets(options).set(name, { expires, secret: { number } });
  written.secrets.set(name, number);
}

async function writeRole({ written }: Site, { options }: Member): Promise<void> {
  const number = ++lastNumber;
  const roleId = `soak-${number}`;
  const scope = `soak:${number}`;
  await new taskcluster.Auth(options).createRole(roleId, { description: '', scopes: [scope] });
  written.roles.set(roleId, scope);
}

async function runTask({ written, ledger }: Site, { options }: Member): Promise<void> {
  const number = ++lastNumber;
  const taskId = taskcluster.slugid();
  const queue = new taskcluster.Queue(options);
  await queue.createTask(taskId, definition());
  await queue.claimTask(taskId, 0, WORKER);
  const expires = taskcluster.fromNow('1 day');
  const artifact = { storageType: 's3', contentType: 'application/octet-stream', expires };
  const { putUrl } = await queue.createArtifact(taskId, 0, 'public/soak', artifact);
  await put(putUrl, bodyOf(number));
  written.artifacts.set(taskId, number);
  await queue.reportCompleted(taskId, 0);
  written.tasks.push(taskId);
  ledger.add('artifacts', 1);
}

function bodyOf(number: number): Buffer {
  return bodyUp(number, 1 + ((number * 7_919) % 200_000)).whole();
}

/** As clients upload: a failure of the server's is tried again. */
async function put(url: string, body: Buffer): Promise<void> {
  const headers = { 'Content-Type': 'application/octet-stream' };
  await again(() => fetch(url, { method: 'PUT', body: new Uint8Array(body), headers }));
}

async function again(call: () => Promise<Response>): Promise<Response> {
  for (let tries = 0; ; tries += 1) {
    const answer = await call().catch(() => undefined);
    if (answer?.ok) {
      return answer;
    }
    if (tries === RETRIES || (answer !== undefined && answer.status < 500)) {
      throw new Error(`${answer?.status ?? 'no'} answer, and no better one after ${tries} tries`);
    }
    await sleep(Math.min(100 * 2 ** tries, LONGEST_PAUSE_MS));
  }
}

/** Something that any client has written, from the process that this one asks. */
async function readBack(site: Site, member: Member, random: Random): Promise<void> {
  const { secrets, tasks } = site.written;
  const [name, number] = [...secrets][random.below(Math.max(1, secrets.size))] ?? [];
  if (name !== undefined) {
    await readSecret(site, member, name, number);
  }
  const taskId = tasks[random.below(Math.max(1, tasks.length))];
  if (taskId !== undefined) {
    await readTask(site, member, taskId);
  }
}

async function readSecret(
  { ledger }: Site,
  { options }: Member,
  name: string,
  number: number | undefined,
): Promise<void> {
  const { secret } = await new taskcluster.Secrets(options).get(name);
  if (secret.number !== number) {
    ledger.fault(`the secret ${name} holds ${secret.number}`);
  }
}

async function readTask({ ledger }: Site, { options }: Member, taskId: string): Promise<void> {
  const { status } = await new taskcluster.Queue(options).status(taskId);
  if (status.state !== 'completed' || status.runs.length !== 1) {
    ledger.fault(`the task ${taskId} is ${status.state}, with ${status.runs.length} runs`);
  }
}

/** Reads all that was written, at rest. */
async function readAll(site: Site, member: Member): Promise<void> {
  const { written, ledger } = site;
  const check = async (what: string, read: () => Promise<void>) => {
    try {
      await read();
      ledger.add('read at the end');
    } catch (error) {
      ledger.fault(`${what} is lost: ${error}`);
    }
  };
  const auth = new taskcluster.Auth(member.options);
  for (const [name, number] of written.secrets) {
    await check(name, () => readSecret(site, member, name, number));
  }
  for (const [roleId, scope] of written.roles) {
    await check(roleId, async () => {
      const { scopes } = await auth.role(roleId);
      if (scopes.length !== 1 || scopes[0] !== scope) {
        ledger.fault(`the role ${roleId} has ${scopes}`);
      }
    });
  }
  for (const taskId of written.tasks) {
    await check(taskId, () => readTask(site, member, taskId));
  }
  for (const [taskId, number] of written.artifacts) {
    await check(`the artifact of ${taskId}`, () => readArtifact(member, taskId, number));
  }
}

async function readArtifact({ options }: Member, taskId: string, number: number): Promise<void> {
  const { url } = await new taskcluster.Queue(options).artifact(taskId, 0, 'public/soak');
  const answer = await again(() => fetch(url));
  if (!Buffer.from(await answer.arrayBuffer()).equals(bodyOf(number))) {
    throw new Error('it is another');
  }
}

interface Holding {
  readonly descriptors: number;
  readonly memory: number;
}

/** What the process holds that is never killed. */
function hold({ members }: Site): Holding {
  const pid = members[0]?.pid ?? 0;
  return { descriptors: countDescriptors(pid), memory: readMemory(pid).resident };
}

function compare(site: Site, mark: Holding): void {
  const { ledger } = site;
  const end = hold(site);
  ledger.add('descriptors, early', mark.descriptors);
  ledger.add('descriptors, at the end', end.descriptors);
  ledger.add('memory in MiB, early', mib(mark.memory));
  ledger.add('memory in MiB, at the end', mib(end.memory));
  if (end.descriptors > mark.descriptors + MORE.descriptors) {
    ledger.fault(`descriptors grew from ${mark.descriptors} to ${end.descriptors}`);
  }
  if (end.memory > mark.memory + MORE.memory) {
    ledger.fault(`memory grew from ${mib(mark.memory)} to ${mib(end.memory)} MiB`);
  }
}

function mib(bytes: number): number {
  return Math.round((bytes / 2 ** 20) * 10) / 10;
}
