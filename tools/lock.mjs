/**
 * A lock between processes: a folder that tells who holds it. Whoever finds it waits, and takes it over from a holder that has died. Uses
 * nothing but Node itself.
 *
 * The folder is made elsewhere and renamed into its place, so it is never seen without its holder. A process is named by host, pid and
 * start, since pids come again. The holder stands in the file `holder`; a dead one's heir in `after <name of the dead>`, which only one
 * process can make; the last of this chain holds the lock.
 */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';

/** Between two looks whether the lock is free. */
const LOOK_MS = 200;

/** When a process began, in ticks since the boot; empty where that can't be told: no Linux, no such process, or one that has ended. */
function startOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, ...rest] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' ? '' : rest[18];
  } catch {
    return '';
  }
}

/** This process; without slashes, since it is part of a file's name. */
const OWN = `${hostname().replaceAll(/[^\w.-]/g, '_')} ${process.pid} ${startOf(process.pid)}`;

/** Whether a named process is there; one of another host may be. */
function isAlive(name) {
  const [host, pid, start] = name.split(' ');
  if (host !== OWN.split(' ')[0]) return true;
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    if (error.code !== 'EPERM') return false;
  }
  return start === '' || startOf(pid) === start;
}

/** Reads a file of the lock; undefined when there is none, or no lock any more. */
function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  }
}

/** Who holds the lock; undefined when nobody does. */
function holderOf(lock) {
  let name = read(path.join(lock, 'holder'));
  for (let heir = name; heir !== undefined; heir = read(path.join(lock, `after ${name}`))) name = heir;
  return name;
}

/** Makes the lock, this process its holder. False: there is one. */
function make(lock) {
  const folder = `${lock} ${process.pid}`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  try {
    writeFileSync(path.join(folder, 'holder'), OWN);
    renameSync(folder, lock);
    return true;
  } catch (error) {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    return false;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Makes this process the heir of a dead holder. False: another one was faster. */
function inherit(lock, dead) {
  const will = `${lock} ${process.pid}`;
  writeFileSync(will, OWN);
  try {
    linkSync(will, path.join(lock, `after ${dead}`));
  } catch (error) {
    if (error.code !== 'EEXIST' && error.code !== 'ENOENT') throw error;
    return false;
  } finally {
    rmSync(will, { force: true });
  }
  // Meanwhile the lock may have been given back and made anew, where this file means nothing.
  return holderOf(lock) === OWN;
}

/**
 * Takes the lock `lock`, a path in a folder that exists, and answers what gives it back. Waits, blocking, while another process holds it;
 * `onWait` is told its pid, once. Throws after `seconds_max`.
 */
export function takeLock(lock, { seconds_max, onWait = () => undefined }) {
  const deadline = Date.now() + seconds_max * 1_000;
  let hasTold = false;
  while (!make(lock)) {
    const holder = holderOf(lock);
    const isHeld = holder !== undefined && isAlive(holder);
    if (holder !== undefined && !isHeld && inherit(lock, holder)) break;
    const [host, pid] = (holder ?? '').split(' ');
    if (Date.now() > deadline) {
      throw new Error(
        `Process ${pid} on ${host} has held ${lock} for more than ${seconds_max} s. Remove that folder if it is gone.`,
      );
    }
    if (isHeld && !hasTold) onWait(Number(pid));
    hasTold ||= isHeld;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_MS);
  }
  return () => {
    const gone = `${lock} ${process.pid}`;
    renameSync(lock, gone);
    rmSync(gone, { recursive: true, force: true });
  };
}
