// `npm run services [-- --each N] [--data FOLDER]`: the five services as processes of their own over a private MariaDB and a private NATS,
// for a look around. Prints where everything is, and stops all of it on Ctrl-C, or when it is killed itself. The database stays in its
// folder and is found again.
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startKeeper } from './keeper.mjs';
import { setUp } from './setup.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const SERVICES = ['state-machine', 'scheduler', 'log-sink', 'reaper', 'api'];
const READY_SECONDS_MAX = 120;
const EACH_MAX = 20;
/** Longest orderly stop of a service; then it is killed. */
const STOP_MS_MAX = 22_000;
/** Longest orderly stop of MariaDB and NATS. */
const SERVER_STOP_MS_MAX = 10_000;
const API_PORT = 8070;

const mainOf = (app) => path.join(ROOT, 'dist', 'apps', app, 'main.js');

function flags() {
  const options = { each: { type: 'string', default: '1' }, data: { type: 'string' } };
  const { values } = parseArgs({ options });
  const each = Number(values.each);
  if (!Number.isInteger(each) || each < 1 || each > EACH_MAX) {
    throw new Error(`--each must be a whole number from 1 to ${EACH_MAX}, not '${values.each}'`);
  }
  const base = process.env.XDG_DATA_HOME?.startsWith('/') ? process.env.XDG_DATA_HOME : path.join(homedir(), '.local', 'share');
  return { each, folder: path.resolve(values.data ?? path.join(base, 'jobmon', 'services')) };
}

/** Kept between starts, so that agents and programs find the services again. */
function tokenIn(folder) {
  const file = path.join(folder, 'token');
  if (!existsSync(file)) writeFileSync(file, randomBytes(24).toString('hex'), { mode: 0o600 });
  return readFileSync(file, 'utf8').trim();
}

/** One start at a time in one folder: two servers over the same files would destroy them. */
function hold(folder) {
  const file = path.join(folder, 'pid');
  const former = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
  if (former > 0 && isAlive(former)) {
    throw new Error(`The services in ${folder} run already (process ${former}): stop them, or name another folder by --data.`);
  }
  writeFileSync(file, String(process.pid));
  return () => rmSync(file, { force: true });
}

function isAlive(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('services.mjs');
  } catch {
    return false;
  }
}

/** A service that ends although nobody told it to is started again after a second: whatever runs services does that. */
class Service {
  constructor(name, number, env, folder, keeper) {
    this.keeper = keeper;
    this.name = `${name}-${number}`;
    this.main = mainOf(name);
    this.env = { ...env, JOBMON__SERVICE__INSTANCE_ID: this.name };
    this.log = path.join(folder, `${this.name}.log`);
    this.isWanted = true;
    this.begin();
  }

  begin() {
    const output = openSync(this.log, 'w');
    this.child = spawn(process.execPath, ['--enable-source-maps', this.main], {
      cwd: ROOT,
      env: this.env,
      stdio: ['ignore', output, output],
      // Ctrl-C reaches this program alone, which then stops all of them in order.
      detached: true,
    });
    closeSync(output);
    const { child } = this;
    this.keeper.keep(child, STOP_MS_MAX);
    child.on('exit', (code, signal) => {
      this.keeper.forget(child);
      if (!this.isWanted) return;
      console.log(`${this.name} ended (${code ?? signal}) and is started again; see ${this.log}`);
      setTimeout(() => this.isWanted && this.begin(), 1_000);
    });
  }

  lineThatSays(message) {
    const lines = readFileSync(this.log, 'utf8').split('\n');
    const line = lines.findLast((text) => text.includes(`"message":"${message}"`));
    return line === undefined ? undefined : JSON.parse(line);
  }

  async ready() {
    const deadline = Date.now() + READY_SECONDS_MAX * 1_000;
    for (;;) {
      const front = this.lineThatSays('health and metrics are here')?.url;
      const answer = front && (await fetch(`${front}/health/ready`).catch(() => undefined));
      if (answer?.status === 200) return { front, url: this.lineThatSays('serves')?.url };
      if (Date.now() > deadline) throw new Error(`${this.name} is not ready after ${READY_SECONDS_MAX} s; see ${this.log}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async stop() {
    this.isWanted = false;
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS_MAX);
    await ended;
    clearTimeout(timer);
  }
}

const undo = [];
let ending;

/** Last begun, first stopped. Called again, the same stop. */
function end() {
  ending ??= (async () => {
    for (const step of undo.reverse()) {
      try {
        await step();
      } catch (error) {
        console.error(error instanceof Error ? error.message : error);
        process.exitCode = 1;
      }
    }
  })();
  return ending;
}

async function main() {
  const { each, folder } = flags();
  setUp();
  // Loaded now and not before: without packages the imports would fail.
  const [{ build }, { startMariadb }, { startNats }] = await Promise.all([
    import('./build.mjs'),
    import('./mariadb.mjs'),
    import('./nats.mjs'),
  ]);
  await build();
  const logs = path.join(folder, 'logs');
  mkdirSync(logs, { recursive: true });
  undo.push(hold(folder));

  const keeper = startKeeper();
  const mariadb = await startMariadb(path.join(folder, 'mariadb'));
  keeper.keep(mariadb, SERVER_STOP_MS_MAX);
  undo.push(() => mariadb.stop());
  const nats = await startNats(path.join(folder, 'nats'));
  keeper.keep(nats, SERVER_STOP_MS_MAX);
  undo.push(() => nats.stop());
  const database = `${mariadb.url}/jobmon`;
  const made = spawnSync(
    'mariadb',
    ['--no-defaults', '-h127.0.0.1', `-P${mariadb.port}`, '-ujobmon', '-e', 'CREATE DATABASE IF NOT EXISTS jobmon'],
    { env: { ...process.env, MYSQL_PWD: mariadb.password }, encoding: 'utf8' },
  );
  if (made.status !== 0) throw new Error(`The database could not be made: ${made.stderr}`);
  const settings = {
    JOBMON__DB__URL: database,
    JOBMON__NATS__URL: nats.url,
    JOBMON__HTTP__TOKEN: tokenIn(folder),
    JOBMON__SERVICE__DRAIN_SECONDS: '0',
  };
  const env = { ...process.env, ...settings };
  const migrated = spawnSync(process.execPath, [mainOf('admin'), 'db', 'migrate'], {
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (migrated.status !== 0) throw new Error('The schema could not be brought to this release; see above.');

  const services = SERVICES.filter((name) => existsSync(mainOf(name))).flatMap((name) =>
    Array.from({ length: each }, (_, index) => {
      // The first api is where people look for one; all others take any free port.
      const port = name === 'api' && index === 0 ? String(process.env.JOBMON__HTTP__PORT ?? API_PORT) : '0';
      return new Service(name, index + 1, { ...env, JOBMON__HTTP__PORT: port }, logs, keeper);
    }),
  );
  undo.push(() => Promise.all(services.map((service) => service.stop())));
  const fronts = await Promise.all(services.map(async (service) => ({ service, ...(await service.ready()) })));
  if (ending !== undefined) return;

  const apis = fronts.flatMap(({ url }) => (url === undefined ? [] : [url]));
  const rows = fronts.map(({ service, front }) => `  ${service.name.padEnd(18)}${front}/health/ready  ${front}/metrics`);
  console.log(`
The services run. Logs: ${logs}

${rows.join('\n')}

  api       ${apis.join('  ')}
  token     ${settings.JOBMON__HTTP__TOKEN}
  database  ${database}
  NATS      ${nats.url}

To use them from another terminal, with an agent and a workflow:

  export JOBMON__HTTP__SERVICE_URL=${apis[0]} JOBMON__HTTP__TOKEN=${settings.JOBMON__HTTP__TOKEN}
  npx jobmon agent &
  npx jobmon workflow list

Ctrl-C stops everything; the database stays in ${path.join(folder, 'mariadb')}.`);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    if (ending === undefined) console.log('Stopping.');
    void end().then(() => process.exit());
  });
}
try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
  await end();
}
