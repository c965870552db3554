/**
 * Work for the installed system while it is left alone, replaced and struck: `npm run bench -- standing`, whose agents and Python client are on this
 * machine and reach the api by its Service. What its commands wrote down themselves is held against the database.
 */
import { spawn, spawnSync } from 'node:child_process';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** At the four ports of 127.0.0.1 from here on clients' answers are counted. */
const WIRE_PORT = 16470;
const WIRES = 4;
/** Names that the api has to answer to. */
export const WIRE_HOSTS = Array.from({ length: WIRES }, (_, at) => `127.0.0.1:${WIRE_PORT + at}`);
const LEAST_TASKS = 200;
const TASKS = 1_500;
/** As the rolling update of upgrade.md promises. */
const WAIT_SECONDS_MAX = 5;
const WORKING_MS_MAX = 300_000;
/** Between two blows, so that work goes on after each. */
const BREATH_MS = 8_000;
const GONE_MS_MAX = 30_000;

/**
 * Starts work on an installed `system` (system.mjs). Answers when its first commands run, with what tells whether it has ended and its last line when
 * it has.
 */
async function beginWork(system, name, tasks) {
  const { url, database } = system.reached();
  const args = ['--url', url, '--database', database, '--port', String(WIRE_PORT), '--name', name, '--tasks', String(tasks)];
  const env = { ...process.env, JOBMON__HTTP__TOKEN: system.token, JOBMON_TEST_MARIADB_URL: 'none is needed' };
  const bench = path.join(system.root, 'tools', 'bench.mjs');
  const child = spawn(process.execPath, [bench, 'standing', ...args], { env });
  system.undo.push(() => child.kill());
  let said = '';
  let working = () => {};
  const isWorking = new Promise((resolve) => (working = resolve));
  const ended = new Promise((resolve) => child.once('close', resolve));
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data) => {
      said += data;
      if (/^working$/m.test(said)) working(true);
    });
  const end = ended.then(() => {
    try {
      return JSON.parse(said.trim().split('\n').at(-1));
    } catch {
      throw new Error(`the work ended early: ${said.trim().slice(-2_000)}`);
    }
  });
  end.catch(() => {});
  const patience = new AbortController();
  const began = await Promise.race([isWorking, end, pause(WORKING_MS_MAX, 'late', { signal: patience.signal })]);
  patience.abort();
  if (began !== true) throw new Error(`the work did not begin: ${said.trim().slice(-2_000)}`);
  // What was waited for may have kept this process from hearing of it.
  const hasEnded = () => Promise.race([ended.then(() => true), pause(100, false)]);
  return { hasEnded, end };
}

/** What the work came to, in a sentence. */
function told({ tasks, seconds, answers, longest_wait, started }) {
  const counts = Object.entries(answers).map(([status, count]) => `${count} × ${status}`);
  const commands = Object.values(started).reduce((sum, count) => sum + count, 0);
  return (
    `${tasks} tasks of two native workflows and a Python client in ${seconds.toFixed(0)} s, ${commands} commands, ` +
    `answers ${counts.join(', ')}, longest wait ${longest_wait.toFixed(2)} s, lost 0, doubled 0`
  );
}

/** Throws what was lost, doubled or kept waiting. */
function expectClean({ violations, complaints, longest_wait }) {
  const wrong = [...violations, ...complaints];
  if (longest_wait > WAIT_SECONDS_MAX) wrong.push(`a client waited ${longest_wait.toFixed(2)} s`);
  if (wrong.length > 0) throw new Error(`${wrong.length} things are wrong: ${wrong.slice(0, 5).join('; ')}`);
}

/** The proofs of an installed `system` (system.mjs). */
export function workProofs(system) {
  /** Native workflows and one of the Python client, DONE through the Service. */
  async function workflows() {
    const came = await (await beginWork(system, 'calm', LEAST_TASKS)).end;
    expectClean(came);
    return told(came);
  }

  /** Every pod replaced twice under work: by a restart, and by an upgrade with another value. */
  async function load() {
    const wait = ['--wait', '--timeout', '600s'];
    system.helm('upgrade', system.values({ replicas: 2 }), ...wait);
    const work = await beginWork(system, 'load', TASKS);
    const before = system.pods().map(({ metadata }) => metadata.name);
    system.replaceAll();
    system.helm('upgrade', system.values({ replicas: 2, level: 'debug' }), ...wait);
    const kept = system.pods().filter(({ metadata }) => before.includes(metadata.name));
    if (kept.length > 0) throw new Error(`${kept.length} pods were not replaced`);
    if (await work.hasEnded()) throw new Error('the work had ended before the pods were replaced: it shows nothing');
    const came = await work.end;
    expectClean(came);
    return `${before.length} pods replaced twice: ${told(came)}`;
  }

  /** Blows, one after the other, while work goes on. */
  function plugs() {
    return strikeUnderWork(system, 'plugs', {
      'every pod': () => system.kubectl('delete', 'pod', '--all', '--grace-period=0', '--force'),
      kubelet: () => system.cluster('kubelet', '3'),
      NATS: () => system.strikeNats(),
      MariaDB: () => system.strikeMariadb(),
    });
  }

  return [
    { name: 'workflows', prove: workflows },
    { name: 'load', prove: load },
    { name: 'plugs', prove: plugs },
  ];
}

/** `blows`, one after the other, while `TASKS` tasks are at work; nothing may be lost or doubled. */
export async function strikeUnderWork(system, name, blows) {
  const work = await beginWork(system, name, TASKS);
  for (const [what, strike] of Object.entries(blows)) {
    await pause(BREATH_MS);
    if (await work.hasEnded()) throw new Error(`the work had ended before ${what} was struck: it shows nothing`);
    await strike();
  }
  const came = await work.end;
  if (came.violations.length > 0)
    throw new Error(`${came.violations.length} violations: ${came.violations.slice(0, 5).join('; ')}`);
  const again = came.complaints.filter((text) => text.startsWith('the Python client')).length;
  return `kill -9 of ${Object.keys(blows).join(', ')}: ${told(came)}; the Python client was started again ${again} times`;
}

/** The process is gone at once, without a goodbye. A child of this process is gone when this process has taken note of it, so it is waited for. */
export async function kill9(pid) {
  process.kill(pid, 'SIGKILL');
  const until = Date.now() + GONE_MS_MAX;
  while (spawnSync('kill', ['-0', String(pid)]).status === 0) {
    if (Date.now() > until) throw new Error(`process ${pid} still stands ${GONE_MS_MAX / 1_000} s after kill -9`);
    await pause(100);
  }
}
