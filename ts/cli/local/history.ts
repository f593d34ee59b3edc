/**
 * `taskcluster-local history`: which client changed which role, client or secret, when, from which
 * address, and what that opened or closed. It reads the stored changes, also beside a running deployment.
 *
 * The history is kept for 30 days only. Changes from before an upgrade may have neither an address nor
 * scopes.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Change } from '../../deployment/review/changes.js';
import { stateWord } from '../../deployment/review/wording.js';
import { grants } from '../../deployment/scopes.js';
import type {
  AuditFilter,
  AuditRecord,
  GrantChange,
  Store,
} from '../../deployment/storage/store.js';
import { openBeside, orOneSentence, type PlaceOptions, requirePlace } from './place.js';
import { present } from './review-options.js';

interface Options extends PlaceOptions {
  readonly role?: string;
  readonly client?: string;
  readonly secret?: string;
  readonly by?: string;
  readonly since?: Date;
  readonly limit: number;
  readonly json: boolean;
}

export function declareHistory(program: Command): void {
  const command = program
    .command('history')
    .description(
      'List the changes of roles, clients and secrets, the latest first: which client made each, when, ' +
        'from which address, and what it opened or closed for every caller and for the holder of the ' +
        'role or client. The history is kept for 30 days.',
    )
    .addOption(new Option('--role <roleId>', 'of this role').argParser(present))
    .addOption(
      new Option('--client <clientId>', 'of this client').argParser(present).conflicts('role'),
    )
    .addOption(
      new Option('--secret <name>', 'of this secret, and of the grants to read or set it')
        .argParser(present)
        .conflicts(['role', 'client']),
    )
    .option('--by <clientId>', 'what this client has done', present)
    .option('--since <time>', 'from then on, as 2030-01-31 or 2030-01-31T12:00:00Z', time)
    .option('--limit <number>', 'so many at most', count, 50)
    .option('--json', 'print a JSON array', false)
    .action(
      orOneSentence(async (options: Options) => {
        const storage = await openBeside(options);
        try {
          const records = await recordsOf(storage.store, options);
          const printed = records.map(({ number: _, ...record }) => record);
          console.log(options.json ? JSON.stringify(printed, null, 2) : written(records));
        } finally {
          await storage.close();
        }
      }),
    );
  requirePlace(command);
}

function time(text: string): Date {
  if (!/^\d{4}-\d{2}-\d{2}(T[\d:.]+(Z|[+-]\d{2}:\d{2}))?$/.test(text)) {
    throw new InvalidArgumentError('Write a time as 2030-01-31 or 2030-01-31T12:00:00Z.');
  }
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) {
    throw new InvalidArgumentError('There is no such time.');
  }
  return date;
}

function count(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) {
    throw new InvalidArgumentError('Write a whole number from 1 to 999999.');
  }
  return Number(text);
}

const PAGE = 500;

async function recordsOf(
  { audit }: Pick<Store, 'audit'>,
  options: Options,
): Promise<AuditRecord[]> {
  const { role, client, secret, by: clientId, since, limit } = options;
  const entityType = role === undefined ? (client === undefined ? undefined : 'client') : 'role';
  const filter: AuditFilter = { entityType, entityId: role ?? client, clientId, since };
  const found: AuditRecord[] = [];
  for (let before: number | undefined; found.length < limit; ) {
    const page = await audit.latest(filter, PAGE, before);
    found.push(...page.filter((record) => secret === undefined || concerns(record, secret)));
    before = page.at(-1)?.number;
    if (page.length < PAGE) {
      break;
    }
  }
  return found.slice(0, limit);
}

/** Whether a change is one of the secret, or grants or revokes a scope for it. */
function concerns({ entityType, entityId, grants: change }: AuditRecord, secret: string): boolean {
  if (entityType === 'secret') {
    return entityId === secret;
  }
  const { added, removed } = moved(change);
  const wanted = [`secrets:get:${secret}`, `secrets:set:${secret}`];
  return [...added, ...removed].some((changed) => wanted.some((scope) => grants(changed, scope)));
}

function moved(change: GrantChange | undefined) {
  const [before, after] = [change?.before ?? [], change?.after ?? []];
  return {
    added: after.filter((scope) => !before.includes(scope)),
    removed: before.filter((scope) => !after.includes(scope)),
  };
}

function written(records: readonly AuditRecord[]): string {
  return records.length === 0 ? 'nothing has been changed' : records.map(lines).join('\n');
}

function lines(record: AuditRecord): string {
  const { entityType, entityId, actionType, clientId, address = '', created } = record;
  const from = address === '' ? '' : ` from ${address}`;
  const { added, removed } = moved(record.grants);
  const { anonymous = [], holder = [] } = record.grants ?? {};
  const open = new Set(anonymous.map((change) => JSON.stringify(change)));
  return [
    `${created.toISOString()} ${entityType} ${entityId}: ${actionType} by ${clientId}${from}`,
    ...added.map((scope) => `  + ${scope}`),
    ...removed.map((scope) => `  - ${scope}`),
    ...effects('every caller', anonymous),
    // The holder is a caller, too.
    ...effects(
      'its holder',
      holder.filter((change) => !open.has(JSON.stringify(change))),
    ),
  ].join('\n');
}

function effects(who: string, list: readonly Change[]): string[] {
  return list.map(
    ({ direction, service, endpoint, before, after }) =>
      `  ${direction} ${service}.${endpoint} to ${who}: ${stateWord(before)}, now ${stateWord(after)}`,
  );
}
