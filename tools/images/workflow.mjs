/**
 * All images at work: a real MariaDB with the accounts of docker/accounts.sql, a real NATS, the schema by the admin image, one container of
 * each service and one agent, a workflow of six commands in four tiers, typed in a further container, and one of the published Python client. Then each is
 * told to end.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startMariadb } from '../mariadb.mjs';
import { startNats } from '../nats.mjs';
import { freePort } from '../server.mjs';
import { makeAccounts } from './accounts.mjs';
import { Container, runToEnd } from './container.mjs';
import { runPythonClient } from './python.mjs';

const READY_SECONDS_MAX = 120;
const WORKFLOW_SECONDS_MAX = 180;
/** What a service promises for its orderly end, and some. */
const STOP_MS_MAX = 22_000;

/** Six commands in four tiers; the last two leave processes behind that lose their parents. */
const FLOW = `tool: images
cluster: multiprocess
tasks:
  start: {command: 'id -u | grep -qx 1000 && ! touch /opt/jobmon/x 2>/dev/null'}
  left: {command: 'sleep 0.2', needs: start}
  right: {command: 'sleep 0.1', needs: start}
  join: {command: 'test "$(cat /proc/1/comm)" = agent-init', needs: [left, right]}
  orphans: {command: '(sleep 0.3 &) ; true', needs: join}
  others: {command: '(setsid sleep 0.3 >/dev/null 2>&1 &) ; true', needs: join}
`;

/** Answers what was seen, with a sentence; adds `ready_ms` and `stopped_ms` to the rows. Throws with the place of the logs when something fails. */
export async function runWorkflow(storage, { root, tag, rows, say }) {
  const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-images-'));
  const undo = [];
  let isWell = false;
  try {
    const answer = await story({ root, tag, rows, say, folder, undo });
    isWell = true;
    return answer;
  } catch (error) {
    throw new Error(`${error.message}\nLogs: ${folder}`);
  } finally {
    for (const step of undo.reverse()) await step();
    if (isWell) rmSync(folder, { recursive: true, force: true });
  }
}

async function story({ root, rows, say, folder, undo }) {
  const rowOf = (name) => rows.find(({ process }) => process === name);
  const logOf = (name) => path.join(folder, `${name}.log`);
  say('Starting MariaDB and NATS');
  const mariadb = await startMariadb(path.join(folder, 'mariadb'));
  undo.push(() => mariadb.stop());
  const nats = await startNats(path.join(folder, 'nats'));
  undo.push(() => nats.stop());
  const accounts = makeAccounts(root, mariadb);

  const asMigrate = { JOBMON__DB__URL: accounts.migrate.url };
  const migrated = await runToEnd(rowOf('admin'), { args: ['db', 'migrate'], env: asMigrate, log: logOf('admin') });
  expect(migrated.code === 0, `jobmon-server db migrate ended with ${migrated.code}: ${migrated.text}`);
  const status = await runToEnd(rowOf('admin'), { args: ['db', 'status'], env: asMigrate, log: logOf('admin') });
  expect(status.code === 0, `jobmon-server db status ended with ${status.code}: ${status.text}`);

  const token = randomBytes(24).toString('hex');
  const services = [];
  for (const name of ['state-machine', 'scheduler', 'log-sink', 'reaper', 'api']) {
    const env = {
      JOBMON__DB__URL: accounts.app.url,
      JOBMON__NATS__URL: nats.url,
      JOBMON__SERVICE__PORT: String(await freePort()),
    };
    // A password is only for those who check it.
    if (name === 'api')
      Object.assign(env, {
        JOBMON__HTTP__PORT: String(await freePort()),
        JOBMON__HTTP__TOKEN: token,
        JOBMON__HTTP__OPEN: 'true',
      });
    say(`Starting jobmon/${name}`);
    const container = new Container(rowOf(name), { env, log: logOf(name) });
    undo.push(() => container.stop('SIGKILL'));
    services.push({ name, env, container, began: Date.now() });
  }
  for (const service of services) await ready(service, rowOf(service.name));
  for (const { name, env, container } of services) {
    const own = readFileSync(`/proc/${container.pid}/status`, 'utf8');
    expect(
      /^Uid:\t1000\t1000\t1000\t1000$/m.test(own) && /^CapEff:\t0+$/m.test(own),
      `${name} does not run as a plain user 1000`,
    );
    const command = ['node', '/opt/jobmon/healthcheck.js'];
    const well = await runToEnd(rowOf(name), { command, env, log: logOf('health') });
    expect(well.code === 0, `the health check of ${name} ended with ${well.code} beside a service that is well`);
  }
  const nobody = { JOBMON__SERVICE__PORT: String(await freePort()) };
  const dead = await runToEnd(rowOf('api'), {
    command: ['node', '/opt/jobmon/healthcheck.js'],
    env: nobody,
    log: logOf('health'),
  });
  expect(dead.code === 1, `the health check ended with ${dead.code} where nobody listens`);

  const url = `http://127.0.0.1:${services.at(-1).env.JOBMON__HTTP__PORT}`;
  const client = { JOBMON__HTTP__SERVICE_URL: url, JOBMON__HTTP__TOKEN: token };
  say('Starting jobmon/agent');
  const agent = new Container(rowOf('agent'), {
    args: ['--cores', '4', '--memory', '1G'],
    env: client,
    folder: '/tmp',
    log: logOf('agent'),
  });
  undo.push(() => agent.stop('SIGKILL'));

  say('Running a workflow through them');
  const began = Date.now();
  const script = 'printf "%s" "$FLOW" > flow.yaml && exec jobmon run flow.yaml';
  const options = {
    command: ['timeout', String(WORKFLOW_SECONDS_MAX), 'sh', '-c', script],
    env: { ...client, FLOW },
    folder: '/tmp',
  };
  const run = await runToEnd(rowOf('agent'), { ...options, log: logOf('run') });
  const workflow_ms = Date.now() - began;
  expect(run.code === 0, `the workflow ended with exit code ${run.code}: ${run.text}`);
  await until(
    () => agent.zombies().length === 0,
    () => `${agent.zombies().length} processes of the agent's container were never waited for`,
  );

  say("Running a Python client's workflow through them");
  const python = await runPythonClient({ root, url, folder: path.join(folder, 'python') });

  say('Telling all of them to end');
  for (const { name, container } of [{ name: 'agent', container: agent }, ...services]) {
    const { code, ms } = await container.stop();
    expect(code === 0 && ms <= STOP_MS_MAX, `${name} ended with ${code} after ${ms} ms, ${logOf(name)} says why`);
    rowOf(name).stopped_ms = ms;
  }
  return {
    tasks: 6,
    workflow_ms,
    python_ms: python.ms,
    sentence:
      `6 of 6 commands DONE after ${(workflow_ms / 1000).toFixed(1)} s, those of a Python client after ` +
      `${(python.ms / 1000).toFixed(1)} s, every process ended with exit code 0`,
  };
}

/** Waits until a service says that it is ready, and notes how long that took. */
async function ready({ name, env, container, began }, row) {
  const url = `http://127.0.0.1:${env.JOBMON__SERVICE__PORT}/health/ready`;
  const deadline = began + READY_SECONDS_MAX * 1_000;
  for (;;) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.status === 200) break;
    expect(
      container.end === undefined,
      `${name} ended with ${container.end}: ${readFileSync(container.log, 'utf8').slice(-1_000)}`,
    );
    expect(Date.now() < deadline, `${name} is not ready after ${READY_SECONDS_MAX} s: ${answer && (await answer.text())}`);
    await pause();
  }
  row.ready_ms = Date.now() - began;
}

async function until(isSo, complaint) {
  const deadline = Date.now() + 10_000;
  while (!isSo()) {
    expect(Date.now() < deadline, complaint());
    await pause();
  }
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 50));

function expect(isSo, complaint) {
  if (!isSo) throw new Error(complaint);
}
