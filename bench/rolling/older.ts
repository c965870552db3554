/** An older release of this repository, built beside this one: what an upgrade comes from and a rollback goes to. */
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '@jobmon/testkit';

/** A commit and the folder that it was built in. */
export interface Release {
  /** Short hash of the commit, or `this` for the tree as it stands. */
  readonly name: string;
  readonly root: string;
}

export const THIS: Release = { name: 'this', root: ROOT };

const git = (...words: string[]): string => execFileSync('git', words, { cwd: ROOT, encoding: 'utf8' }).trim();

/**
 * Unpacks a commit into the folder and builds it with its own tools. Packages are ours where both lock files are the same; else its build
 * installs its own. Throws when there is no such commit (a shallow clone has few), or when it can't be built.
 */
export function buildOlder(ref: string, folder: string): Release {
  const commit = git('rev-parse', '--verify', `${ref}^{commit}`);
  const archive = join(folder, 'older.tar');
  git('archive', '--output', archive, commit);
  execFileSync('tar', ['-xf', archive, '-C', folder]);
  const lock = (root: string): string => readFileSync(join(root, 'package-lock.json'), 'utf8');
  if (lock(folder) === lock(ROOT)) symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const built = spawnSync(process.execPath, [join(folder, 'tools', 'build.mjs')], { cwd: folder, encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`${ref} could not be built: ${built.stderr}`);
  return { name: git('rev-parse', '--short', commit), root: folder };
}

const ADMIN = join('dist', 'apps', 'admin', 'main.js');

/** `jobmon-server db migrate` of a release; this process goes on meanwhile. Throws with what it said when it fails. */
export async function migrateBy({ root }: Release, database_url: string): Promise<{ seconds: number; said: string }> {
  const began = performance.now();
  const env = { ...process.env, JOBMON__DB__URL: database_url };
  const { stderr } = await promisify(execFile)(process.execPath, [join(root, ADMIN), 'db', 'migrate'], { env });
  return { seconds: (performance.now() - began) / 1_000, said: stderr };
}

/** The same, killed with -9 in the step that it tells of first. Throws when it ended before that. */
export async function killMigrationBy({ root }: Release, database_url: string): Promise<void> {
  const env = { ...process.env, JOBMON__DB__URL: database_url };
  const child = spawn(process.execPath, [join(root, ADMIN), 'db', 'migrate'], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.once('data', () => child.kill('SIGKILL'));
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  if (signal !== 'SIGKILL') throw new Error(`db migrate was to be killed in its middle, and ended with ${signal ?? code}`);
}
