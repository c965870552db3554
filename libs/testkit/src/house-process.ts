/** A house as a person starts it: a process of the built bundle, in folders of its own, that tests send signals to. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Connection } from '@jobmon/client';
import type { SqlValue } from '@jobmon/entities';
import SqliteHandle from 'better-sqlite3';

export const ROOT = path.resolve(__dirname, '..', '..', '..');
export const MAIN = path.join(ROOT, 'dist', 'apps', 'local', 'main.js');
const START_MS_MAX = 60_000;

/** Builds what changed; quick when nothing did. */
export function buildHouse(): void {
  const built = spawnSync(process.execPath, [path.join(ROOT, 'tools', 'build.mjs')], { encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`the build failed: ${built.stderr}`);
}

/** Folders of one user with nothing in them: home, database, log. Removed by `remove`, and kept when a test failed and asks for it. */
export class UserFolder {
  readonly path = mkdtempSync(path.join(tmpdir(), 'jobmon-house-'));
  readonly env: NodeJS.ProcessEnv;

  constructor(settings: NodeJS.ProcessEnv = {}) {
    const inherited = Object.entries(process.env).filter(([name]) => !/^(JOBMON_|XDG_|npm_)/.test(name));
    this.env = {
      ...Object.fromEntries(inherited),
      HOME: this.path,
      XDG_CONFIG_HOME: path.join(this.path, 'config'),
      XDG_DATA_HOME: path.join(this.path, 'data'),
      ...settings,
    };
  }

  get data(): string {
    return path.join(this.path, 'data', 'jobmon');
  }

  get databaseFile(): string {
    return path.join(this.data, 'jobmon.sqlite');
  }

  get profileFile(): string {
    return path.join(this.path, 'config', 'jobmon', 'profile.json');
  }

  /** A folder below this one, made. */
  folder(name: string): string {
    const folder = path.join(this.path, name);
    mkdirSync(folder, { recursive: true });
    return folder;
  }

  /** Rows of the SQLite file, read past the house. */
  rows<Row = Record<string, SqlValue>>(sql: string, ...params: SqlValue[]): Row[] {
    const handle = new SqliteHandle(this.databaseFile, { readonly: true, timeout: 5_000 });
    try {
      return handle.prepare(sql).all(...params) as Row[];
    } finally {
      handle.close();
    }
  }

  /** Kills what tests left running in this folder (launchers and their commands), then removes it. */
  async remove(): Promise<void> {
    await until('nothing runs in the folder any more', () => {
      const left = processesIn(this.path);
      for (const pid of left) killIfThere(pid);
      return left.length === 0;
    });
    rmSync(this.path, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** A process may end by itself between the look and the signal. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Processes whose command line or environment names the folder. */
function processesIn(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => {
      try {
        const text = ['cmdline', 'environ'].map((file) => readFileSync(`/proc/${pid}/${file}`, 'latin1')).join('\0');
        return text.includes(folder) && !readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ');
      } catch {
        return false;
      }
    });
}

/** Waits until the condition holds, looking every 20 ms; throws after the bound. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, ms_max = 30_000): Promise<void> {
  const deadline = Date.now() + ms_max;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited ${ms_max} ms in vain until ${what}`);
    await pause(20);
  }
}

export class HouseProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<number | NodeJS.Signals>;
  stdout = '';
  stderr = '';
  hasEnded = false;

  /** `wrap` puts a shell line around the command: `ulimit -f 100; exec "$@"`; `program` is another main file with its first arguments. */
  constructor(
    readonly user: UserFolder,
    args: readonly string[] = ['--port', '0'],
    { wrap, env = {}, program: main = [MAIN] }: { wrap?: string; env?: NodeJS.ProcessEnv; program?: readonly string[] } = {},
  ) {
    const command = [process.execPath, '--enable-source-maps', ...main, ...args];
    const [program, ...rest] = wrap === undefined ? command : ['/bin/sh', '-c', wrap, 'sh', ...command];
    const cwd = user.path;
    this.child = spawn(program!, rest, { cwd, env: { ...user.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.ended = new Promise((resolve) =>
      this.child.on('exit', (code, signal) => {
        this.hasEnded = true;
        resolve(code ?? signal!);
      }),
    );
  }

  /** Starts a house and waits for the line that says it answers. */
  static async start(...args: ConstructorParameters<typeof HouseProcess>): Promise<HouseProcess> {
    const house = new HouseProcess(...args);
    await until('the house answers', () => house.hasEnded || house.url !== undefined, START_MS_MAX);
    if (house.url === undefined) throw new Error(`the house did not start: ${house.stdout}\n${house.stderr}`);
    return house;
  }

  get url(): string | undefined {
    return /^Jobmon serves at (\S+)/m.exec(`${this.stdout}\n${this.stderr}`)?.[1];
  }

  connection(): Connection {
    const { url, token } = JSON.parse(readFileSync(this.user.profileFile, 'utf8')) as { url: string; token: string };
    return new Connection({ url, token });
  }

  kill(signal: NodeJS.Signals): void {
    process.kill(this.child.pid!, signal);
  }

  /** Sends the signal and answers the exit code, or the signal that ended it. */
  async end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals> {
    if (!this.hasEnded) this.kill(signal);
    const how = await this.ended;
    // What it said is needed by whoever reads of a failure.
    if (how === 1) console.log(`${this.stdout.slice(-4_000)}\n${this.stderr.slice(-2_000)}`);
    return how;
  }
}

export const USER = userInfo().username;
