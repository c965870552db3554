/** What `jobmon-server preflight` says of a database and a NATS, with the accounts that pods will have: each lack and the line that mends it. */
import { randomBytes } from 'node:crypto';
import { VERSION } from '@jobmon/contracts';
import { describeApart, describeOnDatabaseKinds, NatsProcess, type DatabaseKind } from '@jobmon/testkit';
import { createConnection, type Connection } from 'mysql2/promise';
import { typed } from '../test/typed';
import { Kubernetes } from './kubernetes';
import type { Finding } from './preflight-cluster';
import type { Access, Wanted } from './preflight-chart';
import { databaseChecks, natsCheck } from './preflight-servers';

const BARE: Wanted = {
  ...{ objects: [], groups: [], secrets: [], priorityClasses: [], accesses: [], isScaling: false },
  ...{ version: VERSION, registry: 'registry.example.org', connections: 10 },
};
/** Nothing is asked of it: it says what is typed. */
const cluster = Kubernetes.of('research', undefined);
const verdicts = (findings: readonly Finding[]) => Object.fromEntries(findings.map(({ check, verdict }) => [check, verdict]));

describeOnDatabaseKinds('preflight of a database', (kind) => {
  if (kind.name !== 'mariadb') {
    it('is for a database on a server; a SQLite file has none', () => expect(kind.name).toBe('sqlite'));
    return;
  }
  // Accounts belong to the whole server, which other tests use too.
  const mark = randomBytes(4).toString('hex');
  const [app, migrate] = [`app_${mark}`, `migrate_${mark}`];
  const password = randomBytes(12).toString('hex');
  let place: Awaited<ReturnType<DatabaseKind['place']>>;
  let root: Connection;
  let at: { host: string; port: string; name: string };

  beforeAll(async () => {
    place = await kind.place();
    const { hostname, port, pathname } = new URL(place.url);
    at = { host: hostname, port, name: pathname.slice(1) };
    root = await createConnection({ uri: place.url.replace(/^mariadb:/, 'mysql:') });
    for (const user of [app, migrate]) {
      await root.query(`CREATE USER '${user}'@'%' IDENTIFIED BY '${password}'`);
      await root.query(`GRANT ALL ON \`${at.name}\`.* TO '${user}'@'%'`);
    }
  });
  afterAll(async () => {
    for (const user of [app, migrate]) await root.query(`DROP USER IF EXISTS '${user}'@'%'`);
    await root.end();
    await place.remove();
  });

  const access = (process: string, user: string, key: string, address = `${at.host}:${at.port}/${at.name}`): Access => ({
    process,
    settings: { JOBMON__DB__URL: `mariadb://${address}`, JOBMON__DB__USER: user },
    secrets: { JOBMON__DB__PASSWORD: { name: 'jobmon-database', key } },
    files: {},
  });
  const look = async (more: Partial<Wanted> = {}, passwords: Record<string, string> = {}): Promise<Finding[]> => {
    const accesses = [access('api', app, 'app-password'), access('migrate', migrate, 'migrate-password')];
    const keys = new Map(Object.entries({ 'app-password': password, 'migrate-password': password, ...passwords }));
    return databaseChecks(await cluster, { ...BARE, accesses, ...more }, new Map([['jobmon-database', keys]]));
  };
  const only = async (address?: string): Promise<Finding> => {
    const [finding] = await look({ accesses: [access('api', app, 'app-password', address)] });
    return finding as Finding;
  };

  it('is well when all is there; a schema that is missing is the matter of the migration, or of a line to type', async () => {
    const before = await look();
    expect(verdicts(before)).toEqual({ database: 'well', connections: 'well', schema: 'well', migration: 'well' });
    expect(before.map(({ found }) => found)).toEqual([
      expect.stringMatching(new RegExp(`^${app} on .*, \\d+\\.\\d+.*MariaDB`)),
      expect.stringMatching(/^the pods and what stays free for people take up to 10 connections, the server allows \d+$/),
      expect.stringMatching(/^version 0 of \d+; the migration brings the rest$/),
      expect.stringContaining(migrate),
    ]);
    const accesses = [access('api', app, 'app-password')];
    const withoutMigration = (await look({ accesses })).find(({ check }) => check === 'schema');
    expect(withoutMigration).toMatchObject({ verdict: 'missing', lines: ['jobmon-server db migrate'] });
    const other = (await look({ accesses, version: '9.9.9' })).find(({ check }) => check === 'schema');
    expect(other).toMatchObject({ verdict: 'skipped', found: expect.stringContaining('the images are of 9.9.9') });
    const url = place.url.replace(/\/\/.*@/, `//${migrate}:${password}@`);
    expect((await typed('db', 'migrate', '--db', url)).code).toBe(0);
    const after = (await look({ accesses })).find(({ check }) => check === 'schema');
    expect(after).toMatchObject({ verdict: 'well', found: expect.stringContaining(`which release ${VERSION} works on`) });
  });

  it('refuses images that are older than the schema', async () => {
    await root.query(`USE \`${at.name}\``);
    const [[rule]] = (await root.query('SELECT needs_migration, oldest_release FROM schema_rule')) as unknown as [object[]];
    await root.query("INSERT INTO migrations (timestamp, name) VALUES (9999999999999, 'Later9999999999999')");
    await root.query("UPDATE schema_rule SET needs_migration = 'Later9999999999999', oldest_release = '7.0.0'");
    const newer = (await look()).find(({ check }) => check === 'schema');
    expect(newer).toMatchObject({ verdict: 'missing', found: expect.stringContaining('7.0.0'), lines: [] });
    await root.query("DELETE FROM migrations WHERE name = 'Later9999999999999'");
    await root.query('UPDATE schema_rule SET ?', [rule]);
  });

  it('names rights that an account lacks, and the GRANT that gives them', async () => {
    await root.query(`REVOKE DELETE ON \`${at.name}\`.* FROM '${app}'@'%'`);
    await root.query(`REVOKE INDEX ON \`${at.name}\`.* FROM '${migrate}'@'%'`);
    const lacking = (await look()).filter(({ verdict }) => verdict === 'missing');
    expect(lacking.map(({ check, found }) => [check, found])).toEqual([
      ['database', expect.stringContaining(`${app} may not DELETE in ${at.name}`)],
      ['migration', expect.stringContaining(`${migrate} may not INDEX in ${at.name}`)],
    ]);
    for (const { lines } of lacking) {
      const [, sql] = /^mariadb -h \S+ -P \d+ -u root -p -e '(GRANT .*)'$/.exec(lines[0] ?? '') ?? [];
      await root.query(sql as string);
    }
    expect(Object.values(verdicts(await look()))).toEqual(['well', 'well', 'well', 'well']);
  });

  it('names what keeps an account out: a password, a database, a server, a secret', async () => {
    const [refused] = await look({}, { 'app-password': 'not-this-one' });
    expect(refused).toEqual({
      ...{ check: 'database', verdict: 'missing', found: expect.stringContaining(`refuses user '${app}'`) },
      lines: [`kubectl -n research patch secret jobmon-database -p '{"stringData":{"app-password":"…"}}'`],
    });
    expect(JSON.stringify(refused)).not.toContain('not-this-one');
    await root.query(`GRANT ALL ON \`${at.name}_none\`.* TO '${app}'@'%'`);
    expect((await only(`${at.host}:${at.port}/${at.name}_none`)).lines).toEqual([
      expect.stringContaining(`-e 'CREATE DATABASE \`${at.name}_none\``),
    ]);
    expect(await only(`127.0.0.1:1/${at.name}`)).toMatchObject({
      verdict: 'missing',
      found: expect.stringMatching(/no database server answers at 127\.0\.0\.1:1.*--skip database/),
    });
    const nothing = await databaseChecks(await cluster, { ...BARE, accesses: [access('api', app, 'app-password')] }, new Map());
    expect(nothing).toEqual([expect.objectContaining({ verdict: 'missing', found: expect.stringContaining('see secrets') })]);
  });

  it('reckons the connections of all pods against the server, and leaves out a database that comes with the release', async () => {
    const many = (await look({ connections: 123_456 })).find(({ check }) => check === 'connections');
    expect(many).toMatchObject({ verdict: 'missing', lines: [expect.stringContaining('SET GLOBAL max_connections = 123456')] });
    const accesses = [access('api', app, 'app-password', '127.0.0.1:1/x'), access('database', '', '')];
    expect(await look({ accesses })).toEqual([expect.objectContaining({ verdict: 'well', found: 'comes with the release' })]);
  });
});

describeApart('preflight of a NATS', () => {
  let nats: NatsProcess;
  const secrets = new Map([
    [
      'jobmon-nats',
      new Map([
        ['reaper', 'r'],
        ['log-sink', 's'],
        ['mute', 'm'],
        ['wrong', 'x'],
      ]),
    ],
  ]);
  const access = (process: string, user = process, url = nats.url, key = user): Access => ({
    process,
    settings: { JOBMON__NATS__URL: url, JOBMON__NATS__USER: user },
    secrets: { JOBMON__NATS__PASSWORD: { name: 'jobmon-nats', key } },
    files: {},
  });
  const look = async (...accesses: Access[]): Promise<Finding> => natsCheck(await cluster, { ...BARE, accesses }, secrets);

  beforeAll(async () => {
    const mute = '{ user: mute, password: m, permissions: { publish: { deny: "$JS.API.>" } } }';
    const users = `[{ user: reaper, password: r }, { user: log-sink, password: s }, ${mute}]`;
    nats = await NatsProcess.start(`authorization { users: ${users} }`);
  }, 60_000);
  afterAll(() => nats.remove(), 60_000);

  it('lets every account in, and asks JetStream as the log sink does', async () => {
    expect(await look(access('reaper'), access('log-sink'))).toEqual({
      ...{ check: 'nats', verdict: 'well', lines: [] },
      found: expect.stringMatching(/^2 accounts at nats:\/\/.*, NATS \d+\.\d+\.\d+ with JetStream$/),
    });
    expect(await look(access('reaper', 'reaper', 'nats://127.0.0.1:1'), access('nats'))).toMatchObject({
      found: 'comes with the release',
    });
  });

  it('names an account that is refused, a log sink without JetStream, and a server that is not there', async () => {
    expect(await look(access('reaper', 'reaper', nats.url, 'wrong'))).toMatchObject({
      ...{ verdict: 'missing', found: expect.stringMatching(/NATS at nats:.* refuses reaper: give NATS the accounts/) },
      lines: [`kubectl -n research patch secret jobmon-nats -p '{"stringData":{"wrong":"…"}}'`],
    });
    expect(await look(access('log-sink', 'mute'))).toMatchObject({
      ...{
        verdict: 'missing',
        found: expect.stringMatching(/mute gets no answer of JetStream .*jetstream \{ store_dir: \/data \}/),
      },
    });
    expect(await look(access('reaper', 'reaper', 'nats://127.0.0.1:1'))).toMatchObject({
      ...{ verdict: 'missing', found: expect.stringMatching(/does not answer.*--skip nats/) },
    });
    expect(await natsCheck(await cluster, { ...BARE, accesses: [access('reaper')] }, new Map())).toMatchObject({
      ...{ verdict: 'missing', found: 'what reaper logs in with is not there: see secrets' },
    });
  });
});
