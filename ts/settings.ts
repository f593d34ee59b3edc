/**
 * The table of settings: one row for each setting of the API, the command line or the environment. The
 * checks of the API, the command line, its help and the tests of the README derive from it, and a test
 * tries every kind of mistake on each row.
 *
 * The table only describes: `options.ts` checks the values, and the core checks addresses, users,
 * networks and root URLs.
 */

/** The kinds of a value, and the words of a sentence that asks for one. */
export const KINDS = {
  switch: 'true or false',
  text: 'a string',
  port: 'a whole number',
  duration: 'a number of milliseconds, or a string such as 30s',
  size: 'a number of bytes, or a string such as 10MiB',
  choice: 'a string',
  credentials: 'an object',
} as const;

export type Kind = keyof typeof KINDS;

/** One row. */
export interface Row {
  /** Where this key can be set; `environment`: by a variable alone. */
  readonly by: 'API' | 'command' | 'API and command' | 'environment';
  /** Long name on the command line, without dashes; absent where only arguments or variables set it. */
  readonly flag?: string;
  readonly short?: string;
  /** The placeholder of the value in the help. */
  readonly value?: string;
  /** Variables that apply without the flag; the first is the proper one. */
  readonly environment?: readonly string[];
  readonly kind: Kind;
  readonly choices?: readonly string[];
  readonly default?: string | number;
  /** May be repeated: an array in the API, which also takes a single value with `array or one`. */
  readonly many?: 'array' | 'array or one';
  /**
   * Present if the setting restricts. `by being given`: the proxy serves more without it. `by being left
   * out`: the proxy serves more with it.
   */
  readonly restricts?: 'by being given' | 'by being left out';
  /**
   * What an empty value means. A setting that restricts refuses it, and also an empty array and
   * `undefined`.
   */
  readonly empty: 'refused' | 'not given';
  /** An empty array is a valid value, distinct from an absent one. */
  readonly emptyArray?: 'a value';
  /** It is required. */
  readonly required?: true;
  /** The effect of leaving it out; ends the sentence about an empty value. */
  readonly without?: string;
  /** Its value must not appear in the process list. */
  readonly secret?: true;
  /** Its values may begin with two dashes. */
  readonly dashes?: true;
  /**
   * A task must not be able to set it by a scope that begins with a dash: the launcher writes it before
   * every other flag, where no scope of a task can be.
   */
  readonly first?: true;
  /** One sentence of help. */
  readonly help: string;
}

/** The table, in the order of the help. */
export const SETTINGS = {
  help: {
    by: 'command',
    flag: 'help',
    short: 'h',
    kind: 'switch',
    empty: 'refused',
    help: 'Show this help',
  },
  version: {
    by: 'command',
    flag: 'version',
    kind: 'switch',
    empty: 'refused',
    help: 'Show version and git revision',
  },
  shortVersion: {
    by: 'command',
    flag: 'short-version',
    kind: 'switch',
    empty: 'refused',
    help: 'Show the version alone',
  },
  authorizedScopes: {
    by: 'API and command',
    value: 'scope',
    kind: 'text',
    many: 'array',
    restricts: 'by being given',
    empty: 'refused',
    emptyArray: 'a value',
    without: 'sign with all scopes of the credentials',
    help: 'Scope that requests are signed for, all of the credentials when not given',
  },
  taskId: {
    by: 'command',
    flag: 'task-id',
    short: 't',
    value: 'taskId',
    kind: 'text',
    restricts: 'by being given',
    empty: 'refused',
    without: 'be restricted by no task',
    dashes: true,
    help: "Restrict the credentials to this task's scopes and those given",
  },
  rootUrl: {
    by: 'API and command',
    flag: 'root-url',
    value: 'rootUrl',
    environment: ['TASKCLUSTER_ROOT_URL'],
    kind: 'text',
    required: true,
    empty: 'not given',
    help: 'Root URL of the Taskcluster deployment: http or https, no path',
  },
  credentials: {
    by: 'API',
    kind: 'credentials',
    required: true,
    empty: 'refused',
    help: 'Client id, access token and certificate',
  },
  clientId: {
    by: 'command',
    flag: 'client-id',
    value: 'clientId',
    environment: ['TASKCLUSTER_CLIENT_ID'],
    kind: 'text',
    required: true,
    empty: 'not given',
    help: 'Client id to sign with',
  },
  accessToken: {
    by: 'command',
    flag: 'access-token',
    value: 'accessToken',
    environment: ['TASKCLUSTER_ACCESS_TOKEN'],
    kind: 'text',
    required: true,
    empty: 'not given',
    secret: true,
    dashes: true,
    help: 'Access token to sign with',
  },
  certificate: {
    by: 'command',
    flag: 'certificate',
    value: 'certificate',
    // Spelt both ways: old documentation has the second.
    environment: ['TASKCLUSTER_CERTIFICATE', 'TASKCLUSTER_CERITIFICATE'],
    kind: 'text',
    empty: 'not given',
    secret: true,
    help: 'Certificate of temporary credentials',
  },
  readyFile: {
    by: 'command',
    flag: 'ready-file',
    value: 'path',
    kind: 'text',
    empty: 'refused',
    first: true,
    help: 'Write a JSON file with pid, addresses and version once all listeners accept',
  },
  grace: {
    by: 'command',
    flag: 'grace',
    value: 'duration',
    kind: 'duration',
    default: '30s',
    empty: 'refused',
    help: 'How long running requests may take to finish after SIGTERM or SIGINT',
  },
  endWithParent: {
    by: 'command',
    flag: 'end-with-parent',
    kind: 'switch',
    restricts: 'by being given',
    empty: 'refused',
    help: 'End when the process that started it ends, as it does with --allowed-user',
  },
  outliveParent: {
    by: 'command',
    flag: 'outlive-parent',
    kind: 'switch',
    restricts: 'by being left out',
    empty: 'refused',
    first: true,
    help: 'With --allowed-user: go on when the process that started it ends',
  },
  port: {
    by: 'API and command',
    flag: 'port',
    short: 'p',
    value: 'port',
    kind: 'port',
    default: 8080,
    empty: 'refused',
    help: 'Port to listen on; 0 takes a free one',
  },
  ipAddresses: {
    by: 'API and command',
    flag: 'ip-address',
    short: 'i',
    value: 'address',
    kind: 'text',
    many: 'array',
    restricts: 'by being given',
    empty: 'refused',
    without: 'listen on all interfaces',
    help: 'Address to listen on, IPv4 or IPv6; all interfaces when not given',
  },
  allowedUser: {
    by: 'API and command',
    flag: 'allowed-user',
    value: 'username',
    kind: 'text',
    restricts: 'by being given',
    empty: 'refused',
    without: 'serve every user',
    help: 'Only serve connections of this OS user and of root',
  },
  allowedNetwork: {
    by: 'API and command',
    flag: 'allowed-network',
    value: 'cidr',
    kind: 'text',
    many: 'array or one',
    restricts: 'by being left out',
    empty: 'refused',
    without: 'serve no peer that the kernel cannot look up',
    help:
      'With --allowed-user: also serve peers in this network that the kernel cannot look up, ' +
      'such as containers behind a bridge',
  },
  allowCrossSite: {
    by: 'API and command',
    flag: 'allow-cross-site',
    kind: 'switch',
    restricts: 'by being left out',
    empty: 'refused',
    without: 'refuse such requests',
    first: true,
    help: 'Serve requests that web pages of other origins make',
  },
  hosts: {
    by: 'API and command',
    flag: 'host',
    value: 'name',
    kind: 'text',
    many: 'array',
    restricts: 'by being left out',
    empty: 'refused',
    without: 'answer to private names alone',
    first: true,
    help: 'Public name by which clients may call the proxy, * for any',
  },
  upstreamHosts: {
    by: 'API and command',
    flag: 'upstream-host',
    value: 'name',
    kind: 'text',
    many: 'array',
    restricts: 'by being given',
    empty: 'refused',
    without: 'sign for any host',
    first: true,
    help: 'Host that requests are signed for beside the root URL: a name, *.example.com, * or none',
  },
  retryFirst: {
    by: 'API and command',
    flag: 'retry-first',
    value: 'duration',
    kind: 'duration',
    default: '500ms',
    empty: 'refused',
    help: 'Pause before the second try of a request',
  },
  retryCap: {
    by: 'API and command',
    flag: 'retry-cap',
    value: 'duration',
    kind: 'duration',
    default: '60s',
    empty: 'refused',
    help: 'Longest pause between tries',
  },
  retryFor: {
    by: 'API and command',
    flag: 'retry-for',
    value: 'duration',
    kind: 'duration',
    default: '15m',
    empty: 'refused',
    help: 'How long a request is tried again; 0 for a single try',
  },
  replayLimit: {
    by: 'API and command',
    flag: 'replay-limit',
    value: 'size',
    kind: 'size',
    default: '10MiB',
    empty: 'refused',
    help: "How much of a request's body is kept for another try",
  },
  replayTotal: {
    by: 'API and command',
    flag: 'replay-total',
    value: 'size',
    kind: 'size',
    default: '64MiB',
    empty: 'refused',
    help: "How much of all requests' bodies is kept",
  },
  headerTimeout: {
    by: 'API and command',
    flag: 'header-timeout',
    value: 'duration',
    kind: 'duration',
    default: '30s',
    empty: 'refused',
    help: "How long a request's head may take to come in",
  },
  responseTimeout: {
    by: 'API and command',
    flag: 'response-timeout',
    value: 'duration',
    kind: 'duration',
    default: '10m',
    empty: 'refused',
    help: 'How long upstream may take to begin its answer',
  },
  upstreamHttp2: {
    by: 'API and command',
    flag: 'upstream-http2',
    kind: 'switch',
    empty: 'refused',
    help: 'Offer HTTP/2 to https upstreams, too',
  },
  credentialsUpdate: {
    by: 'API and command',
    flag: 'credentials-update',
    value: 'how',
    kind: 'choice',
    choices: ['drain', 'immediate'],
    default: 'drain',
    empty: 'refused',
    help: 'Whether new credentials wait for running requests',
  },
  drainTimeout: {
    by: 'API and command',
    flag: 'drain-timeout',
    value: 'duration',
    kind: 'duration',
    default: '5s',
    empty: 'refused',
    help: 'How long new credentials wait for running requests',
  },
  auditLog: {
    by: 'API and command',
    flag: 'audit-log',
    value: 'path',
    kind: 'text',
    restricts: 'by being given',
    empty: 'refused',
    without: 'keep no audit log',
    first: true,
    help: 'File that a JSON line is added to for each request, by its absolute path',
  },
  auditRequired: {
    by: 'API and command',
    flag: 'audit-required',
    kind: 'switch',
    restricts: 'by being given',
    empty: 'refused',
    without: 'sign what is not recorded, too',
    help: 'With --audit-log: sign nothing while it cannot be written',
  },
  logFormat: {
    by: 'API and command',
    flag: 'log-format',
    value: 'format',
    kind: 'choice',
    choices: ['text', 'json'],
    default: 'text',
    empty: 'refused',
    help: 'Form of the log on stderr',
  },
  logLevel: {
    by: 'API and command',
    flag: 'log-level',
    value: 'level',
    kind: 'choice',
    choices: ['error', 'warn', 'info', 'debug'],
    default: 'info',
    empty: 'refused',
    help: 'Least level that is logged; every request is info',
  },
  fixedPort: {
    by: 'environment',
    environment: ['TASKCLUSTER_PROXY_FIXED_PORT'],
    kind: 'port',
    empty: 'not given',
    help: 'Port to listen on, as the image sets it; --port is then refused',
  },
  binary: {
    by: 'environment',
    environment: ['TASKCLUSTER_PROXY_BINARY'],
    kind: 'text',
    empty: 'not given',
    help: "File of the addon, instead of the package's",
  },
  httpProxy: {
    by: 'environment',
    environment: ['HTTP_PROXY', 'http_proxy'],
    kind: 'text',
    empty: 'not given',
    help: 'Outgoing proxy for http upstreams',
  },
  httpsProxy: {
    by: 'environment',
    environment: ['HTTPS_PROXY', 'https_proxy'],
    kind: 'text',
    empty: 'not given',
    help: 'Outgoing proxy for https upstreams',
  },
  noProxy: {
    by: 'environment',
    environment: ['NO_PROXY', 'no_proxy'],
    kind: 'text',
    empty: 'not given',
    help: 'Hosts that are asked without an outgoing proxy',
  },
  certificateFile: {
    by: 'environment',
    environment: ['SSL_CERT_FILE'],
    kind: 'text',
    empty: 'not given',
    help: "File of the certificates to trust, instead of the system's",
  },
  certificateFolders: {
    by: 'environment',
    environment: ['SSL_CERT_DIR'],
    kind: 'text',
    empty: 'not given',
    help: 'Folders of the certificates to trust',
  },
} as const satisfies Record<string, Row>;

export type Key = keyof typeof SETTINGS;

/** The keys that can be set in one of these places. */
export type KeyBy<Where extends Row['by']> = {
  [K in Key]: (typeof SETTINGS)[K]['by'] extends Where ? K : never;
}[Key];

/** The keys of `startProxy`. */
export type ApiKey = KeyBy<'API' | 'API and command'>;

/** The keys of `startProxy` with values of that kind. */
export type KeyOfKind<K extends Kind> = {
  [Each in ApiKey]: (typeof SETTINGS)[Each]['kind'] extends K ? Each : never;
}[ApiKey];

/** Every row with its key, in the order of the table. */
export const ROWS: ReadonlyArray<readonly [Key, Row]> = Object.entries(SETTINGS).map(
  ([key, row]) => [key as Key, row],
);

/** A row that has a flag. */
export type Flag = Row & { readonly flag: string };

/** The rows that have a flag. */
export const FLAGS = ROWS.filter(
  (entry): entry is readonly [Key, Flag] => entry[1].flag !== undefined,
);

/** The keys of credentials. */
export const CREDENTIAL_KEYS: readonly string[] = ['clientId', 'accessToken', 'certificate'];

/** The keys of `startProxy`, in the order of the table. */
export const API_KEYS: readonly ApiKey[] = ROWS.filter(([, { by }]) => by.startsWith('API')).map(
  ([key]) => key as ApiKey,
);
