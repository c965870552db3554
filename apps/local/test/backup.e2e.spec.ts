/**
 * A backup made while a workflow runs, restored into a second database after everything was lost: the workflow goes on there and is finished.
 * The commands are those of docs/operating/backup.md, read from that page.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { openDatabase } from '@jobmon/entities';
import { parseDatabaseUrl } from '@jobmon/runtime';
import {
  buildHouse,
  describeApart,
  NatsProcess,
  ROOT,
  runSql,
  Services,
  until,
  UserFolder,
  type DatabaseKind,
} from '@jobmon/testkit';
import { pino } from 'pino';
import { AgentProcess } from './agent-process';
import { readWitness, submitWitnessed } from './witnessed-workflow';

const TOKEN = 'token-of-the-backup';
const TASKS = 20;
const LEASE = { JOBMON__AGENT__LEASE_SECONDS: '6' };
const EACH = { api: 1, 'state-machine': 1, scheduler: 1, reaper: 1 } as const;
const PAGE = readFileSync(path.join(ROOT, 'docs', 'operating', 'backup.md'), 'utf8');

/** The block of the page that begins with a word. */
function commandsOf(word: string): string {
  const blocks = [...PAGE.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, text]) => text!);
  const found = blocks.filter((text) => text.startsWith(`${word} `));
  if (found.length !== 1) throw new Error(`docs/operating/backup.md has ${found.length} blocks that begin with ${word}`);
  return found[0]!;
}

describeApart('a backup', (mariadb) => {
  let place: Awaited<ReturnType<DatabaseKind['place']>>;
  let user: UserFolder;
  let nats: NatsProcess;
  let agent: AgentProcess | undefined;
  const systems: Services[] = [];
  let restored: URL;

  beforeAll(async () => {
    buildHouse();
    user = new UserFolder();
    place = await mariadb.place();
    restored = new URL(place.url);
    restored.pathname += '_restored';
    await (await openDatabase({ url: place.url, log: pino({ level: 'silent' }) })).close();
    nats = await NatsProcess.start();
  }, 120_000);
  afterAll(async () => {
    await agent?.end('SIGKILL');
    for (const services of systems) await services.stop('SIGKILL');
    await nats?.remove();
    await user?.remove();
    await runSql(place.url, [`DROP DATABASE IF EXISTS ${restored.pathname.slice(1)}`]);
    await place?.remove();
  }, 120_000);

  const start = async (name: string, url: string): Promise<Services> => {
    const services = new Services({
      folder: user.folder(name),
      database_url: url,
      nats_url: nats.url,
      token: TOKEN,
      env: LEASE,
    });
    systems.push(services);
    await services.start(EACH);
    const port = Number(new URL(services.alive('api')[0]!.url!).port);
    const state = user.folder(`${name}-state`);
    agent = await AgentProcess.begin({ user, port, token: TOKEN }, `${name}-agent`, ['--cores', '4', '--state', state]).joined();
    return services;
  };

  /** Runs commands of the page as a person would, in the folder with `backup.cnf`. */
  const type = (commands: string): { code: number | null; out: string } => {
    const { user: name, password, host, port } = parseDatabaseUrl(place.url) as Record<string, string>;
    writeFileSync(
      path.join(user.path, 'backup.cnf'),
      `[client]\nprotocol=tcp\nhost=${host}\nport=${port}\nuser=${name}\npassword=${password}\n`,
      { mode: 0o600 },
    );
    const env = {
      ...user.env,
      PATH: `${user.folder('bin')}:${process.env.PATH}`,
      DATABASE: new URL(place.url).pathname.slice(1),
      RESTORED: restored.pathname.slice(1),
      JOBMON__DB__URL: restored.toString(),
    };
    const done = spawnSync('sh', ['-e', '-c', commands], { cwd: user.path, env, encoding: 'utf8' });
    return { code: done.status, out: `${done.stdout}${done.stderr}` };
  };

  it('of a running workflow is restored into a second database, where services finish the workflow', async () => {
    const first = await start('first', place.url);
    const run = await submitWitnessed(user, first.connection(), { tasks: TASKS, width: 5, seconds: () => 0.5 });
    // Done in the database, not only ended: a report comes later than the end that it tells.
    const done = async (): Promise<number> => {
      const [rows] = await runSql(place.url, [
        `SELECT COUNT(*) AS done FROM task WHERE workflow_id = ${run.workflowId} AND status = 'D'`,
      ]);
      return Number(rows![0]!.done);
    };
    await until('some tasks are done', async () => (await done()) >= 4, 120_000);
    expect(type(commandsOf('mariadb-dump'))).toEqual({ code: 0, out: '' });

    // All of the first system is lost, but for the file.
    await agent!.end('SIGKILL');
    await first.stop('SIGKILL');
    symlinkSync(path.join(ROOT, 'dist', 'apps', 'admin', 'main.js'), path.join(user.folder('bin'), 'jobmon-server'));
    expect(type(commandsOf('mariadb'))).toEqual({ code: 0, out: '' });
    const status = type(commandsOf('jobmon-server'));
    expect([status.code, status.out]).toEqual([0, expect.stringContaining('services of this release work on it')]);

    const statuses = async (): Promise<Record<string, unknown>[]> => {
      const [rows] = await runSql(restored.toString(), [
        `SELECT name, status FROM task WHERE workflow_id = ${run.workflowId} ORDER BY id`,
      ]);
      return rows!;
    };
    // The file has the middle of the workflow.
    const before = await statuses();
    const doneBefore = before.filter(({ status }) => status === 'D').map(({ name }) => name);
    expect([before.length, doneBefore.length >= 1, doneBefore.length < TASKS]).toEqual([TASKS, true, true]);
    const [lost] = await runSql(restored.toString(), [`SELECT id FROM task_instance WHERE status IN ('I', 'O', 'R')`]);

    const witnessed = readWitness(user).length;
    await start('second', restored.toString());
    const runStatus = async (): Promise<unknown> =>
      (await runSql(restored.toString(), [`SELECT status FROM workflow_run WHERE id = ${run.workflowRunId}`]))[0]![0]!.status;
    await until('the run has ended', async () => !['B', 'I', 'O', 'R'].includes(String(await runStatus())), 180_000);
    expect(await runStatus()).toBe('D');
    expect((await statuses()).filter(({ status }) => status !== 'D')).toEqual([]);
    // What was done at the backup has not run again; what an agent had then ended as unknown.
    const again = readWitness(user)
      .slice(witnessed)
      .filter(({ what }) => what === 'start')
      .map(({ task }) => `task_${task}`);
    expect(again.filter((name) => doneBefore.includes(name))).toEqual([]);
    for (const { id } of lost!) {
      const [rows] = await runSql(restored.toString(), [`SELECT status FROM task_instance WHERE id = ${String(id)}`]);
      expect(['U', 'W']).toContain(rows![0]!.status);
    }
  }, 300_000);
});
