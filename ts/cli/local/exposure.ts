/**
 * `taskcluster-local exposure`: which endpoints of a running deployment a caller may use, and why; what a
 * role would change; what has changed since a baseline, as a gate for a build; and which scopes no call in
 * audit logs has needed. It reads the deployment's own references, so it works with any Taskcluster deployment.
 *
 * The command decides nothing: `deployment/review` does, also for the page of a deployment.
 */
import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { nearest } from 'taskcluster-proxy/internal';
import type { RoleScopes } from '../../deployment/auth/roles.js';
import { type Exposure, exposureTo, publicScopes } from '../../deployment/exposure.js';
import { checkAuditLogs, logFiles } from '../../deployment/review/audit-log.js';
import { baselineOf, compare, readBaseline, readState } from '../../deployment/review/baseline.js';
import { changes } from '../../deployment/review/changes.js';
import { exposureIf, exposureNow, whyOf } from '../../deployment/review/questions.js';
import {
  described,
  ReviewError,
  type Source,
  type Subject,
} from '../../deployment/review/subject.js';
import { readDays, unusedScopes } from '../../deployment/review/unused.js';
import { unusedRemarks, unusedText } from '../../deployment/review/unused-wording.js';
import { readRole } from '../../deployment/review/what-if.js';
import {
  ANSWERS,
  type Answer,
  answerOf,
  changeTable,
  drawn,
  table,
} from '../../deployment/review/wording.js';
import { services } from '../../deployment/services.js';
import { RemoteDeployment } from './remote-deployment.js';
import {
  addDeploymentOption,
  addSubjectOptions,
  deploymentOf,
  EXIT_NO,
  orTrouble,
  present,
  presentEach,
  type ReviewOptions,
  subjectOf,
} from './review-options.js';

interface Options extends ReviewOptions {
  readonly only?: readonly Answer[];
  readonly why?: string;
  readonly whatIf: readonly RoleScopes[];
  readonly diff?: readonly string[];
  readonly failOnNew?: string;
  readonly asBaseline?: string;
  readonly auditLog: readonly string[];
  readonly days?: number;
  readonly json: boolean;
}

export function declareExposure(program: Command): void {
  const command = program
    .command('exposure')
    .description(
      'List every endpoint of a deployment, the scopes it needs, and whether a caller passes now: ' +
        'a caller without credentials, a client, or a holder of a role or of some scopes. ' +
        'Looking up clients and roles takes credentials unless every caller may do so: ' +
        'TASKCLUSTER_CLIENT_ID, TASKCLUSTER_ACCESS_TOKEN and TASKCLUSTER_CERTIFICATE. ' +
        'The command ends with 1 where --fail-on-new finds something, and with 2 where it cannot tell.',
    );
  addDeploymentOption(command).option('--client-id <id>', 'tell for this client', present);
  addSubjectOptions(command)
    .option(
      '--only <answers>',
      `list these alone, with commas between: ${ANSWERS.join(', ')} (free: no scopes are needed)`,
      answers,
    )
    .addOption(
      new Option('--why <endpoint>', 'tell which roles and scopes open it, as a tree')
        .argParser(present)
        .conflicts(['diff', 'failOnNew', 'asBaseline', 'only']),
    )
    .option(
      '--what-if <role=scopes>',
      "tell what would change if a role were 'role=scope,scope'; may be repeated",
      role,
      [],
    )
    .addOption(
      new Option(
        '--diff <states...>',
        'tell what two states differ in: now, anonymous-role (what a public deployment grants ' +
          'every caller), the root URL of a deployment, or a file that --json was written to',
      )
        .argParser(presentEach)
        .conflicts(['failOnNew', 'asBaseline', 'only', 'whatIf']),
    )
    .addOption(
      new Option('--fail-on-new <file>', 'end with 1 if more is open than this baseline accepts')
        .argParser(present)
        .conflicts(['asBaseline', 'only']),
    )
    .addOption(
      new Option('--as-baseline <note>', 'print all that is open as a baseline, with a note')
        .argParser(present)
        .conflicts(['only', 'whatIf', 'json']),
    )
    .option(
      '--audit-log <path>',
      'tell which scopes of the caller no call has needed that proxies have logged: an audit log of ' +
        'taskcluster-proxy with its rotated files, or a folder of them; may be repeated',
      presentEach,
      [],
    )
    .option('--days <number>', 'how many days of the audit logs count, up to now: 30', days)
    .option('--json', 'print JSON', false)
    .action(orTrouble(print));
}

function answers(value: string): Answer[] {
  return present(value)
    .split(',')
    .map((word) => word.trim())
    .map((word) => {
      if (!(ANSWERS as readonly string[]).includes(word)) {
        const meant = nearest(word, ANSWERS);
        throw new InvalidArgumentError(
          `'${word}' is none of ${ANSWERS.join(', ')}${meant === undefined ? '' : `: write ${meant}`}.`,
        );
      }
      return word as Answer;
    });
}

function role(value: string, values: readonly RoleScopes[]): RoleScopes[] {
  try {
    return [...values, readRole(present(value))];
  } catch (error) {
    throw error instanceof ReviewError ? new InvalidArgumentError(`${error.message}.`) : error;
  }
}

function days(value: string): number {
  try {
    return readDays(value);
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`);
  }
}

async function print(options: Options): Promise<void> {
  const subject = subjectOf(options);
  checkUnused(options);
  if (options.diff !== undefined) {
    await printDiff(options.diff, subject, options);
    return;
  }
  if (options.auditLog.length > 0) {
    await printUnused(subject, options);
    return;
  }
  const deployment = deploymentOf(options);
  const now = await exposureNow(deployment, subject);
  if (options.why !== undefined) {
    const row = endpointOf(options.why, now);
    say(await whyOf(deployment, subject, row, options.whatIf), drawn, options);
    return;
  }
  const then = await wouldBe(now, subject, deployment, options.whatIf);
  if (options.failOnNew !== undefined) {
    await gate(options.failOnNew, then ?? now, subject, options);
  } else if (options.asBaseline !== undefined) {
    console.log(JSON.stringify(baselineOf(described(subject), now, options.asBaseline), null, 2));
  } else if (then !== undefined) {
    say(changes(select(now, options), select(then, options)), changeTable, options);
  } else {
    say(select(now, options), table, options);
  }
}

function say<Value>(value: Value, written: (value: Value) => string, { json }: Options): void {
  console.log(json ? JSON.stringify(value, null, 2) : written(value));
}

function select(rows: readonly Exposure[], { only }: Options): readonly Exposure[] {
  return only === undefined ? rows : rows.filter((row) => only.includes(answerOf(row)));
}

/** @throws ReviewError */
function checkUnused({ auditLog, days, only, why, diff, failOnNew, asBaseline }: Options): void {
  if (auditLog.length === 0 && days !== undefined) {
    throw new ReviewError('--days counts the days of audit logs: name them with --audit-log');
  }
  const others = { only, why, diff, 'fail-on-new': failOnNew, 'as-baseline': asBaseline };
  const [other] = Object.entries(others).find(([, value]) => value !== undefined) ?? [];
  if (auditLog.length > 0 && other !== undefined) {
    throw new ReviewError(`--audit-log and --${other} ask for two things: leave one out`);
  }
}

const DEFAULT_DAYS = 30;

async function printUnused(subject: Subject, options: Options): Promise<void> {
  const { TASKCLUSTER_ROOT_URL = '' } = process.env;
  const { auditLog, days = DEFAULT_DAYS, whatIf, rootUrl = TASKCLUSTER_ROOT_URL, json } = options;
  const deployment = deploymentOf(options);
  await checkAuditLogs(auditLog);
  const unused = await unusedScopes(deployment, {
    subject,
    wanted: whatIf,
    days,
    files: logFiles(auditLog),
    rootUrls: [rootUrl],
    readTask: (taskId) => deployment.task(taskId),
  });
  say(unused, unusedText, options);
  if (!json) {
    for (const remark of unusedRemarks(unused)) {
      console.error(`taskcluster-local: ${remark}`);
    }
  }
}

async function wouldBe(
  now: readonly Exposure[],
  subject: Subject,
  deployment: Source,
  wanted: readonly RoleScopes[],
): Promise<Exposure[] | undefined> {
  if (wanted.length === 0) {
    return undefined;
  }
  const { rows, made } = await exposureIf(deployment, subject, now, wanted);
  for (const roleId of made) {
    console.error(`taskcluster-local: there is no role ${roleId} yet: it would be made`);
  }
  return rows;
}

/** Finds an endpoint by its name, or by its service and name. @throws ReviewError */
function endpointOf(name: string, rows: readonly Exposure[]): Exposure {
  const full = (row: Exposure) => `${row.service}.${row.endpoint}`;
  const found = rows.filter((row) => full(row) === name || row.endpoint === name);
  const [first] = found;
  if (first === undefined) {
    const meant =
      nearest(name, rows.map(full)) ??
      nearest(
        name,
        rows.map(({ endpoint }) => endpoint),
      );
    throw new ReviewError(
      `there is no endpoint ${name}: ` +
        (meant === undefined ? 'exposure lists them' : `write ${meant}`),
    );
  }
  if (found.length > 1) {
    throw new ReviewError(`several services have ${name}: write ${found.map(full).join(' or ')}`);
  }
  return first;
}

async function gate(
  file: string,
  rows: readonly Exposure[],
  subject: Subject,
  options: Options,
): Promise<void> {
  const baseline = readBaseline(await read(file), file, described(subject));
  const names = new Set(rows.map(({ service, endpoint }) => `${service}.${endpoint}`));
  for (const { endpoint } of baseline.accepted) {
    if (!names.has(endpoint)) {
      const meant = nearest(endpoint, [...names]);
      throw new ReviewError(
        `${file}: there is no endpoint ${endpoint}: ` +
          (meant === undefined ? 'take it out' : `take it out, or write ${meant}`),
      );
    }
  }
  const { fresh, gone } = compare(rows, baseline);
  if (options.json) {
    console.log(JSON.stringify({ fresh, gone }, null, 2));
  } else {
    console.log(
      fresh.length === 0
        ? `nothing is open to ${described(subject)} but what is accepted`
        : table(fresh),
    );
  }
  for (const name of gone) {
    console.error(
      `taskcluster-local: ${name} is accepted and not open any more: take it out of the baseline`,
    );
  }
  if (fresh.length > 0) {
    process.exitCode = EXIT_NO;
  }
}

async function printDiff(
  names: readonly string[],
  subject: Subject,
  options: Options,
): Promise<void> {
  const [before, after, ...more] = names;
  if (before === undefined || after === undefined || more.length > 0) {
    throw new ReviewError(
      `--diff compares two states, and ${names.length} are given: write --diff A B behind all else`,
    );
  }
  if (before === PUBLIC && after === PUBLIC) {
    throw new ReviewError(`${PUBLIC} cannot be compared with itself: write now for one of them`);
  }
  const known = before === PUBLIC ? undefined : await stateOf(before, subject, options);
  const second =
    after === PUBLIC ? publicState(known ?? []) : await stateOf(after, subject, options);
  say(changes(known ?? publicState(second), second), changeTable, options);
}

const NOW = 'now';
const PUBLIC = 'anonymous-role';

/** The scopes that a public deployment grants, over the endpoints of the other state. */
function publicState(rows: readonly Exposure[]): Exposure[] {
  return exposureTo(rows, publicScopes(services()));
}

async function stateOf(name: string, subject: Subject, options: Options): Promise<Exposure[]> {
  if (name === NOW || /^https?:\/\//.test(name)) {
    // The credentials of the environment belong to the deployment of the environment only.
    const deployment = name === NOW ? deploymentOf(options) : new RemoteDeployment(name, undefined);
    return exposureNow(deployment, subject);
  }
  return readState(await read(name), name);
}

/** @throws ReviewError */
async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const meant = nearest(file, [NOW, PUBLIC]);
    throw new ReviewError(
      `cannot read ${file} (${(error as NodeJS.ErrnoException).code}): name a file` +
        (meant === undefined ? '' : `, or write ${meant}`),
    );
  }
}
