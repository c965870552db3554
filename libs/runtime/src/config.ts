/**
 * All settings of the house: one schema, read once at a process's start, validated and frozen. For each key the first of
 * these that gives it wins: the command line, `JOBMON__SECTION__KEY` in the environment, the YAML file that
 * `JOBMON__CONFIG_FILE` names, the process's own defaults, the defaults below. An error names the key, where its value
 * came from and the rule it breaks.
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { availableParallelism, homedir, hostname, totalmem, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { JobmonError } from '@jobmon/contracts';
import { isMap, isScalar, LineCounter, parseDocument, type Node } from 'yaml';
import { z } from 'zod';
import { formatDatabaseUrl, parseDatabaseUrl, withAccount, withTls } from './database-url';

/** A file name, absolute in the end; `~/` is the home folder. */
const FilePath = z
  .string()
  .min(1, 'must name a file or folder')
  .max(2048)
  .transform((path) => (path.startsWith('~/') ? join(homedir(), path.slice(2)) : resolve(path)));

/** Environment and command line give text; YAML gives the value itself. */
const whole = (min: number, max: number) =>
  z.preprocess(
    (value) => (typeof value === 'string' && /^\s*-?\d+\s*$/.test(value) ? Number(value) : value),
    z.number(`must be a whole number from ${min} to ${max}`).int().min(min, rangeRule(min, max)).max(max, rangeRule(min, max)),
  );
const rangeRule = (min: number, max: number): string => `must be a whole number from ${min} to ${max}`;

const decimal = (min: number, max: number) =>
  z.preprocess(
    (value) => (typeof value === 'string' && /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) : value),
    z
      .number(`must be a number from ${min} to ${max}`)
      .min(min, `must be a number from ${min} to ${max}`)
      .max(max, `must be a number from ${min} to ${max}`),
  );

/** Bytes: the machine's, or less where a control group bounds this process. */
function usableMemory(): number {
  const bound = process.constrainedMemory() ?? 0;
  return bound > 0 ? Math.min(bound, totalmem()) : totalmem();
}

const FLAG_WORDS: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  on: true,
  '1': true,
  false: false,
  no: false,
  off: false,
  '0': false,
};
const Flag = z.preprocess(
  (value) => (typeof value === 'string' ? (FLAG_WORDS[value.trim().toLowerCase()] ?? value) : value),
  z.boolean('must be true or false'),
);

const TextList = z.preprocess(
  (value) =>
    typeof value === 'string'
      ? value
          .split(',')
          .map((part) => part.trim())
          .filter((part) => part !== '')
      : value,
  z.array(z.string(), 'must be a list of texts, with commas between them in the environment').max(100),
);

const DatabaseUrl = z.string('must be a text').transform((url, context) => {
  try {
    return formatDatabaseUrl(parseDatabaseUrl(url));
  } catch (error) {
    context.addIssue({ code: 'custom', message: error instanceof JobmonError ? error.message : 'is no database address' });
    return z.NEVER;
  }
});

const NatsUrls = /^\s*(?:nats|tls):\/\/[^\s,/]+(?:\s*,\s*(?:nats|tls):\/\/[^\s,/]+)*\s*$/;

const Origin = /^https?:\/\/[^/\s]+$/;

/** What an issuer's keys and tokens are fetched from: TLS, or this machine itself. */
const Issuer = z
  .string()
  .max(2_048)
  .regex(
    /^https:\/\/[^\s?#]+$|^http:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(\/[^\s?#]*)?$/,
    'must be an https:// address, without query',
  );

/** `VALUE=ROLE`: whoever has the value in his claim of roles has the role. */
const RoleOfValue = z
  .string()
  .regex(/^.{1,255}=(reader|operator|admin)$/, 'must read VALUE=ROLE, with a role of reader, operator, admin');

/** `10.0.0.0/8`, `2001:db8::/32`, or one address. */
const Network = z.string().refine((text) => {
  const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const family = isIP(address);
  return family !== 0 && (bits === undefined || Number(bits) <= (family === 4 ? 32 : 128));
}, 'must be networks like 10.0.0.0/8');

const Settings = z.object({
  db: z.object({
    /** `sqlite:FILE`, `mysql://USER:PASSWORD@HOST:PORT/DATABASE` or `mariadb://…`. Default: a file in the user's data folder. */
    url: DatabaseUrl,
    /** Account on a server, in place of the one in the address, so that a secret may hold the password alone; written as it is, not as %XX. */
    user: z.string().min(1).max(255).optional(),
    password: z.string().max(1_024).optional(),
    /** Certificate authority of the server; naming one asks for TLS. It may stand in the address as well: `?ssl_ca=FILE`. */
    tls_ca_file: FilePath.optional(),
    /** Certificate of this process and its key, where the server asks for one. */
    tls_cert_file: FilePath.optional(),
    tls_key_file: FilePath.optional(),
    /** Connections of this process to a database on a server: those of all processes together must fit into its `max_connections`. */
    connections_max: whole(2, 1_000).default(16),
  }),
  http: z.object({
    /** Address to listen on. Any other than this machine's own needs login (`auth.mode`) or `http.open`. */
    host: z.string().min(1, 'must name a host').default('127.0.0.1'),
    /** Port to listen on; 0 takes any free one. Absent: the embedded house takes 8070, or another one when that is taken. */
    port: whole(0, 65_535).optional(),
    /**
     * What every call that changes something must carry. Absent: made anew at each start and written into the client profile; give one where
     * agents and programs of other machines are to find the server again after it was started anew.
     */
    token: z.preprocess((value) => (value === '' ? undefined : value), z.string().max(1_024).optional()),
    /** Listen where others can reach the server although nobody has to log in: whoever reaches it can run commands. */
    open: Flag.default(false),
    /** Origins of web pages, besides the server's own, whose requests are answered, e.g. `https://jobmon.example.org`. */
    allowed_origins: TextList.pipe(z.array(z.string().regex(Origin, 'must read http(s)://HOST:PORT, without a path'))).default(
      [],
    ),
    /** Names, besides its own, under which the server may be addressed (the Host header), without port. */
    allowed_hosts: TextList.default([]),
    /** Proxies that are believed about where a call comes from (`X-Forwarded-For`). */
    proxies: TextList.pipe(z.array(Network)).default([]),
  }),
  /** The bus between the services; the house in one process has none. */
  nats: z.object({
    /** `nats://HOST:PORT`, or `tls://HOST:PORT` where only TLS will do; several servers of one cluster with commas between them. */
    url: z
      .string('must be a text')
      .regex(NatsUrls, 'must read nats://HOST:PORT or tls://HOST:PORT, several with commas between them')
      .default('nats://127.0.0.1:4222'),
    /** Account of this process. It may stand in the address as well. */
    user: z.string().min(1).max(255).optional(),
    password: z.string().max(1_024).optional(),
    /** Instead of an account. */
    token: z.string().min(1).max(1_024).optional(),
    /** File with a JWT and its key, instead of an account. */
    credentials_file: FilePath.optional(),
    /** Certificate authority of the server; naming one asks for TLS. */
    tls_ca_file: FilePath.optional(),
    /** Certificate of this process and its key, where the server asks for one. */
    tls_cert_file: FilePath.optional(),
    tls_key_file: FilePath.optional(),
  }),
  /** Of a process that is one service; the house in one process has none of these. */
  service: z.object({
    /** Address of health and metrics. Who looks from another machine (a cluster's probes) needs one that it can reach. */
    host: z.string().min(1, 'must name a host').default('127.0.0.1'),
    /** Port of health and metrics; 0 takes any free one and tells it in the log. */
    port: whole(0, 65_535).default(0),
    /**
     * For so long an api that was told to stop serves on, not ready already: whoever sends requests to it, a cluster's service, takes a moment
     * to learn that it goes.
     */
    drain_seconds: decimal(0, 10).default(5),
    /** Names this process in logs and rows, other than all others. Default: host name and process id. */
    instance_id: z
      .string('must be a text')
      .regex(/^[\w.:-]{1,40}$/, 'must be 1 to 40 letters, digits or any of _ . : -')
      .default(
        () =>
          `${hostname()
            .replace(/[^\w.-]/g, '-')
            .slice(0, 28)}-${process.pid}`,
      ),
  }),
  log: z.object({
    /** Lines below this are not written. */
    level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
    /** File that log lines are appended to. Absent: standard output. */
    file: FilePath.optional(),
    /** Days for which the log sink keeps records. */
    keep_days: decimal(0.01, 36_500).default(30),
    /** Size in MiB of what NATS keeps of records that no log sink has stored yet; when it is full the oldest go. */
    stream_mib: whole(1, 1_048_576).default(256),
  }),
  agent: z.object({
    /** Cores that commands of the multiprocess plug-in may ask for together. Default: those this process may use. */
    cores: whole(1, 4_096).default(() => availableParallelism()),
    /** Memory that they may ask for together, in GiB. Default: what this process may use. */
    memory_gib: decimal(0.01, 1_000_000).default(() => usableMemory() / 2 ** 30),
    /** Seconds of silence after which an agent's attempts are given to others; it kills them itself after two thirds of it. */
    lease_seconds: whole(3, 3_600).default(60),
    /** Folder of the attempts' records, which outlive the agent. Default: `agent` in the user's data folder. */
    state_directory: FilePath,
    /** Resident shells that start the commands. */
    launchers: whole(1, 64).default(2),
    /** Take other users' workflows too. */
    any_user: Flag.default(false),
  }),
  /** Who may do what: docs/login.md. */
  auth: z.object({
    /** on: every call of `/api/v4` needs a credential with a role, and `/api/v3` is answered to named networks and on its own port only. */
    mode: z.enum(['off', 'on']).default('off'),
    /** The OpenID provider of people. Absent: there are API tokens only. */
    issuer: Issuer.optional(),
    /** The public client (no secret) that the command line is to the provider. */
    client_id: z.string().min(1).max(255).default('jobmon'),
    /** Whom a token of the provider must be for (`aud`). Default: the client. */
    audience: z.string().min(1).max(2_048).optional(),
    /** Claim that names the user; it must be unique and must not change its owner. */
    user_claim: z.string().min(1).max(255).default('sub'),
    /** Claim that holds the roles: a text or a list; members of objects by dots. */
    role_claim: z.string().min(1).max(255).default('roles'),
    /** Which value of that claim gives which role, as VALUE=ROLE. */
    roles: TextList.pipe(z.array(RoleOfValue)).default(['reader=reader', 'operator=operator', 'admin=admin']),
    /** Role of whoever the provider knows and none of the values is of. */
    default_role: z.enum(['none', 'reader', 'operator']).default('none'),
    /** What the command line asks the provider for. */
    scopes: TextList.default(['openid', 'profile', 'offline_access']),
    /** Algorithms of signatures that are believed; those of shared secrets can't be named. */
    algorithms: TextList.pipe(
      z.array(z.enum(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'])).min(1),
    ).default(['RS256', 'PS256', 'ES256', 'EdDSA']),
    /** Seconds by which the provider's clock may differ from this machine's. */
    clock_tolerance_seconds: whole(0, 600).default(30),
    /** With login on: port of its own for Python clients, which send no credentials. For a trusted network only; 0 takes any free one. */
    python_port: whole(0, 65_535).optional(),
    /** Address of that port. Default: `http.host`. */
    python_host: z.string().min(1, 'must name a host').optional(),
    /** With login on: networks whose machines may call `/api/v3` on the ordinary port, by the address that the call comes from. */
    python_networks: TextList.pipe(z.array(Network)).default([]),
    /** Unknown credentials that one address may show in a minute; then it is answered 429 for a while. */
    guesses_per_minute: whole(1, 1_000_000).default(60),
  }),
  /** Of workers of the Python protocol. The Python client reads the same keys, and they must agree. */
  heartbeat: z.object({
    /** Seconds between two heartbeats of a running command. */
    task_instance_interval: decimal(0.1, 86_400).default(90),
    /** How many of them make a deadline. A launch that stayed silent for two deadlines is given up. */
    report_by_buffer: decimal(1, 1_000).default(3.1),
  }),
  scheduler: z.object({
    /** Longest time between two looks at a run's rows when nothing is heard of it. */
    reconcile_seconds: whole(1, 3_600).default(5),
    /** Seconds after which others take the runs of a scheduler that died; it renews its leases three times as often. */
    lease_seconds: whole(3, 300).default(6),
  }),
});

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;
export type Config = DeepReadonly<z.output<typeof Settings>>;

/** Some of the settings, by section, as a caller gives them: text or values. */
export type PartialSettings = { readonly [Section in keyof Config]?: { readonly [Key in keyof Config[Section]]?: unknown } };

export interface ConfigSources {
  /** The process's environment. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What the command line said; undefined members were not given. Errors call `db.url` `--db-url`, see `flags`. */
  readonly overrides?: PartialSettings;
  /** How the command line spells a setting, for errors: `{ 'db.url': '--db' }`. */
  readonly flags?: Readonly<Record<string, string>>;
  /** Defaults of this process that differ from the schema's. */
  readonly defaults?: PartialSettings;
}

export interface LoadedConfig {
  readonly config: Config;
  /** Sentences about environment variables that look like settings and are none. Log them once. */
  readonly warnings: readonly string[];
}

/** Folder of what the user's own house keeps: `$XDG_DATA_HOME/jobmon`, else `~/.local/share/jobmon`. */
export function dataFolder(env: ConfigSources['env']): string {
  const base = env['XDG_DATA_HOME'];
  // The XDG rules tell programs to ignore a relative path there. An empty HOME is none; `homedir()` would answer it.
  const home = env['HOME'] || userInfo().homedir;
  return join(base !== undefined && base.startsWith('/') ? base : join(home, '.local', 'share'), 'jobmon');
}

/** A value with the place it came from, told in errors. */
interface Given {
  readonly value: unknown;
  readonly source: string;
}
type Layer = ReadonlyMap<string, Given>;

/**
 * Reads all settings.
 *
 * @throws JobmonError MALFORMED: one sentence for each wrong setting, `details.problems` the same as a list.
 */
export function loadConfig(sources: ConfigSources): LoadedConfig {
  const problems: string[] = [];
  const warnings: string[] = [];
  const folder = dataFolder(sources.env);
  const layers: Layer[] = [
    layerOf(
      { db: { url: `sqlite:${join(folder, 'jobmon.sqlite')}` }, agent: { state_directory: join(folder, 'agent') } },
      () => 'default',
    ),
    layerOf(sources.defaults ?? {}, () => 'default of this program'),
    fileLayer(sources.env['JOBMON__CONFIG_FILE'], problems),
    environmentLayer(sources.env, warnings),
    layerOf(
      sources.overrides ?? {},
      (key) => `command line, ${sources.flags?.[key] ?? `--${key.replace('.', '-').replaceAll('_', '-')}`}`,
    ),
  ];
  const given = new Map<string, Given>();
  for (const layer of layers) for (const [key, entry] of layer) given.set(key, entry);

  const tree: Record<string, Record<string, unknown>> = {};
  for (const section of SECTIONS) tree[section] = {};
  for (const [key, { value }] of given) {
    const [section, name] = key.split('.') as [string, string];
    (tree[section] as Record<string, unknown>)[name] = value;
  }
  const { url, user, password, tls_ca_file: ca_file, tls_cert_file: cert_file, tls_key_file: key_file } = tree['db']!;
  if (typeof url === 'string')
    tree['db']!['url'] = withTls(withAccount(url, { user, password }), { ca_file, cert_file, key_file });
  const parsed = Settings.safeParse(tree);
  for (const issue of parsed.error?.issues ?? []) {
    const key = issue.path.slice(0, 2).join('.');
    const { value, source } = given.get(key) ?? { value: undefined, source: 'default' };
    problems.push(`${key} (${source}) ${ruleOf(issue)}${SECRET_KEYS.has(key) ? '' : `, not ${JSON.stringify(value)}`}`);
  }
  if (problems.length > 0 || parsed.data === undefined) {
    throw new JobmonError('MALFORMED', `wrong configuration: ${problems.join('; ')}`, { problems });
  }
  return { config: freeze(parsed.data), warnings };
}

/** The settings as they may be printed or logged: passwords, also those in addresses, and tokens hidden. */
export function describeConfig(config: Config): Record<string, Record<string, unknown>> {
  const shown: Record<string, Record<string, unknown>> = {};
  for (const [section, settings] of Object.entries(config)) {
    shown[section] = Object.fromEntries(
      Object.entries(settings).map(([name, value]) => [
        name,
        isSecret(name) && value !== undefined ? '***' : withoutPassword(value),
      ]),
    );
  }
  return shown;
}

const isSecret = (name: string): boolean => name === 'token' || name === 'password';

/** `user:password@` of an address is hidden, wherever it stands in a text. */
function withoutPassword(value: unknown): unknown {
  return typeof value === 'string' ? value.replace(/(:\/\/[^\s:@/,]*:)[^\s@,]*@/g, '$1***@') : value;
}

const SECTIONS = Object.keys(Settings.shape) as (keyof Config)[];
const KEYS: readonly string[] = SECTIONS.flatMap((section) =>
  Object.keys(Settings.shape[section].shape).map((key) => `${section}.${key}`),
);
/** A wrong value of these is not repeated in the error: it may hold a password. */
const SECRET_KEYS: ReadonlySet<string> = new Set([
  'db.url',
  'db.password',
  'http.token',
  'nats.url',
  'nats.password',
  'nats.token',
]);
/** The Python system's name of the database's address. `db.url` wins where one source gives both. */
const DATABASE_ALIAS = 'db.sqlalchemy_database_uri';
/**
 * Settings of the Python client, which reads the same variables and the same file on the same machine: not ours, no mistake
 * (spec/http-api-execution.md sections 1 and 8).
 */
const isOfPythonClient = (key: string): boolean =>
  key === 'http.service_url' || key === 'http.route_prefix' || key.startsWith('heartbeat.');

function layerOf(settings: PartialSettings, sourceOf: (key: string) => string): Layer {
  const layer = new Map<string, Given>();
  for (const [section, values] of Object.entries(settings)) {
    for (const [name, value] of Object.entries(values ?? {})) {
      const key = `${section}.${name}`;
      if (value !== undefined) layer.set(key, { value, source: sourceOf(key) });
    }
  }
  return layer;
}

function environmentLayer(env: ConfigSources['env'], warnings: string[]): Layer {
  const layer = new Map<string, Given>();
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith('JOBMON__') || variable === 'JOBMON__CONFIG_FILE' || value === undefined) continue;
    const key = variable.slice('JOBMON__'.length).toLowerCase().replace('__', '.');
    const entry = { value, source: `environment variable ${variable}` };
    if (KEYS.includes(key)) layer.set(key, entry);
    else if (key === DATABASE_ALIAS) {
      if (env['JOBMON__DB__URL'] === undefined) layer.set('db.url', entry);
    } else if (!isOfPythonClient(key))
      warnings.push(`the environment variable ${variable} is no setting of this server${nearest(key, KEYS)}`);
  }
  return layer;
}

function fileLayer(path: string | undefined, problems: string[]): Layer {
  const layer = new Map<string, Given>();
  if (path === undefined || path === '') return layer;
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new JobmonError(
      'MALFORMED',
      `the configuration file ${path} (JOBMON__CONFIG_FILE) cannot be read: ${(error as Error).message}`,
    );
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (node: unknown): string => `${path} line ${lines.linePos((node as Node).range?.[0] ?? 0).line}`;
  for (const error of document.errors)
    problems.push(`${path} line ${lines.linePos(error.pos[0]).line} is no YAML: ${error.message}`);
  if (document.errors.length > 0 || document.contents === null) return layer;
  if (!isMap(document.contents)) {
    problems.push(`${at(document.contents)} must hold sections: 'http:' with indented keys below it`);
    return layer;
  }
  for (const { key: sectionNode, value: sectionValue } of document.contents.items) {
    const section = isScalar(sectionNode) ? String(sectionNode.value) : '';
    if (isOfPythonClient(`${section}.`)) continue;
    if (!SECTIONS.includes(section as keyof Config)) {
      problems.push(`${at(sectionNode)}: there is no section '${section}'${nearest(section, SECTIONS)}`);
    } else if (isMap(sectionValue)) {
      for (const { key: nameNode, value: node } of sectionValue.items) {
        const key = `${section}.${isScalar(nameNode) ? String(nameNode.value) : ''}`;
        const value = isScalar(node) ? node.value : (node as Node | null)?.toJS(document);
        const entry = { value, source: at(nameNode) };
        // A key without a value is a key that was not given.
        if (value === null || value === undefined || isOfPythonClient(key)) continue;
        if (KEYS.includes(key)) layer.set(key, entry);
        else if (key === DATABASE_ALIAS) {
          if (!sectionValue.has('url')) layer.set('db.url', entry);
        } else problems.push(`${at(nameNode)}: there is no setting '${key}'${nearest(key, KEYS)}`);
      }
    } else if (!isScalar(sectionValue) || sectionValue.value !== null) {
      problems.push(`${at(sectionNode)}: the section '${section}' must hold keys, indented below it`);
    }
  }
  return layer;
}

function ruleOf(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_value') return `must be one of ${issue.values.join(', ')}`;
  if (issue.code === 'invalid_type' && issue.message.startsWith('Invalid input')) return `must be a ${issue.expected}`;
  return issue.message;
}

/** `, did you mean 'http.port'?` when one of the names is at most three edits away and the half of it stands. */
function nearest(name: string, names: readonly string[]): string {
  const distances = names.map((candidate) => ({ candidate, distance: editDistance(name, candidate) }));
  const [best] = distances.sort((a, b) => a.distance - b.distance);
  return best !== undefined && best.distance <= Math.min(3, name.length / 2)
    ? `, did you mean '${best.candidate}'?`
    : `; there are ${names.join(', ')}`;
}

function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...to].entries()) {
      next.push(Math.min((row[j + 1] as number) + 1, (next[j] as number) + 1, (row[j] as number) + (letter === other ? 0 : 1)));
    }
    row = next;
  }
  return row[to.length] as number;
}

function freeze<T extends object>(value: T): DeepReadonly<T> {
  for (const member of Object.values(value)) if (typeof member === 'object' && member !== null) freeze(member as object);
  return Object.freeze(value) as DeepReadonly<T>;
}
