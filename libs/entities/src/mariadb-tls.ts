/** TLS to a database server: what the driver is told of it. The server's certificate is always checked, and so is the name in it. */
import { connect, type Socket } from 'node:net';
import { readTlsFiles } from '@jobmon/runtime';
import type { SslOptions } from 'mysql2';
import type { ServerAddress } from './mariadb-error';

/**
 * Options of a connection, or of the connections of a pool; none for an address that does not ask for TLS. Files are read anew at each call.
 *
 * @throws JobmonError MALFORMED as `readTlsFiles`.
 */
export function tlsOptions({ host, port, tls }: ServerAddress): { ssl?: SslOptions; stream?: () => Socket } {
  if (tls === undefined) return {};
  return {
    ssl: { ...readTlsFiles('db', tls), rejectUnauthorized: true, verifyIdentity: true },
    // The driver names no server that is called by its number, and Node would look for "localhost" in the certificate then: it
    // takes the name of the socket first. Otherwise the socket is as the driver makes it.
    stream: () => Object.assign(connect({ host, port, noDelay: true, keepAlive: true }), { _host: host }),
  };
}
