/**
 * What the chart's pods would run, run as processes: the built-in MariaDB by its start script, NATS by its configuration, the migration, all services with the
 * environment of the rendered objects, and the test of `helm test`. Only names become loopback addresses, and folders
 * temporary ones.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildHouse, describeApart, freePort, ServiceProcess, SERVICES, until } from '@jobmon/testkit';
import { BUILT_IN, objectsOf, renderText, type KubernetesObject } from './chart';

const ROOT = join(__dirname, '..');
const PATH = `${process.env['PATH']}:/usr/sbin:/sbin`;
/** Servers refuse to run as root; they get the user of nobody then, as they get one of their own in a pod. */
const ORDINARY = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

interface EnvironmentEntry {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: { readonly secretKeyRef?: { readonly name: string; readonly key: string } };
}

describeApart('the chart with everything built in', () => {
  let folder: string;
  let objects: KubernetesObject[];
  const ports = { database: 0, nats: 0, health: 0, api: 0 };
  const children: ChildProcess[] = [];
  const services: ServiceProcess[] = [];
  const said: Record<string, string> = {};

  /** The environment that a container of this owner gets. */
  function environmentOf(owner: string, container = 0): NodeJS.ProcessEnv {
    const { kind, spec } = objects.find(
      ({ metadata, kind }) => metadata.name === owner && ['Deployment', 'Job', 'Pod'].includes(kind),
    )!;
    const pod = kind === 'Pod' ? spec : spec.template.spec;
    const entries = [...(pod.initContainers ?? []), ...pod.containers][container].env as EnvironmentEntry[];
    const env: NodeJS.ProcessEnv = { PATH: `${folder}/bin:${PATH}`, HOME: folder, TMPDIR: folder };
    for (const { name, value, valueFrom } of entries) {
      const wanted = valueFrom?.secretKeyRef;
      const secret = wanted && objects.find(({ kind, metadata }) => kind === 'Secret' && metadata.name === wanted.name);
      if (wanted) env[name] = Buffer.from(secret!['data'][wanted.key] as string, 'base64').toString();
      else if (value !== undefined) {
        env[name] = value
          .replace('jobmon-database:3306', `127.0.0.1:${ports.database}`)
          .replace('jobmon-nats:4222', `127.0.0.1:${ports.nats}`)
          .replace('http://jobmon-api:80', `http://127.0.0.1:${ports.api}`);
      }
    }
    return env;
  }
  function begin(name: string, args: readonly string[], env: NodeJS.ProcessEnv): void {
    const child = spawn(args[0]!, args.slice(1), { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], ...ORDINARY });
    said[name] = '';
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text: Buffer) => (said[name] += text.toString()));
    child.on('error', (error) => (said[name] += error.message));
    children.push(child);
  }
  function admin(args: readonly string[], env: NodeJS.ProcessEnv) {
    const main = join(ROOT, 'dist', 'apps', 'admin', 'main.js');
    return spawnSync(process.execPath, [main, ...args], { env, cwd: folder, encoding: 'utf8' });
  }

  beforeAll(async () => {
    buildHouse();
    folder = mkdtempSync(join(tmpdir(), 'jobmon-chart-'));
    chmodSync(folder, 0o777);
    for (const name of ['bin', 'mariadb', 'nats']) {
      mkdirSync(join(folder, name));
      if (ORDINARY.uid !== undefined) chownSync(join(folder, name), ORDINARY.uid, ORDINARY.gid);
    }
    const main = join(ROOT, 'dist', 'apps', 'cli', 'main.js');
    writeFileSync(join(folder, 'bin', 'jobmon'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`, { mode: 0o755 });
    for (const name of Object.keys(ports) as (keyof typeof ports)[]) ports[name] = await freePort();
    objects = objectsOf(renderText(ROOT, BUILT_IN));
    for (const file of ['start.sh', 'nats.conf', 'run.sh', 'tasks.yaml']) {
      const { data } = objects.find(({ kind, data }) => kind === 'ConfigMap' && data[file] !== undefined)!;
      writeFileSync(join(folder, file), (data[file] as string).replace('store_dir: /data', `store_dir: ${join(folder, 'nats')}`));
    }
    const local = {
      ADDRESS: '127.0.0.1',
      PORT: String(ports.database),
      SOCKET: join(folder, 'mariadb', 's'),
      BUFFER_POOL: '32M',
    };
    begin('database', ['sh', join(folder, 'start.sh')], {
      ...environmentOf('jobmon-database'),
      ...local,
      FOLDER: join(folder, 'mariadb'),
    });
    const flags = ['-a', '127.0.0.1', '-p', String(ports.nats), '-m', String(ports.health)];
    begin('nats', ['nats-server', '-c', join(folder, 'nats.conf'), ...flags], environmentOf('jobmon-nats'));
  }, 120_000);

  afterAll(async () => {
    await Promise.all(services.map((service) => service.end('SIGKILL')));
    for (const child of children) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }, 60_000);

  it('migrates by its own account, and the account of the services can not change a table', async () => {
    // The Job is tried again until the database answers.
    let last = admin([], {});
    const isDone = (): boolean => (last = admin(['db', 'migrate'], environmentOf('jobmon-migrate-first'))).status === 0;
    await until('the migration is done', isDone, 120_000).catch((error: Error) => {
      throw new Error(`${error.message}: ${last.stderr} ${said['database']}`);
    });
    expect(last.stderr).toMatch(/the schema has version/);
    const refused = admin(['db', 'status'], environmentOf('jobmon-admin'));
    expect([refused.status, refused.stderr]).toEqual([0, '']);
    const env = environmentOf('jobmon-admin');
    const sql = [
      '--protocol=tcp',
      '-h127.0.0.1',
      `-P${ports.database}`,
      `-u${env['JOBMON__DB__USER']}`,
      'jobmon',
      '-e',
      'DROP TABLE task',
    ];
    const dropped = spawnSync('mariadb', sql, { env: { ...env, MYSQL_PWD: env['JOBMON__DB__PASSWORD'] }, encoding: 'utf8' });
    expect(dropped.stderr).toMatch(/DROP command denied to user 'app'/);
  }, 180_000);

  it('serves with the environment of its pods, and the six tasks of `helm test` are done', async () => {
    for (const name of SERVICES) {
      const local = { JOBMON__SERVICE__PORT: '0', JOBMON__SERVICE__HOST: '127.0.0.1', JOBMON__SERVICE__INSTANCE_ID: name };
      const http = name === 'api' ? { JOBMON__HTTP__PORT: String(ports.api), JOBMON__HTTP__HOST: '127.0.0.1' } : {};
      services.push(
        new ServiceProcess(name, name, join(folder, `${name}.log`), { ...environmentOf(`jobmon-${name}`), ...local, ...http }),
      );
    }
    await Promise.all(services.map((service) => service.ready())).catch((error: Error) => {
      throw new Error(`${error.message}\n${said['nats']}`);
    });

    const [step] = objects.find(({ kind }) => kind === 'Pod')!['spec'].initContainers as { command: string[] }[];
    expect(step!.command.at(-1)).toContain(
      "jobmon-server token create 'helm test' --user helm-test --role operator --expires 30m",
    );
    const args = ['token', 'create', 'helm test', '--user', 'helm-test', '--role', 'operator', '--expires', '30m'];
    const token = admin(args, environmentOf('jobmon-smoke-test', 0));
    expect([token.status, token.stdout]).toEqual([0, expect.stringMatching(/^jobmon_/)]);
    writeFileSync(join(folder, 'token'), token.stdout);

    const env = {
      ...environmentOf('jobmon-smoke-test', 1),
      FILES: folder,
      TOKEN_FILE: join(folder, 'token'),
      SECONDS_MAX: '120',
    };
    const child = spawn('sh', [join(folder, 'run.sh')], { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => (text += part.toString()));
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect([code, text]).toEqual([0, expect.stringContaining('The six tasks are done.')]);
    expect(services.filter(({ hasEnded }) => hasEnded)).toEqual([]);
  }, 300_000);

  it('tells Prometheus every metric, with its labels, that the alerts ask for', async () => {
    const answers = await Promise.all(services.map(({ service_url }) => fetch(`${service_url}/metrics`)));
    const metrics = (await Promise.all(answers.map((answer) => answer.text()))).join('\n');
    const rule = objectsOf(renderText(ROOT, { ...BUILT_IN, monitoring: { prometheusRule: true } })).find(
      ({ kind }) => kind === 'PrometheusRule',
    )!;
    const asked = new Set<string>();
    for (const { expr } of rule['spec'].groups[0].rules as { expr: string }[])
      for (const [, metric = '', labels = ''] of expr.matchAll(/(jobmon_\w+)\{([^}]*)\}/g)) {
        expect(metrics).toMatch(new RegExp(`^${metric}[ {]`, 'm'));
        // What Prometheus adds is not told by a process.
        for (const [, label = ''] of labels.matchAll(/(\w+)[!=]/g))
          if (!['namespace', 'pod'].includes(label)) expect(metrics).toMatch(new RegExp(`^${metric}\\{[^}]*\\b${label}="`, 'm'));
        asked.add(metric);
      }
    expect([...asked].sort()).toEqual([
      'jobmon_log_records_total',
      'jobmon_need_up',
      'jobmon_nodejs_eventloop_lag_p50_seconds',
      'jobmon_request_seconds_bucket',
    ]);
  });
});
