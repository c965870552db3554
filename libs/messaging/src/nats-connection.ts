/**
 * Connections to NATS by the settings of `nats`: how they are opened, guarded and kept. A connection that was lost is opened again for
 * ever, at growing pauses; a first connection that fails is an error that says why, and whoever opens it waits and tries again.
 */
import { readFileSync } from 'node:fs';
import { JobmonError } from '@jobmon/contracts';
import { hidePasswords, metrics, type Config, type Logger } from '@jobmon/runtime';
import { connect, credsAuthenticator, Events, type ConnectionOptions, type NatsConnection } from 'nats';
import { inboxOf } from './rights';

/** The section `nats` of the settings. */
export type NatsSettings = Config['nats'];

const CONNECT_MS_MAX = 5_000;
/** Pause before a lost connection is opened again, and what chance adds to it: a thousand clients must not come at one moment. */
const RECONNECT_MS = 250;
const RECONNECT_JITTER_MS = 250;
/** A server that is silent is asked this often, and given up after so many questions without an answer. */
const PING_MS = 3_000;
const PINGS_MAX = 2;

/**
 * Opens a connection; `name` shows in the server's list of connections.
 *
 * @throws JobmonError UNAVAILABLE with cause and cure: no server there, refused credentials, an unknown certificate; MALFORMED: a file of the
 * settings that can't be read.
 */
export async function openNats(name: string, settings: NatsSettings, log: Logger): Promise<NatsConnection> {
  let connection: NatsConnection;
  try {
    connection = await connect(optionsOf(name, settings));
  } catch (error) {
    throw explained(error, settings);
  }
  void watch(connection, log);
  return connection;
}

function optionsOf(name: string, settings: NatsSettings): ConnectionOptions {
  const { url, user, password, token, credentials_file, tls_ca_file, tls_cert_file, tls_key_file } = settings;
  const servers = url.split(',').map((server) => server.trim());
  const tls = { caFile: tls_ca_file, certFile: tls_cert_file, keyFile: tls_key_file };
  const isTls = servers.some((server) => server.startsWith('tls://')) || tls_ca_file !== undefined;
  // Credentials may stand in the address; the client itself takes them from the options only.
  const address = new URL(servers[0] as string);
  const account = {
    user: user ?? decodeURIComponent(address.username),
    pass: password ?? decodeURIComponent(address.password),
  };
  return {
    name,
    // Of the account, so that rights can keep others from hearing its answers.
    inboxPrefix: inboxOf(account.user === '' ? name : account.user),
    servers: servers.map((server) => new URL(server).host),
    ...(credentials_file === undefined ? {} : { authenticator: credsAuthenticator(readSecret(credentials_file)) }),
    ...(account.user === '' ? {} : account),
    ...(token === undefined ? {} : { token }),
    ...(isTls ? { tls: Object.fromEntries(Object.entries(tls).filter(([, file]) => file !== undefined)) } : {}),
    timeout: CONNECT_MS_MAX,
    reconnectTimeWait: RECONNECT_MS,
    reconnectJitter: RECONNECT_JITTER_MS,
    reconnectJitterTLS: RECONNECT_JITTER_MS,
    maxReconnectAttempts: -1,
    // An account that is being changed, or a server that came back without its accounts, is no reason to give up.
    ignoreAuthErrorAbort: true,
    pingInterval: PING_MS,
    maxPingOut: PINGS_MAX,
  };
}

function readSecret(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new JobmonError('MALFORMED', `the file ${file} (nats.credentials_file) can't be read: ${(error as Error).message}`);
  }
}

/** Tells of losses and returns, once each. */
async function watch(connection: NatsConnection, log: Logger): Promise<void> {
  for await (const { type, data } of connection.status()) {
    if (type === Events.Disconnect) log.warn({ server: String(data) }, 'the connection to NATS was lost and is opened again');
    else if (type === Events.Reconnect) {
      metrics.reconnects.inc({ to: 'bus' });
      log.info({ server: String(data) }, 'the connection to NATS is there again');
    } else if (type === Events.Error) log.warn({ reason: String(data) }, 'NATS refuses something of this process');
  }
}

/** The sentence that a person can act on. */
function explained(error: unknown, { url, credentials_file }: NatsSettings): JobmonError {
  if (error instanceof JobmonError) return error;
  const { code = '', message = String(error) } = error as { code?: string; message?: string };
  const server = `NATS at ${hidePasswords(url)}`;
  if (code === 'BAD_CREDS') {
    const sentence = `the file ${credentials_file} (nats.credentials_file) holds no credentials of NATS: take the one that its administrator made`;
    return new JobmonError('UNAVAILABLE', sentence, undefined, { cause: error });
  }
  const because = (sentence: string) => new JobmonError('UNAVAILABLE', `${server} ${sentence}`, undefined, { cause: error });
  if (code === 'AUTHORIZATION_VIOLATION' || code === 'AUTHENTICATION_EXPIRED' || code === 'BAD_AUTHENTICATION') {
    return because('refuses the credentials: see to nats.user and nats.password, nats.token or nats.credentials_file');
  }
  if (code === 'CONNECTION_REFUSED' || code === 'TIMEOUT' || code === 'CONNECTION_TIMEOUT') {
    return because('does not answer: start nats-server there, or name another address by nats.url');
  }
  if (/certificate|self.signed|TLS|SSL|unable to verify/i.test(`${code} ${message}`)) {
    return because(`can't be trusted (${message}): name the authority of its certificate by nats.tls_ca_file`);
  }
  return because(`can't be used: ${message}`);
}
