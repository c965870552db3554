/**
 * How a client finds its server without settings: the embedded house writes its address and token into the client profile of
 * the user who started it, and takes it away when it stops. Only that user may read it: whoever has the token can run
 * commands. A profile that its house left behind is recognised by the process that wrote it.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, closeSync, fstatSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import path from 'node:path';
import { getAlive, JobmonError } from '@jobmon/contracts';
import { serverInFile, type Server } from './config-file';
import { profilePath } from './profile-path';
import { Connection, serverUnreachable } from './send';
import { loginToken } from './stored-login';

export { profilePath };

type Environment = Readonly<Record<string, string | undefined>>;

/** The content of `profile.json`. */
export interface Profile {
  readonly url: string;
  readonly token: string;
  /** The process that wrote it. */
  readonly pid: number;
  /** When that process started, in clock ticks since boot: with the pid it names one process. Null where there is no /proc. */
  readonly process_start: string | null;
  /** ISO 8601, UTC; for people. */
  readonly started_at: string;
}

/**
 * Writes the profile of a house in this process, whole or not at all (by rename): mode 0600 in a folder of mode 0700. A
 * profile of another house is replaced. Throws the file system's error when the folder cannot be written.
 */
export function writeProfile(server: { readonly url: string; readonly token: string }, env: Environment = process.env): Profile {
  const profile: Profile = {
    url: server.url,
    token: server.token,
    pid: process.pid,
    process_start: processStart(process.pid),
    started_at: new Date().toISOString(),
  };
  const file = profilePath(env);
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  chmodSync(path.dirname(file), 0o700);
  const partial = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;
  try {
    writeFileSync(partial, `${JSON.stringify(profile, undefined, 2)}\n`, { mode: 0o600, flag: 'wx' });
    renameSync(partial, file);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
  return profile;
}

/** Removes the profile if it is still this one; another house may have written its own since. Never throws. */
export function removeProfile(profile: Profile, env: Environment = process.env): void {
  try {
    const file = profilePath(env);
    const standing = JSON.parse(readFileSync(file, 'utf8')) as Partial<Profile>;
    if (standing.token === profile.token && standing.pid === profile.pid) rmSync(file, { force: true });
  } catch {
    // What can't be read isn't ours to remove.
  }
}

/**
 * The server to speak to: the profile in `file` when one is named, else `JOBMON__HTTP__SERVICE_URL` with `JOBMON__HTTP__TOKEN`, else what the
 * file that `JOBMON__CONFIG_FILE` names says, else the client profile. Throws a JobmonError with one sentence of cause and cure: nothing configured, a profile that others can read or that
 * belongs to another user, one that is damaged, or one that a house left behind. Where no token is named, that of the login at the server is taken (`jobmon login`). A profile that a person wrote, with `url` and `token`
 * and no process, may name a server anywhere.
 */
export async function findServer({ env = process.env, file }: { env?: Environment; file?: string } = {}): Promise<Server> {
  if (file === undefined && env.JOBMON__HTTP__SERVICE_URL) {
    return withLogin(env.JOBMON__HTTP__SERVICE_URL, env.JOBMON__HTTP__TOKEN || undefined, env);
  }
  const configured = file === undefined && env.JOBMON__CONFIG_FILE ? await serverInFile(env.JOBMON__CONFIG_FILE, env) : undefined;
  if (configured !== undefined) return withLogin(configured.url, configured.token, env);
  const profile = readProfile(file ?? profilePath(env));
  if (profile === undefined) {
    if (file !== undefined) throw new JobmonError('NOT_FOUND', `there is no client profile ${file}`);
    throw serverUnreachable('no Jobmon server is known: start one with `jobmon serve`, or set JOBMON__HTTP__SERVICE_URL');
  }
  if (isOfHouse(profile) && !(await isAlive(profile))) {
    const since = `the Jobmon server at ${profile.url} (process ${profile.pid}, started ${profile.started_at}) is gone`;
    throw serverUnreachable(`${since}: start it again with \`jobmon serve\``);
  }
  return { url: profile.url, token: profile.token };
}

function withLogin(url: string, given: Server['token'], env: Environment): Server {
  const token = given ?? loginToken(url, env);
  return { url, ...(token === undefined ? {} : { token }) };
}

/** A profile that a person wrote. */
interface WrittenProfile {
  readonly url: string;
  readonly token: string;
}

function isOfHouse(profile: Profile | WrittenProfile): profile is Profile {
  return 'pid' in profile;
}

/** Reads the profile from one open file, so that what was checked is what is read. Undefined when there is none. */
function readProfile(file: string): Profile | WrittenProfile | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw new JobmonError('FORBIDDEN', `the client profile ${file} cannot be read (${(error as Error).message})`);
  }
  try {
    const stat = fstatSync(descriptor);
    if (process.getuid !== undefined && stat.uid !== process.getuid()) {
      throw new JobmonError('FORBIDDEN', `the client profile ${file} belongs to another user and is not used: remove it`);
    }
    if (process.getuid !== undefined && (stat.mode & 0o077) !== 0) {
      const cure = `run \`chmod 600 ${file}\` if nobody else could have read its token, else restart the server`;
      throw new JobmonError('FORBIDDEN', `the client profile ${file} is open to other users and is not used: ${cure}`);
    }
    const profile = JSON.parse(readFileSync(descriptor, 'utf8')) as Profile | WrittenProfile;
    const isWhole = typeof profile.url === 'string' && typeof profile.token === 'string';
    if (!isWhole || (isOfHouse(profile) && !Number.isInteger(profile.pid))) {
      throw new SyntaxError('a field is missing');
    }
    return profile;
  } catch (error) {
    if (error instanceof JobmonError) throw error;
    throw new JobmonError('MALFORMED', `the client profile ${file} is damaged: remove it and restart the server`, undefined, {
      cause: error,
    });
  } finally {
    closeSync(descriptor);
  }
}

/** Whether the house that wrote the profile still runs: the same process, by pid and start time, or, unknown, one that answers. */
async function isAlive(profile: Profile): Promise<boolean> {
  try {
    process.kill(profile.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  if (profile.process_start !== null) return processStart(profile.pid) === profile.process_start;
  try {
    await new Connection(profile).send(getAlive, {}, { tries_max: 1, timeout_ms: 5_000 });
    return true;
  } catch (thrown) {
    // With login on the Python protocol's sign of life is not everybody's.
    return JobmonError.from(thrown).code === 'FORBIDDEN';
  }
}

/**
 * Field 22 of /proc/<pid>/stat: clock ticks from boot to the start of the process. Null where it cannot be read, and for a
 * process that has ended and whose parent has not looked yet.
 */
function processStart(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name in parentheses and may hold blanks; fields are counted behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return ['Z', 'X'].includes(fields[0]!) ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/** The login name of this process; the number of the user where the system has no name for it. */
export function loginName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'unknown');
  }
}
