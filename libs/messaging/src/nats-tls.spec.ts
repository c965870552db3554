/** NATS over TLS: which server is trusted, and what is said of one that is not. On servers of this file's own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { loadConfig } from '@jobmon/runtime';
import { CertificateAuthority, describeWithNats, NatsProcess, type CertificateFiles } from '@jobmon/testkit';
import { pino } from 'pino';
import { natsFacts } from './nats-facts';

describeWithNats('NATS over TLS', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-nats-tls-'));
  const authority = new CertificateAuthority(path.join(folder, 'authority'));
  const stranger = new CertificateAuthority(path.join(folder, 'stranger'));
  const servers: NatsProcess[] = [];

  const start = async ({ cert, key }: CertificateFiles, more = ''): Promise<NatsProcess> => {
    const server = await NatsProcess.start(`tls { cert_file: "${cert}", key_file: "${key}" ${more} }`);
    servers.push(server);
    return server;
  };
  /** Opens a connection by the settings of a process; answers the version, or the code and the sentence of the refusal. */
  const open = async (url: string, files: Readonly<Record<string, string>> = {}): Promise<string> => {
    const env = Object.fromEntries(
      Object.entries(files).map(([name, file]) => [`JOBMON__NATS__TLS_${name.toUpperCase()}`, file]),
    );
    const { config } = loadConfig({ env: { HOME: folder, JOBMON__NATS__URL: url, ...env } });
    return natsFacts(config.nats, pino({ level: 'silent' }), false).then(
      ({ version }) => `is there: ${version}`,
      ({ code, message }: { code: string; message: string }) => `${code}: ${message}`,
    );
  };

  let byName: NatsProcess;
  let byNumber: NatsProcess;
  beforeAll(async () => {
    byName = await start(authority.sign('name', 'DNS:localhost'));
    byNumber = await start(authority.sign('number', 'IP:127.0.0.1'));
  }, 60_000);
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.remove()));
    rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  const trusted = { ca_file: authority.file };

  it('trusts a server by the name or the number that it is called by, and by no other', async () => {
    expect(await open(`tls://localhost:${byName.port}`, trusted)).toMatch(/^is there: 2\./);
    expect(await open(`tls://127.0.0.1:${byNumber.port}`, trusted)).toMatch(/^is there: 2\./);
    expect(await open(`tls://127.0.0.1:${byName.port}`, trusted)).toMatch(
      /^UNAVAILABLE: NATS at tls:\/\/127\.0\.0\.1:\d+ shows a certificate of another server \(.*127\.0\.0\.1.*\): name it in nats\.url as its certificate does/,
    );
    expect(await open(`tls://localhost:${byNumber.port}`, trusted)).toMatch(/certificate of another server \(.*localhost/);
    // Of several servers of one cluster, one of the numbers has to be in the certificate.
    expect(await open(`tls://127.0.0.1:${byNumber.port},tls://127.0.0.2:4222`, trusted)).toMatch(/^is there/);
  });

  it('names cause and cure of a certificate of an unknown authority, and of one that has expired', async () => {
    const url = `tls://localhost:${byName.port}`;
    expect(await open(url)).toMatch(
      /^UNAVAILABLE: .* can't be trusted \(.+\): name the authority of its certificate by nats\.tls_ca_file$/,
    );
    expect(await open(url, { ca_file: stranger.file })).toMatch(
      /can't be trusted \(.+\): name the authority of its certificate by nats\.tls_ca_file, in place of \S+stranger\/ca\.pem$/,
    );
    const expired = await start(authority.sign('expired', 'DNS:localhost', -1));
    expect(await open(`tls://localhost:${expired.port}`, trusted)).toMatch(
      /^UNAVAILABLE: .* shows a certificate that has expired: renew it there/,
    );
  });

  it('names cause and cure of a server without TLS, however it was asked for', async () => {
    const plain = await NatsProcess.start();
    servers.push(plain);
    expect(await open(`nats://localhost:${plain.port}`, trusted)).toMatch(
      /^UNAVAILABLE: .* offers no TLS: give it a certificate .*, or take nats\.tls_ca_file away$/,
    );
    expect(await open(`tls://localhost:${plain.port}`)).toMatch(/offers no TLS: .*, or write nats:\/\/ in nats\.url$/);
  });

  it('shows a certificate to a server that wants one, and says that it may be missing', async () => {
    const mutual = await start(authority.sign('strict', 'DNS:localhost'), `, ca_file: "${authority.file}", verify: true`);
    const url = `tls://localhost:${mutual.port}`;
    const { cert, key } = authority.sign('client', 'DNS:client');
    expect(await open(url, { ...trusted, cert_file: cert, key_file: key })).toMatch(/^is there/);
    expect(await open(url, trusted)).toMatch(/^UNAVAILABLE: .* does not answer: .*needs nats\.tls_cert_file and \.tls_key_file$/);
  }, 30_000);

  it('refuses files that are none for good', async () => {
    const nonsense = path.join(folder, 'nonsense.pem');
    writeFileSync(nonsense, 'nothing of the kind');
    const url = `tls://localhost:${byName.port}`;
    expect(await open(url, { ca_file: path.join(folder, 'missing.pem') })).toMatch(
      /^MALFORMED: .*\(nats\.tls_ca_file\) can't be read/,
    );
    expect(await open(url, { ca_file: nonsense })).toMatch(/^MALFORMED: .*\(nats\.tls_ca_file\) holds no certificate/);
    expect(await open(url, { key_file: nonsense })).toBe(
      'MALFORMED: nats.tls_key_file needs nats.tls_cert_file: name both or none',
    );
  });
});
