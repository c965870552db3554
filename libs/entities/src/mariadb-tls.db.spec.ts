/** A database server that speaks TLS: whom it is trusted by, and what is said of one that is not. On a MariaDB of this file's own. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CertificateAuthority, describeOnDatabaseKinds, MARIADB_URL_VARIABLE, MariadbProcess } from '@jobmon/testkit';
import { loadConfig } from '@jobmon/runtime';
import { pino } from 'pino';
import { openDatabase, schemaStatus, serverFacts } from './index';

const log = pino({ level: 'silent' });

describeOnDatabaseKinds('TLS to the database server', (kind) => {
  if (kind.name !== 'mariadb') return;
  let folder: string;
  let authority: CertificateAuthority;
  let stranger: CertificateAuthority;
  let server: MariadbProcess;

  /** As the settings of a process give it. */
  const address = (files: Readonly<Record<string, string>>, { host = 'localhost', url = server.url } = {}): string => {
    const env = Object.fromEntries(Object.entries(files).map(([name, file]) => [`JOBMON__DB__TLS_${name.toUpperCase()}`, file]));
    const at = url.replace('127.0.0.1', host);
    return loadConfig({ env: { HOME: folder, JOBMON__DB__URL: at, ...env } }).config.db.url;
  };
  const open = async (url: string): Promise<string> => {
    const database = await openDatabase({ url, log, connections_max: 2 });
    try {
      const [row] = await database.read<{ Value: string }>("SHOW SESSION STATUS LIKE 'Ssl_version'");
      return row!.Value;
    } finally {
      await database.close();
    }
  };
  const refusal = async (url: string): Promise<{ code: string; message: string }> => {
    const error = await open(url).then(
      (version) => new Error(`it was opened over ${version}`),
      (thrown: Error & { code: string }) => thrown,
    );
    return { code: (error as { code?: string }).code ?? '', message: error.message };
  };
  /** Gives the running server another certificate. */
  const present = async (names: string, days?: number): Promise<void> => {
    const made = authority.sign('next', names, days);
    copyFileSync(made.cert, path.join(folder, 'server.pem'));
    copyFileSync(made.key, path.join(folder, 'server.key'));
    await server.run('FLUSH SSL');
  };

  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'jobmon-tls-'));
    authority = new CertificateAuthority(path.join(folder, 'authority'));
    stranger = new CertificateAuthority(path.join(folder, 'stranger'));
    const { cert, key } = authority.sign('first', 'DNS:localhost');
    copyFileSync(cert, path.join(folder, 'server.pem'));
    copyFileSync(key, path.join(folder, 'server.key'));
    execFileSync('chmod', ['-R', 'a+rX', folder]);
    const file = (name: string): string => path.join(folder, name);
    server = await MariadbProcess.start(
      `--ssl-cert=${file('server.pem')}`,
      `--ssl-key=${file('server.key')}`,
      `--ssl-ca=${authority.file}`,
    );
  }, 60_000);
  afterAll(async () => {
    await server?.remove();
    rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  it('carries everything, from the migration on, when its authority is named', async () => {
    const trusted = address({ ca_file: authority.file });
    expect(await open(trusted)).toMatch(/^TLSv1\.[23]$/);
    expect(await schemaStatus(trusted)).toMatchObject({ is_fit: true });
    expect(await serverFacts(trusted)).toMatchObject({ isMariadb: true });
    // Nobody asked for it.
    expect(await open(address({}))).toBe('');
  });

  it('is refused where the certificate is of another authority, another name or another time, with cause and cure', async () => {
    const { port } = new URL(server.url);
    const byOthers = await refusal(address({ ca_file: stranger.file }));
    expect(byOthers).toEqual({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(
        `the database server localhost:${port} can't be trusted \\(.+\\): name the authority of its certificate by db.tls_ca_file, in place of ${stranger.file}`,
      ),
    });
    const byNumber = await refusal(address({ ca_file: authority.file }, { host: '127.0.0.1' }));
    expect(byNumber).toEqual({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(
        /127\.0\.0\.1:\d+ shows a certificate of another server \(.*127\.0\.0\.1.*\): name it in db\.url as its certificate does/,
      ),
    });
    await present('DNS:localhost', -1);
    expect(await refusal(address({ ca_file: authority.file }))).toEqual({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/shows a certificate that has expired: renew it there/),
    });
    await present('IP:127.0.0.1');
    expect(await open(address({ ca_file: authority.file }, { host: '127.0.0.1' }))).toMatch(/^TLS/);
    expect((await refusal(address({ ca_file: authority.file }))).message).toMatch(/certificate of another server \(.*localhost/);
    await present('DNS:localhost,IP:127.0.0.1');
  }, 60_000);

  it('is not given up for a server that offers none', async () => {
    const plain = new URL(process.env[MARIADB_URL_VARIABLE]!);
    plain.pathname = '/test';
    expect(await refusal(address({ ca_file: authority.file }, { url: plain.toString() }))).toEqual({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/offers no TLS: give it a certificate .*, or take db\.tls_ca_file away/),
    });
  });

  it('shows a certificate of this process to an account that needs one', async () => {
    await server.run("CREATE USER 'shown'@'%' IDENTIFIED BY 'p' REQUIRE X509", "GRANT ALL ON jobmon.* TO 'shown'@'%'");
    const url = server.url.replace(/\/\/.*@/, '//shown:p@');
    const { cert, key } = authority.sign('client', 'DNS:client');
    const both = { ca_file: authority.file, cert_file: cert, key_file: key };
    expect(await open(address(both, { url }))).toMatch(/^TLS/);
    expect((await refusal(address({ ca_file: authority.file }, { url }))).message).toMatch(/refuses user 'shown'/);
    expect((await refusal(address({}, { url }))).message).toMatch(
      /refuses user 'shown' with this password: correct the password, or name db\.tls_ca_file/,
    );
  });

  it('ends a process whose files are none', async () => {
    const file = path.join(folder, 'nonsense.pem');
    writeFileSync(file, 'nothing of the kind');
    const sets: Record<string, string>[] = [
      { ca_file: path.join(folder, 'missing.pem') },
      { ca_file: file },
      { ca_file: authority.file, cert_file: authority.file },
    ];
    expect(await Promise.all(sets.map((files) => refusal(address(files))))).toEqual(
      [
        /missing\.pem \(db\.tls_ca_file\) can't be read: ENOENT/,
        /nonsense\.pem \(db\.tls_ca_file\) holds no certificate: it must begin with -----BEGIN CERTIFICATE-----/,
        /db\.tls_cert_file needs db\.tls_key_file: name both or none/,
      ].map((sentence) => ({ code: 'MALFORMED', message: expect.stringMatching(sentence) })),
    );
  });

  it('is asked for by a server that takes nothing else', async () => {
    await server.run('SET GLOBAL require_secure_transport = ON');
    expect(await refusal(address({}))).toEqual({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/: correct the password, or name db\.tls_ca_file if the account must use TLS$/),
    });
    expect(await open(address({ ca_file: authority.file }))).toMatch(/^TLS/);
  });
});
