/**
 * What the errors of a database server mean to a write: whether it has changed nothing and may be run again, whether its connection can be
 * used any more, and the sentence that tells a person the cause and the cure.
 */
import { JobmonError } from '@jobmon/contracts';
import { distrustOf, type DatabaseAddress } from '@jobmon/runtime';

export type ServerAddress = Extract<DatabaseAddress, { kind: 'mysql' | 'mariadb' }>;

/** Errors of the server after which its transaction is gone and a repeat may succeed. */
const REPEATABLE_ERRNOS: ReadonlySet<number> = new Set([
  1205, // lock wait time-out
  1213, // deadlock
  1020, // the row changed since it was read
  1040, // too many connections
  1053, // the server is shutting down
  1203, // too many connections of this user
  1317, // the statement was interrupted
  1927, // the connection was killed (MariaDB)
  4031, // the connection was closed for its idleness (MySQL)
]);
/**
 * The server takes no writes, on this connection at least: it became a replica, or its disk or its operator says so. Whoever connects
 * anew may reach the one that is the primary now.
 */
const READ_ONLY_ERRNOS: ReadonlySet<number> = new Set([
  1290, // --read-only
  1792, // a read-only transaction
  1836, // read-only mode
]);
/** Told of a COMMIT, these leave open whether it happened. */
const INTERRUPTED_ERRNOS: ReadonlySet<number> = new Set([1053, 1317, 1927]);
/** The account, its rights or the name of the database: nothing that a repeat changes. */
const REFUSED_CODES: ReadonlySet<string> = new Set([
  'ER_ACCESS_DENIED_ERROR',
  'ER_DBACCESS_DENIED_ERROR',
  'ER_TABLEACCESS_DENIED_ERROR',
  'ER_BAD_DB_ERROR',
]);
/** The statement limit was reached: on MariaDB, on MySQL. */
const STATEMENT_LIMIT_ERRNOS: ReadonlySet<number> = new Set([1969, 3024]);

function errnoOf(error: unknown): number {
  const errno = (error as { errno?: unknown } | null)?.errno;
  return typeof errno === 'number' ? errno : 0;
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : '';
}

/** The connection can't be used any more: the socket broke, the answer did not come, or the server closed it. */
export function isConnectionProblem(error: unknown): boolean {
  const isFatal = (error as { fatal?: unknown } | null)?.fatal === true;
  return isFatal || /^(PROTOCOL_|ECONN|EPIPE|ETIMEDOUT|EHOST|ENET|ENOTFOUND|EAI_)/.test(codeOf(error)) || errnoOf(error) === 1927;
}

/** This COMMIT did not happen: the server said so, or the connection was known to be closed before it could be sent. */
export function isRefusalOfCommit(error: unknown): boolean {
  if (error instanceof Error && error.message.includes('connection is in closed state')) return true;
  return !isConnectionProblem(error) && errnoOf(error) > 0 && !INTERRUPTED_ERRNOS.has(errnoOf(error));
}

/** The connection leads to a server that takes no writes: it is thrown away, and the write tried again on a new one. */
export function isReadOnly(error: unknown): boolean {
  return READ_ONLY_ERRNOS.has(errnoOf(error));
}

export function isStatementLimit(error: unknown): boolean {
  return STATEMENT_LIMIT_ERRNOS.has(errnoOf(error));
}

/** The account is refused, which `explained` tells how to mend. */
export function isRefused(error: unknown): boolean {
  return REFUSED_CODES.has(codeOf(error));
}

export function isRepeatable(error: unknown): boolean {
  return isConnectionProblem(error) || isReadOnly(error) || REPEATABLE_ERRNOS.has(errnoOf(error));
}

/** mysql2 gives these no code. */
export function isPoolExhausted(error: unknown): boolean {
  return error instanceof Error && error.message === 'Queue limit reached.';
}

/** The sentence that a person can act on, for every failure of a server that has one. Never holds the password. */
export function explained(error: unknown, address: ServerAddress): unknown {
  if (error instanceof JobmonError) return error;
  const server = `${address.host}:${address.port}`;
  const unavailable = (message: string) => new JobmonError('UNAVAILABLE', message, undefined, { cause: error });
  switch (codeOf(error)) {
    case 'HANDSHAKE_NO_SSL_SUPPORT':
      return unavailable(
        `the database server ${server} offers no TLS: give it a certificate (its ssl_cert and ssl_key), or take db.tls_ca_file away`,
      );
    case 'HANDSHAKE_SSL_ERROR': {
      const distrust =
        distrustOf(error, 'db', address.tls?.ca_file) ?? `can't speak TLS (${(error as Error).message}): see its log`;
      return unavailable(`the database server ${server} ${distrust}`);
    }
    case 'ER_ACCESS_DENIED_ERROR': {
      const orTls = address.tls === undefined ? ', or name db.tls_ca_file if the account must use TLS' : '';
      return unavailable(
        `the database server ${server} refuses user '${address.user}' with this password: correct the password${orTls}`,
      );
    }
    case 'ER_DBACCESS_DENIED_ERROR':
    case 'ER_TABLEACCESS_DENIED_ERROR':
      return unavailable(`user '${address.user}' may not use the database ${address.database} on ${server}: grant it the rights`);
    case 'ER_BAD_DB_ERROR':
      return unavailable(`there is no database ${address.database} on ${server}: create it, or correct the name`);
    case 'ER_CON_COUNT_ERROR':
    case 'ER_TOO_MANY_USER_CONNECTIONS':
      return unavailable(
        `all connections of the database server ${server} are taken: raise its max_connections, or lower db.connections_max`,
      );
    case 'ER_OPTION_PREVENTS_STATEMENT':
    case 'ER_READ_ONLY_MODE':
      return unavailable(
        `the database server ${server} takes no writes (read_only): wait for its fail-over, or name the primary`,
      );
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return unavailable(`the host ${address.host} of the database is not known: correct its name`);
    case 'ECONNREFUSED':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return unavailable(`no database server answers at ${server}: start it, or correct host and port`);
    case 'ETIMEDOUT':
    case 'PROTOCOL_CONNECTION_LOST':
    case 'ECONNRESET':
    case 'EPIPE':
    case 'ER_SERVER_SHUTDOWN':
      return unavailable(`the database server at ${server} does not answer: check the network and the server`);
    default:
      return error;
  }
}
