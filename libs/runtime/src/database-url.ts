/**
 * Addresses of databases: ours (`sqlite:FILE`, `mysql://…`, `mariadb://…`) and the spellings of the Python system's
 * `sqlalchemy_database_uri`, which are turned into ours so that one setting serves both systems.
 */
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { JobmonError } from '@jobmon/contracts';
import type { TlsFiles } from './tls';

/** Where the database is. `mysql` and `mariadb` are spoken to alike; the name is kept for messages. */
export type DatabaseAddress =
  | { readonly kind: 'sqlite'; /** Absolute path. */ readonly file: string }
  | {
      readonly kind: 'mysql' | 'mariadb';
      readonly host: string;
      readonly port: number;
      readonly user: string;
      readonly password: string;
      readonly database: string;
      /** Absent: the connection is not encrypted. */
      readonly tls?: TlsFiles;
    };

const MYSQL_PORT_DEFAULT = 3306;
/** Drivers that Python names behind a plus sign; which one it was does not matter to us. */
const SERVER_SCHEME = /^(mysql|mariadb)(\+[a-z0-9_]+)?$/i;
/** Part of the address for Python's drivers, always true of ours: connections are utf8mb4. */
const PARAMETERS_IGNORED: ReadonlySet<string> = new Set(['charset', 'binary_prefix']);
/** Parameters that ask for TLS, as Python's drivers call them. */
const TLS_PARAMETERS = { ssl_ca: 'ca_file', ssl_cert: 'cert_file', ssl_key: 'key_file' } as const;

/**
 * Takes an address apart. Relative files are resolved against `folder` (the working folder when absent), `~/` against
 * the home folder. `sqlite:///FILE` is relative and `sqlite:////FILE` absolute, as Python spells them.
 *
 * @throws JobmonError MALFORMED with the rule that was broken; the message never holds a password.
 */
export function parseDatabaseUrl(url: string, folder: string = process.cwd()): DatabaseAddress {
  const scheme = /^([^:/\s]+):/.exec(url)?.[1] ?? '';
  if (/^sqlite(\+[a-z0-9_]+)?$/i.test(scheme)) return { kind: 'sqlite', file: sqliteFile(url.slice(scheme.length + 1), folder) };
  if (SERVER_SCHEME.test(scheme)) return serverAddress(url, scheme, folder);
  throw malformed('must start with sqlite:, mysql:// or mariadb://');
}

/** The address in our spelling, with its password. `parseDatabaseUrl` gives the same address back. */
export function formatDatabaseUrl(address: DatabaseAddress): string {
  if (address.kind === 'sqlite') return `sqlite:${address.file}`;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  const password = address.password === '' ? '' : `:${encodeURIComponent(address.password)}`;
  const database = encodeURIComponent(address.database);
  const tls = Object.entries(TLS_PARAMETERS).flatMap(([name, file]) => tlsParameter(name, address.tls?.[file]));
  const parameters = tls.length === 0 ? '' : `?${tls.join('&')}`;
  return `${address.kind}://${encodeURIComponent(address.user)}${password}@${host}:${address.port}/${database}${parameters}`;
}

/** The address of a server with this account in place of its own; a file has none, and stays what it is. What is no text is not given. */
export function withAccount(url: string, { user, password }: { readonly user: unknown; readonly password: unknown }): string {
  const [, scheme, own = '', rest] = /^((?:mysql|mariadb)(?:\+[a-z0-9_]+)?:\/\/)(?:([^/@]*)@)?(.*)$/is.exec(url) ?? [];
  if (scheme === undefined || (typeof user !== 'string' && typeof password !== 'string')) return url;
  const [ownUser = '', ownPassword = ''] = own.split(/:(.*)/s);
  const account = [user, password].map((part) => (typeof part === 'string' ? encodeURIComponent(part) : undefined));
  return `${scheme}${account[0] ?? ownUser}:${account[1] ?? ownPassword}@${rest}`;
}

/** The address of a server with these files in place of its own; a SQLite file stays what it is. What is no text is not given. */
export function withTls(url: string, files: { readonly [File in keyof TlsFiles]: unknown }): string {
  const given = Object.entries(TLS_PARAMETERS).flatMap(([name, file]) => tlsParameter(name, files[file]));
  if (given.length === 0 || !SERVER_SCHEME.test(url.split(':')[0]!)) return url;
  return `${url}${url.includes('?') ? '&' : '?'}${given.join('&')}`;
}

const tlsParameter = (name: string, file: unknown): string[] =>
  typeof file === 'string' ? [`${name}=${encodeURIComponent(file).replaceAll('%2F', '/')}`] : [];

/** The address as it may be shown: the password hidden. */
export function describeDatabase(address: DatabaseAddress): string {
  return formatDatabaseUrl(address.kind === 'sqlite' || address.password === '' ? address : { ...address, password: '***' });
}

function sqliteFile(rest: string, folder: string): string {
  // Only Python's spelling has parameters; in ours a question mark is part of the file's name.
  const file = rest.startsWith('///') ? rest.slice(3).split('?')[0]! : rest;
  if (file.startsWith('//')) throw malformed('a SQLite address has no host: write sqlite:FILE');
  if (file === '' || file.includes(':memory:'))
    throw malformed('must name a file: the server reads and writes on two connections');
  if (file.includes('\0')) throw malformed('the file name holds a NUL character');
  return absolute(file, folder);
}

const absolute = (file: string, folder: string): string =>
  file.startsWith('~/') ? resolve(homedir(), file.slice(2)) : resolve(folder, file);

function serverAddress(url: string, scheme: string, folder: string): DatabaseAddress {
  let parsed: URL;
  try {
    // Under a scheme that URL does not know, no port counts as the default one and is dropped.
    parsed = new URL(`jobmon${url.slice(scheme.length)}`);
  } catch {
    throw malformed(`must read ${scheme}://USER:PASSWORD@HOST:PORT/DATABASE, special characters in USER and PASSWORD as %XX`);
  }
  const database = decode(parsed.pathname.slice(1));
  if (parsed.hostname === '') throw malformed('the host is missing');
  if (database === '' || database.includes('/')) throw malformed('the name of the database is missing: …/DATABASE');
  if (parsed.username === '') throw malformed('the user is missing: …//USER:PASSWORD@…');
  const tls: { -readonly [File in keyof TlsFiles]: string } = {};
  for (const [name, value] of parsed.searchParams) {
    if (Object.hasOwn(TLS_PARAMETERS, name)) {
      if (value === '') throw malformed(`the parameter '${name}' must name a file`);
      tls[TLS_PARAMETERS[name as keyof typeof TLS_PARAMETERS]] = absolute(value, folder);
    } else if (!PARAMETERS_IGNORED.has(name)) throw malformed(`the parameter '${name}' is not known`);
  }
  return {
    kind: scheme.toLowerCase().startsWith('mysql') ? 'mysql' : 'mariadb',
    host: parsed.hostname.replace(/^\[|\]$/g, ''),
    port: parsed.port === '' ? MYSQL_PORT_DEFAULT : Number(parsed.port),
    user: decode(parsed.username),
    password: decode(parsed.password),
    database,
    ...(Object.keys(tls).length > 0 && { tls }),
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw malformed('a % must be followed by two hexadecimal digits; write %25 for a % itself');
  }
}

function malformed(rule: string): JobmonError {
  return new JobmonError('MALFORMED', rule);
}
