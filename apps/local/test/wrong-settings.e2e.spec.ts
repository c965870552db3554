/**
 * Services whose settings, database, NATS or certificates are wrong: each says in its log and on `/health/ready` what is wrong and what to do,
 * in one sentence and once. Where somebody can mend it outside of the process, it waits and goes on by itself when that was done;
 * where not, it ends with exit code 1.
 */
import { execFile, execFileSync } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { openDatabase } from '@jobmon/entities';
import {
  buildHouse,
  CertificateAuthority,
  type CertificateFiles,
  describeApart,
  MariadbProcess,
  NatsProcess,
  ROOT,
  Services,
  until,
  UserFolder,
  type DatabaseKind,
  type ServiceName,
} from '@jobmon/testkit';
import { createConnection, type Connection } from 'mysql2/promise';
import { pino } from 'pino';

type Place = Awaited<ReturnType<DatabaseKind['place']>>;

describeApart('services with wrong settings', (mariadb) => {
  let user: UserFolder;
  let places: Place[];
  let root: Connection;
  let encrypted: MariadbProcess;
  let nats: NatsProcess;
  let natsTls: NatsProcess;
  /** Its certificate has expired, until it is renewed. */
  let natsExpired: NatsProcess;
  let services: Services;
  let authority: CertificateAuthority;
  /** A file that holds the certificate of another authority until it is corrected. */
  let wrongCa: string;

  const MARK = `wrong_${process.pid}`;
  const databaseOf = (place: Place): string => new URL(place.url).pathname.slice(1);
  /** The address of a place with another account or another database. */
  const address = (place: { url: string }, { account, database }: { account?: string; database?: string }): string => {
    const url = new URL(place.url);
    if (account !== undefined) [url.username, url.password] = account.split(':') as [string, string];
    if (database !== undefined) url.pathname = `/${database}`;
    return url.toString();
  };
  const migrate = async (url: string): Promise<void> =>
    (await openDatabase({ url, log: pino({ level: 'silent' }), connections_max: 2 })).close();
  const overTls = (server: NatsProcess, ca: string): NodeJS.ProcessEnv => ({
    JOBMON__NATS__URL: `tls://localhost:${server.port}`,
    JOBMON__NATS__TLS_CA_FILE: ca,
  });

  beforeAll(async () => {
    buildHouse();
    user = new UserFolder();
    authority = new CertificateAuthority(user.folder('authority'));
    wrongCa = path.join(user.path, 'ca.pem');
    copyFileSync(new CertificateAuthority(user.folder('stranger')).file, wrongCa);
    const server = authority.sign('database', 'DNS:localhost');
    execFileSync('chmod', ['-R', 'a+rX', user.path]);
    const tls = ({ cert, key }: CertificateFiles): string => `tls { cert_file: "${cert}", key_file: "${key}" }`;
    [nats, natsTls, natsExpired, encrypted, ...places] = await Promise.all([
      NatsProcess.start(),
      NatsProcess.start(tls(authority.sign('nats', 'DNS:localhost'))),
      NatsProcess.start(tls(authority.sign('expired', 'DNS:localhost', -1))),
      MariadbProcess.start(`--ssl-cert=${server.cert}`, `--ssl-key=${server.key}`),
      ...Array.from({ length: 3 }, () => mariadb.place()),
    ]);
    services = new Services({
      folder: user.folder('services'),
      database_url: places[0]!.url,
      nats_url: nats.url,
      token: 'token-of-wrong-settings',
    });
    await services.migrate();
    root = await createConnection({ uri: places[0]!.url.replace(/^mariadb:/, 'mysql:'), multipleStatements: true });
  }, 120_000);
  afterAll(async () => {
    await services?.stop('SIGKILL');
    await root?.query(`DROP USER IF EXISTS '${MARK}'@'%'; DROP USER IF EXISTS '${MARK}_b'@'%'; DROP DATABASE IF EXISTS ${MARK}`);
    await root?.end();
    await Promise.all([
      nats?.remove(),
      natsTls?.remove(),
      natsExpired?.remove(),
      encrypted?.remove(),
      ...places.map((place) => place.remove()),
    ]);
    await user?.remove();
  }, 120_000);

  it('say what is wrong, wait, and go on by themselves when it was mended', async () => {
    const [ours, old] = places as [Place, Place, Place];
    await migrate(old.url);
    await root.query(`DELETE FROM ${databaseOf(old)}.migrations ORDER BY id DESC LIMIT 1`);
    await root.query(`CREATE USER '${MARK}'@'%' IDENTIFIED BY 'another'; GRANT ALL ON ${databaseOf(ours)}.* TO '${MARK}'@'%'`);
    await root.query(`CREATE USER '${MARK}_b'@'%' IDENTIFIED BY 'p'`);
    await encrypted.run("CREATE USER 'safe'@'%' IDENTIFIED BY 'p' REQUIRE SSL", "GRANT ALL ON jobmon.* TO 'safe'@'%'");
    const safe = { JOBMON__DB__URL: address(encrypted, { account: 'safe:p' }).replace('127.0.0.1', 'localhost') };

    const rows: { service: ServiceName; env: NodeJS.ProcessEnv; says: Record<string, RegExp>; mend?: () => Promise<unknown> }[] =
      [
        {
          service: 'scheduler',
          env: { JOBMON__DB__URL: address(ours, { database: MARK }), ...overTls(natsTls, wrongCa) },
          says: {
            database: /^there is no database wrong_\d+ on \S+: create it, or correct the name$/,
            bus: /^NATS at \S+ can't be trusted \(.+\): name the authority of its certificate by nats\.tls_ca_file, in place of \S+ca\.pem$/,
          },
          mend: async () => {
            await root.query(`CREATE DATABASE ${MARK}`);
            await migrate(address(ours, { database: MARK }));
          },
        },
        {
          service: 'reaper',
          env: { JOBMON__DB__URL: address(ours, { account: `${MARK}:secret-word` }), ...overTls(natsExpired, authority.file) },
          says: {
            database: /^the database server \S+ refuses user 'wrong_\d+' with this password: correct the password/,
            bus: /^NATS at \S+ shows a certificate that has expired: renew it there/,
          },
          mend: () => root.query(`ALTER USER '${MARK}'@'%' IDENTIFIED BY 'secret-word'`),
        },
        {
          service: 'log-sink',
          env: { JOBMON__DB__URL: address(ours, { account: `${MARK}_b:p` }), ...overTls(nats, authority.file) },
          says: {
            database: /^user 'wrong_\d+_b' may not use the database \S+ on \S+: grant it the rights$/,
            bus: /^NATS at \S+ offers no TLS: give it a certificate \(tls in its configuration\), or take nats\.tls_ca_file away$/,
          },
        },
        {
          service: 'api',
          env: { JOBMON__DB__URL: old.url },
          says: { migrations: /^the schema of \S+ .* is older than this program needs .*: run jobmon-server db migrate$/ },
          mend: () => migrate(old.url),
        },
        {
          service: 'state-machine',
          env: { ...safe, JOBMON__DB__TLS_CA_FILE: wrongCa },
          says: {
            database:
              /^the database server localhost:\d+ can't be trusted \(.+\): name the authority of its certificate by db\.tls_ca_file/,
          },
          mend: () => {
            const admin = path.join(ROOT, 'dist', 'apps', 'admin', 'main.js');
            const env = { ...user.env, ...safe, JOBMON__DB__TLS_CA_FILE: authority.file };
            return promisify(execFile)(process.execPath, [admin, 'db', 'migrate'], { env });
          },
        },
      ];
    const begun = rows.map((row) => ({ ...row, one: services.begin(row.service, row.env) }));
    /** What stands in the log of a process for a cause. */
    const waits = (part: string, sentence: RegExp): RegExp =>
      new RegExp(sentence.source.replace('^', `^waits for the ${part === 'bus' ? 'bus' : 'database'}: `));
    for (const { one, says } of begun) {
      for (const [part, sentence] of Object.entries(says)) {
        await one.said(waits(part, sentence), 60_000);
        let answer = await one.readiness();
        // Nobody answers for a moment where many processes start at one time.
        await until(`${one.instance} answers`, async () => (answer ??= await one.readiness()) !== undefined, 60_000);
        expect([one.instance, answer?.status, answer?.details[part]]).toEqual([
          one.instance,
          503,
          { status: 'down', cause: expect.stringMatching(sentence) },
        ]);
      }
    }

    // Outside of the processes, which read the file anew.
    copyFileSync(authority.file, wrongCa);
    authority.sign('expired', 'DNS:localhost');
    natsExpired.signal('SIGHUP');
    await Promise.all(begun.map(({ mend }) => mend?.()));
    await Promise.all(
      begun.map(async ({ mend, one }) => (mend === undefined ? expect(await one.end('SIGTERM')).toBe(0) : one.ready())),
    );
    for (const { one, says } of begun) {
      for (const [part, sentence] of Object.entries(says)) {
        const told = one.lines.filter(({ message }) => waits(part, sentence).test(message));
        expect([one.instance, part, told.length]).toEqual([one.instance, part, 1]);
      }
      expect(one.lines.filter(({ level }) => level === 'fatal' || level === 'none')).toEqual([]);
      expect(one.text).not.toContain('secret-word');
    }
  }, 180_000);

  it('end with exit code 1 and one sentence where waiting can not help', async () => {
    const [, table, names] = places as [Place, Place, Place];
    await root.query(`DROP DATABASE ${databaseOf(table)}; CREATE DATABASE ${databaseOf(table)}`);
    await root.query(`CREATE TABLE ${databaseOf(table)}.migrations (id INT, migration VARCHAR(255), batch INT)`);
    await root.query(
      `CREATE TABLE ${databaseOf(names)}.migrations (id INT, timestamp BIGINT, name VARCHAR(255));
       INSERT INTO ${databaseOf(names)}.migrations VALUES (1, 1, 'Invoices1600000000000')`,
    );
    const nonsense = path.join(user.path, 'nonsense.pem');
    writeFileSync(nonsense, 'nothing of the kind');
    const rows: [ServiceName, NodeJS.ProcessEnv, RegExp][] = [
      [
        'scheduler',
        { JOBMON__DB__URL: table.url },
        /^the database \S+ on \S+ belongs to another program, .*: name another by db\.url$/,
      ],
      [
        'api',
        { JOBMON__DB__URL: names.url },
        /^the database \S+ on \S+ belongs to another program, .*: name another by db\.url$/,
      ],
      [
        'log-sink',
        overTls(natsTls, '/nowhere/ca.pem'),
        /^the file \/nowhere\/ca\.pem \(nats\.tls_ca_file\) can't be read: ENOENT/,
      ],
      [
        'reaper',
        { JOBMON__DB__TLS_CA_FILE: nonsense },
        /nonsense\.pem \(db\.tls_ca_file\) holds no certificate: it must begin with -----BEGIN CERTIFICATE-----$/,
      ],
    ];
    await Promise.all(
      rows.map(async ([service, env, sentence]) => {
        const one = services.begin(service, env);
        expect([service, await one.ended]).toEqual([service, 1]);
        const told = one.lines.filter(({ level }) => level === 'fatal').map(({ message }) => message);
        expect([service, told]).toEqual([service, [expect.stringMatching(sentence)]]);
      }),
    );
  }, 60_000);
});
