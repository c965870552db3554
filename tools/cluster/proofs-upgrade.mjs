/**
 * Upgrades of the installed system that go wrong in ways a rendered chart can't tell: two at one time, a helm that dies in the middle, a migration that
 * hangs, services older than the schema. The system serves on through each, and docs/operating/upgrade.md has the cures that are typed here.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

const SECONDS_MAX = 180;
const LONG = ['--wait', '--timeout', `${SECONDS_MAX}s`];
/** After which a migration that hangs is given up. */
const HANG_SECONDS = 20;
/** That of migrations of the database `docker`, as libs/entities/src/mariadb-migration.ts names it. */
const LOCK = `jobmon_migration_${createHash('sha256').update('docker').digest('hex').slice(0, 40)}`;
const NEWER = 'ByANewerRelease9999999999999';

/** These proofs of an installed `system` (system.mjs). */
export function upgradeProofs(system) {
  const names = () =>
    system
      .pods()
      .map(({ metadata }) => metadata.name)
      .sort()
      .join();

  async function until(what, holds) {
    const began = Date.now();
    while (!(await holds())) {
      if (Date.now() - began > SECONDS_MAX * 1_000) throw new Error(`waited ${SECONDS_MAX} s in vain until ${what}`);
      await pause(100);
    }
    return ((Date.now() - began) / 1_000).toFixed(1);
  }

  /** What the call throws; it must. */
  function refusal(call, what) {
    try {
      call();
    } catch (error) {
      return error.message;
    }
    throw new Error(`${what} succeeded`);
  }

  const statusOfRelease = () => JSON.parse(system.release('status', '-o', 'json')).info.status;

  /** `helm upgrade` as a process of its own, once the release is marked as being upgraded. */
  async function upgrading(values, ...flags) {
    const args = system.chartArgs('upgrade', ...LONG, ...flags);
    const child = spawn('helm', args, { env: system.env, stdio: ['pipe', 'ignore', 'pipe'] });
    system.undo.push(() => child.kill('SIGKILL'));
    let said = '';
    child.stderr.on('data', (data) => (said += data));
    const ended = new Promise((resolve) => child.once('close', (code) => resolve({ code, said })));
    child.stdin.end(JSON.stringify(values));
    await until('the release is being upgraded', () => statusOfRelease() === 'pending-upgrade');
    return { child, ended };
  }

  /** The second of two upgrades is refused, and the first goes through; one whose helm was killed is undone by a rollback. */
  async function twice() {
    const first = await upgrading(system.values({ level: 'debug' }));
    const said = refusal(() => system.helm('upgrade', system.values(), ...LONG), 'a second upgrade during the first');
    if (!/another operation \(install\/upgrade\/rollback\) is in progress/.test(said)) throw new Error(said);
    const { code, said: complaint } = await first.ended;
    if (code !== 0) throw new Error(`the first upgrade failed: ${complaint}`);
    const killed = await upgrading(system.values());
    killed.child.kill('SIGKILL');
    await killed.ended;
    refusal(() => system.helm('upgrade', system.values(), ...LONG), 'an upgrade after a killed one');
    // Its Job may run on; the next migration waits for the database's lock.
    system.release('rollback', ...LONG);
    system.helm('upgrade', system.values(), ...LONG);
    return `the second is refused, the first goes through; after a kill -9 of helm: rollback, then upgraded; ${system.helmTest()}`;
  }

  /** A migration that waits for a lock which nobody gives back is given up in time; nothing was replaced, and the next try goes through. */
  async function hang() {
    const before = names();
    const values = system.values({ level: 'debug' });
    values.migration = { attempts: 1, deadlineSeconds: HANG_SECONDS };
    const [at, name] = system.sql('SELECT timestamp, name FROM migrations ORDER BY id DESC LIMIT 1').split('\t');
    const holder = system.sqlSession(`SELECT GET_LOCK('${LOCK}', 0); SELECT SLEEP(3600)`);
    await until('the lock is held', () => system.sql(`SELECT IS_USED_LOCK('${LOCK}')`) !== 'NULL');
    const began = Date.now();
    let ended;
    try {
      // A step is due until the migration waits; what serves looks at the schema too and is not to miss it for longer.
      system.sql(`DELETE FROM migrations WHERE name = '${name}'`);
      ({ ended } = await upgrading(values, '--atomic'));
      const waits = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'migrate' AND STATE = 'User lock'";
      await until('the migration waits', () => system.sql(waits) !== '0');
    } finally {
      system.sql(`INSERT INTO migrations (timestamp, name) VALUES (${at}, '${name}')`);
    }
    const { code, said } = await ended;
    holder.kill();
    const took = ((Date.now() - began) / 1_000).toFixed(1);
    if (code === 0 || !/DeadlineExceeded|deadline/.test(said)) throw new Error(`exit code ${code}: ${said}`);
    system.kubectl('delete', 'job', 'jobmon-migrate');
    if (names() !== before) throw new Error(`pods were replaced: ${before} became ${names()}`);
    const test = system.helmTest();
    system.helm('upgrade', system.values({ level: 'debug' }), ...LONG);
    return `given up after ${took} s, no pod replaced, ${test}; the next try went through`;
  }

  /** Pods of an image that does not know the schema are not ready and say why; those that serve already are not taken away for them. */
  async function olderImage() {
    const before = names();
    const rule = system.sql('SELECT needs_migration FROM schema_rule WHERE id = 1');
    const release = system.sql('SELECT oldest_release FROM schema_rule WHERE id = 1');
    const setRule = (migration, oldest) =>
      system.sql(`UPDATE schema_rule SET needs_migration = '${migration}', oldest_release = '${oldest}' WHERE id = 1`);
    system.sql(`INSERT INTO migrations (timestamp, name) VALUES (9999999999999, '${NEWER}')`);
    setRule(NEWER, '99.0.0');
    let said;
    try {
      system.kubectl('rollout', 'restart', 'deployment/jobmon-api');
      const fresh = () =>
        system.pods().find(({ metadata }) => /^jobmon-api-/.test(metadata.name) && !before.includes(metadata.name));
      await until('there is a pod more', () => fresh() !== undefined);
      const name = fresh().metadata.name;
      await until('it says why it waits', () => {
        said = /"message":"([^"]*99\.0\.0[^"]*)"/.exec(system.kubectl('logs', name))?.[1];
        return said !== undefined;
      });
      if (fresh().status.containerStatuses.some(({ ready }) => ready))
        throw new Error(`${name} is ready on a schema that it does not know`);
      const lost = before.split(',').filter((old) => !names().includes(old));
      if (lost.length > 0) throw new Error(`${lost.join(', ')} went before a new one was ready`);
    } finally {
      system.sql(`DELETE FROM migrations WHERE name = '${NEWER}'`);
      setRule(rule, release);
    }
    system.rolledOut();
    return `not ready, the others serve on; its log: ${said}`;
  }

  return [
    { name: 'twice', prove: twice },
    { name: 'hang', prove: hang },
    { name: 'older-image', prove: olderImage },
  ];
}
