/**
 * Connections to NATS by the settings of `nats`: how they are opened, guarded and kept. A connection that was lost is opened again for
 * ever, at growing pauses; a first connection that fails is an error that says why, and whoever opens it waits and tries again.
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { JobmonError } from '@jobmon/contracts';
import { distrustOf, hidePasswords, metrics, readTlsFiles, type Config, type Logger } from '@jobmon/runtime';
import { connect, credsAuthenticator, DebugEvents, Events, type ConnectionOptions, type NatsConnection } from 'nats';
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
/** Between two looks at whether this process gets to read at all; and how late a look may be before it did not. */
const LOOK_MS = 500;
const UNREAD_MS = 1_000;
/** A loss so soon after such a time is put down to it: what NATS did meanwhile is learnt at once. */
const UNREAD_AGO_MS_MAX = 2_000;

/**
 * Opens a connection; `name` shows in the server's list of connections.
 *
 * @throws JobmonError UNAVAILABLE with cause and cure: no server there, refused credentials, an unknown certificate; MALFORMED: a file of the
 * settings that can't be read or holds no certificate.
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
  const hosts = servers.map((server) => new URL(server).hostname.replace(/^\[|\]$/g, ''));
  const tls = {
    caFile: tls_ca_file,
    certFile: tls_cert_file,
    keyFile: tls_key_file,
    checkServerIdentity: (name: string, certificate: PeerCertificate) => identityProblem(name, hosts, certificate),
  };
  // The client reads them itself, anew for each connection, and has no sentence for one that is none.
  readTlsFiles('nats', { ca_file: tls_ca_file, cert_file: tls_cert_file, key_file: tls_key_file });
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
    ...(isTls ? { tls: Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined)) } : {}),
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

/**
 * Whether a certificate is of the server that was called, as Node's own check. The client names no server that is called by its number,
 * and Node would look for "localhost" then: it is one of the numbers of the settings that must be there.
 */
function identityProblem(name: string, hosts: readonly string[], certificate: PeerCertificate): Error | undefined {
  const numbers = hosts.filter((host) => isIP(host) !== 0);
  const wanted = name === 'localhost' && !hosts.includes(name) && numbers.length > 0 ? numbers : [name];
  const problems = wanted.map((host) => checkServerIdentity(host, certificate));
  return problems.includes(undefined) ? undefined : problems[0];
}

function readSecret(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new JobmonError('MALFORMED', `the file ${file} (nats.credentials_file) can't be read: ${(error as Error).message}`);
  }
}

/** Tells of losses and returns, once each, a loss with what is known of its cause. */
async function watch(connection: NatsConnection, log: Logger): Promise<void> {
  const reading = watchReading();
  let isStale = false;
  try {
    for await (const { type, data } of connection.status()) {
      if (type === DebugEvents.StaleConnection) isStale = true;
      else if (type === Events.Disconnect) {
        const loss = lossOf(isStale, reading.unread_ms());
        isStale = false;
        metrics.bus_losses.inc({ cause: loss.cause });
        log.warn(
          { server: String(data), loss: loss.cause },
          `the connection to NATS was lost and is opened again: ${loss.sentence}`,
        );
      } else if (type === Events.Reconnect) {
        metrics.reconnects.inc({ to: 'bus' });
        log.info({ server: String(data) }, 'the connection to NATS is there again');
      } else if (type === Events.Error) log.warn({ reason: String(data) }, 'NATS refuses something of this process');
    }
  } finally {
    reading.end();
  }
}

/**
 * Why a connection was lost, as far as this end can know. A server that leaves a slow reader closes the connection without a word (seen with
 * nats-server 2.9: an end of the stream, no error of the protocol), so that cause is told by what this process was doing.
 */
function lossOf(
  isStale: boolean,
  unread_ms: number,
): { readonly cause: 'silent' | 'slow' | 'closed'; readonly sentence: string } {
  if (isStale)
    return {
      cause: 'silent',
      sentence: `NATS was silent for ${(PING_MS * (PINGS_MAX + 1)) / 1_000} s: see to it and to the network`,
    };
  if (unread_ms > 0) {
    const held = `this process read nothing for ${(unread_ms / 1_000).toFixed(1)} s, and NATS leaves a slow consumer`;
    return { cause: 'slow', sentence: `${held}: start one more of this service, or see what holds its event loop up` };
  }
  return {
    cause: 'closed',
    sentence: 'NATS or the network closed it: the log of NATS says why (a stop, or a slow consumer on a slow network)',
  };
}

/** Knows how long this process has just read nothing: its event loop stood still, or the whole process. */
function watchReading(): { unread_ms(): number; end(): void } {
  let looked_ms = performance.now();
  let unread = { ms: 0, until_ms: 0 };
  const look = (): void => {
    const now_ms = performance.now();
    if (now_ms - looked_ms - LOOK_MS >= UNREAD_MS) unread = { ms: now_ms - looked_ms, until_ms: now_ms };
    looked_ms = now_ms;
  };
  const timer = setInterval(look, LOOK_MS).unref();
  return {
    unread_ms() {
      look();
      return performance.now() - unread.until_ms <= UNREAD_AGO_MS_MAX ? unread.ms : 0;
    },
    end: () => clearInterval(timer),
  };
}

/** The sentence that a person can act on. */
function explained(error: unknown, { url, credentials_file, tls_ca_file, tls_cert_file }: NatsSettings): JobmonError {
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
    const orShow =
      tls_ca_file === undefined || tls_cert_file !== undefined
        ? ''
        : '; one that wants to see a certificate needs nats.tls_cert_file and .tls_key_file';
    return because(`does not answer: start nats-server there, or name another address by nats.url${orShow}`);
  }
  if (code === 'SERVER_OPT_NA') {
    const cure = tls_ca_file === undefined ? 'write nats:// in nats.url' : 'take nats.tls_ca_file away';
    return because(`offers no TLS: give it a certificate (tls in its configuration), or ${cure}`);
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return because('is not known by this name: correct the host in nats.url');
  const distrust = distrustOf(error, 'nats', tls_ca_file);
  if (distrust !== undefined) return because(distrust);
  return because(`can't be used: ${message}`);
}
