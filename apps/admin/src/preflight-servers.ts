/** Whether database and NATS are what a release needs, asked with the accounts and passwords that its pods will have. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { JobmonError, VERSION } from '@jobmon/contracts';
import { schemaStatus, serverFacts, type ServerFacts } from '@jobmon/entities';
import { natsFacts } from '@jobmon/messaging';
import { createLogger, loadConfig, parseDatabaseUrl } from '@jobmon/runtime';
import type { Kubernetes } from './kubernetes';
import { missing, skipped, well, type Finding, type Secrets } from './preflight-cluster';
import { type Access, type Wanted } from './preflight-chart';

/** What docker/accounts.sql grants. */
const RIGHTS = {
  app: ['SELECT', 'INSERT', 'UPDATE', 'DELETE'],
  migrate: ['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'CREATE', 'ALTER', 'DROP', 'INDEX', 'REFERENCES', 'CREATE VIEW', 'SHOW VIEW'],
} as const;
/** The oldest servers that the statements are made for. */
const OLDEST = { mariadb: [10, 11], mysql: [8, 0] } as const;
const SILENT = createLogger({ service: 'jobmon-server', level: 'silent' });
const ELSEWHERE = 'where only pods reach it, leave this out';

/** Address, accounts, version, connections and schema of the database. */
export async function databaseChecks(cluster: Kubernetes, wanted: Wanted, secrets: Secrets): Promise<Finding[]> {
  if (comesAlong(wanted, 'database')) return [well('database', 'comes with the release')];
  const findings: Finding[] = [];
  for (const [account, process, check] of [
    ['app', 'api', 'database'],
    ['migrate', 'migrate', 'migration'],
  ] as const) {
    const access = wanted.accesses.find((one) => one.process === process);
    if (access === undefined) continue;
    const found = await withSettings(access, secrets, async (settings) => {
      const user = access.settings['JOBMON__DB__USER'];
      if (settings === undefined) return [missing(check, `what ${user} logs in with is not there: see secrets`)];
      const { url } = loadConfig({ env: settings }).config.db;
      const { finding, facts } = await look(cluster, { check, account, access, url });
      if (facts === undefined || account === 'migrate') return [finding];
      return [finding, connectionsCheck(wanted, facts, typing(url)), await schemaCheck(wanted, url)];
    });
    findings.push(...found);
  }
  return findings;
}

interface Look {
  readonly check: string;
  readonly account: keyof typeof RIGHTS;
  readonly access: Access;
  readonly url: string;
}

async function look(
  cluster: Kubernetes,
  { check, account, access, url }: Look,
): Promise<{ finding: Finding; facts?: ServerFacts }> {
  const address = parseDatabaseUrl(url);
  if (address.kind === 'sqlite') throw new JobmonError('MALFORMED', 'the chart names a SQLite file as its database');
  const { host, port, user, database } = address;
  const type = typing(url);
  const secret = access.secrets['JOBMON__DB__PASSWORD'];
  let facts: ServerFacts;
  try {
    facts = await serverFacts(url);
  } catch (error) {
    if (!(error instanceof JobmonError)) throw error;
    const { message } = error;
    if (/there is no database/.test(message))
      return { finding: missing(check, message, type(`CREATE DATABASE \`${database}\``)) };
    if (/with this password/.test(message)) {
      const patch = `kubectl patch secret ${secret?.name} -p '{"stringData":{"${secret?.key}":"…"}}'`;
      return { finding: missing(check, message, cluster.line(patch)) };
    }
    if (/may not use the database/.test(message))
      return { finding: missing(check, message, grant(type, account, database, user)) };
    return { finding: missing(check, `${message}; ${ELSEWHERE}: --skip database`) };
  }
  const lacking = RIGHTS[account].filter((right) => !facts.rights.includes(right));
  if (lacking.length > 0) {
    const told = `${user} may not ${lacking.join(', ')} in ${database} on ${host}:${port}`;
    return { finding: missing(check, told, grant(type, account, database, user)), facts };
  }
  const oldest = OLDEST[facts.isMariadb ? 'mariadb' : 'mysql'];
  const [major = 0, minor = 0] = facts.version.split('.').map((part) => Number.parseInt(part, 10));
  if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
    return {
      finding: missing(check, `${host}:${port} is ${facts.version}: MariaDB 10.11 or MySQL 8.0 is the oldest that will do`),
      facts,
    };
  }
  if (facts.isReadOnly)
    return { finding: missing(check, `${host}:${port} takes no writes (read_only): name the primary`), facts };
  const charset =
    facts.charset === 'utf8mb4' ? '' : `, default character set ${facts.charset} (tables of Jobmon are utf8mb4 all the same)`;
  return { finding: well(check, `${user} on ${host}:${port}, ${facts.version}${charset}`), facts };
}

/** What a person types who may do everything on that server. */
function typing(url: string): (sql: string) => string {
  const address = parseDatabaseUrl(url);
  if (address.kind === 'sqlite') throw new JobmonError('MALFORMED', 'the chart names a SQLite file as its database');
  return (sql) => `mariadb -h ${address.host} -P ${address.port} -u root -p -e '${sql}'`;
}

const grant = (type: (sql: string) => string, account: keyof typeof RIGHTS, database: string, user: string): string =>
  type(`GRANT ${RIGHTS[account].join(', ')} ON \`${database}\`.* TO "${user}"@"%"`);

const comesAlong = ({ accesses }: Wanted, process: string): boolean => accesses.some((access) => access.process === process);

function connectionsCheck({ connections }: Wanted, { max_connections }: ServerFacts, type: (sql: string) => string): Finding {
  const told = `the pods and what stays free for people take up to ${connections} connections, the server allows ${max_connections}`;
  if (connections <= max_connections) return well('connections', told);
  const cure = 'raise it (max_connections in its configuration file as well, for its next start), or lower autoscaling.max';
  return missing('connections', `${told}: ${cure}`, type(`SET GLOBAL max_connections = ${connections}`));
}

/** The schema against the release of the images. */
async function schemaCheck({ version: release, accesses }: Wanted, url: string): Promise<Finding> {
  const { version, version_known, pending, is_fit, verdict } = await schemaStatus(url);
  if (release !== VERSION) {
    const told = `version ${version}; the images are of ${release} and this program of ${VERSION}`;
    return skipped('schema', `${told}: only one of their release can tell`);
  }
  if (is_fit) return well('schema', `version ${version}, which release ${VERSION} works on`);
  if (pending.length > 0 && accesses.some(({ process }) => process === 'migrate')) {
    return well('schema', `version ${version} of ${version_known}; the migration brings the rest`);
  }
  return missing('schema', verdict, ...(pending.length > 0 ? ['jobmon-server db migrate'] : []));
}

/** Whether every service gets in, and the log sink has its stream. */
export async function natsCheck(cluster: Kubernetes, wanted: Wanted, secrets: Secrets): Promise<Finding> {
  if (comesAlong(wanted, 'nats')) return well('nats', 'comes with the release');
  const members = wanted.accesses.filter(({ settings }) => settings['JOBMON__NATS__URL'] !== undefined);
  let version = '';
  for (const access of members) {
    const user = access.settings['JOBMON__NATS__USER'];
    const found = await withSettings(access, secrets, async (settings) => {
      if (settings === undefined) return missing('nats', `what ${user ?? access.process} logs in with is not there: see secrets`);
      return knock(cluster, access, loadConfig({ env: settings }).config.nats);
    });
    if (found.verdict !== 'well') return found;
    version = found.found;
  }
  const accounts = members.some(({ secrets: own }) => own['JOBMON__NATS__PASSWORD'] !== undefined) ? 'accounts' : 'services';
  return well(
    'nats',
    `${members.length} ${accounts} at ${members[0]?.settings['JOBMON__NATS__URL']}, NATS ${version} with JetStream`,
  );
}

/** One service at the door: the server's version, or why it does not get in. */
async function knock(cluster: Kubernetes, access: Access, nats: NatsSettings): Promise<Finding> {
  const user = access.settings['JOBMON__NATS__USER'];
  try {
    const { version, hasJetStream } = await natsFacts(nats, SILENT, access.process === 'log-sink');
    if (hasJetStream !== false) return well('nats', version);
    const cure = 'write `jetstream { store_dir: /data }` into nats.conf, with the accounts of helm/jobmon/files/nats/nats.conf';
    return missing('nats', `${user ?? 'whoever asks'} gets no answer of JetStream at ${nats.url}: ${cure}, and start it anew`);
  } catch (error) {
    if (!(error instanceof JobmonError)) throw error;
    if (!/refuses the credentials/.test(error.message)) return missing('nats', `${error.message}; ${ELSEWHERE}: --skip nats`);
    const secret = access.secrets['JOBMON__NATS__PASSWORD'];
    const patch = cluster.line(`kubectl patch secret ${secret?.name} -p '{"stringData":{"${secret?.key}":"…"}}'`);
    const cure = 'give NATS the accounts of helm/jobmon/files/nats/nats.conf, and the secret their passwords';
    const asked = user === undefined ? 'asks for credentials, and nats.existingSecret names none' : `refuses ${user}`;
    return missing('nats', `NATS at ${nats.url} ${asked}: ${cure}`, ...(secret === undefined ? [] : [patch]));
  }
}

type NatsSettings = ReturnType<typeof loadConfig>['config']['nats'];
type Settings = Record<string, string>;

/**
 * Acts with the environment of a pod, as far as it says where servers are; with undefined where a secret is not there. Certificates are files for as
 * long as that takes.
 */
async function withSettings<T>(access: Access, secrets: Secrets, act: (settings?: Settings) => Promise<T>): Promise<T> {
  const read = ({ name, key }: { name: string; key: string }): string | undefined => secrets.get(name)?.get(key);
  const all: Settings = { ...access.settings };
  const folder = mkdtempSync(join(tmpdir(), 'jobmon-preflight-'));
  try {
    for (const [name, place] of Object.entries(access.secrets)) {
      const text = read(place);
      if (text === undefined) return await act();
      all[name] = text;
    }
    for (const [name, place] of Object.entries(access.files)) {
      const text = read(place);
      if (text === undefined) return await act();
      all[name] = join(folder, `${name}.pem`);
      writeFileSync(all[name], text, { mode: 0o600 });
    }
    return await act(all);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
