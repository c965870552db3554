/**
 * The published Python clients as a site runs them: unmodified, in an environment of their own, pointed at a house by two variables.
 * Scripts are ordinary workflow scripts; what they print as their last line of JSON is their result.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT, until, type UserFolder } from './house-process';

/** Where the environment's programs are, or why there is none. */
export type PythonPrograms = { readonly folder: string } | { readonly missing: string };

/** Finds the environment of the published clients, or of another lock file in `tools`, making it when it is not there (half a minute, once). */
export function pythonPrograms(lock = 'python-clients.txt'): PythonPrograms {
  const tools = path.join(ROOT, 'tools');
  const made = spawnSync(process.execPath, [path.join(tools, 'python.mjs'), path.join(tools, lock)], { encoding: 'utf8' });
  if (made.status === 0) return { folder: made.stdout.trim().split('\n').at(-1)! };
  return { missing: made.stderr.trim().split('\n').at(-1) ?? 'tools/python.mjs failed' };
}

/** How a process ended. */
export interface PythonEnd {
  /** Exit code, or the signal that ended it. */
  readonly code: number | NodeJS.Signals;
  readonly stdout: string;
  readonly stderr: string;
}

/** Seconds between heartbeats in tests; the clients take whole seconds only. Their loops sleep as long. */
const HEARTBEAT_SECONDS = 1;
/** A heartbeat is due after this many intervals: far more than a busy machine lets one wait. */
const REPORT_BY_BUFFER = 60;
/** What a program does in its own time is waited for this long: where it shares a busy machine, its start alone takes many seconds. */
const PATIENCE_MS = 120_000;

/** One place where scripts run: a folder with a diary, and an address of a house. */
export class PythonSite {
  readonly env: NodeJS.ProcessEnv;
  readonly folder: string;
  readonly #diary: string;
  readonly #started: PythonProcess[] = [];

  /** `name` is the folder's; `url` the address of a house or of a recorder before it. */
  constructor(user: UserFolder, name: string, programs: string, url: string, settings: NodeJS.ProcessEnv = {}) {
    this.folder = user.folder(name);
    this.#diary = path.join(this.folder, 'diary');
    const inherited = Object.entries(user.env).filter(([variable]) => !/^(PYTHON|VIRTUAL_ENV)/.test(variable));
    this.env = {
      ...Object.fromEntries(inherited),
      PATH: `${programs}:${user.env.PATH ?? ''}`,
      PYTHONDONTWRITEBYTECODE: '1',
      PYTHONUNBUFFERED: '1',
      DIARY: this.#diary,
      JOBMON__HTTP__SERVICE_URL: url,
      JOBMON__HTTP__ROUTE_PREFIX: '/api/v3',
      JOBMON__HEARTBEAT__WORKFLOW_RUN_INTERVAL: String(HEARTBEAT_SECONDS),
      JOBMON__HEARTBEAT__TASK_INSTANCE_INTERVAL: String(HEARTBEAT_SECONDS),
      JOBMON__HEARTBEAT__REPORT_BY_BUFFER: String(REPORT_BY_BUFFER),
      // A server that does not answer is to be seen in a test, not waited for.
      JOBMON__HTTP__RETRIES_TIMEOUT: '30',
      ...settings,
    };
  }

  /** Starts a program of the environment: `python`, `jobmon`. */
  start(program: string, args: readonly string[], settings: NodeJS.ProcessEnv = {}): PythonProcess {
    const started = new PythonProcess(program, args, this.folder, { ...this.env, ...settings });
    this.#started.push(started);
    return started;
  }

  /** Starts a program and waits for its end. */
  run(program: string, args: readonly string[], settings: NodeJS.ProcessEnv = {}): Promise<PythonEnd> {
    return this.start(program, args, settings).ended;
  }

  /** Kills whatever is left of the programs that were started, with all that they started, and answers what the living ones had said. */
  clear(): string {
    const living = this.#started.filter(({ hasEnded }) => !hasEnded);
    for (const started of this.#started) started.signalGroup('SIGKILL');
    return living.map(({ stdout, stderr }) => `${stdout}\n${stderr}`.slice(-3_000)).join('\n---\n');
  }

  /** What the commands themselves wrote down, line by line; a last line that is not whole is left out. */
  diary(): DiaryLine[] {
    if (!existsSync(this.#diary)) return [];
    const lines = readFileSync(this.#diary, 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => {
      const [what = '', task = '', pid = '', ...rest] = line.split(' ');
      return { what, task, pid: Number(pid), rest: rest.join(' ') };
    });
  }

  /** Names of the tasks whose commands began, in their order, one entry for each time. */
  begun(): string[] {
    return this.#tasks('begin');
  }

  /** Names of the tasks whose commands came to their end. */
  ended(): string[] {
    return this.#tasks('end');
  }

  #tasks(what: string): string[] {
    return this.diary().flatMap((line) => (line.what === what ? [line.task] : []));
  }
}

/** One line that a command wrote into the diary. */
export interface DiaryLine {
  /** `begin` or `end`. */
  readonly what: string;
  readonly task: string;
  /** Of the command's shell. */
  readonly pid: number;
  /** What else the command noted. */
  readonly rest: string;
}

/** A running program, leader of a process group of its own as at a terminal. */
export class PythonProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<PythonEnd>;
  stdout = '';
  stderr = '';
  hasEnded = false;

  constructor(program: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv) {
    this.child = spawn(program, args, { cwd, env, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    this.child.stdin!.on('error', () => undefined);
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      // Children of a killed program may keep its pipes: its own end is what counts, after a moment for what it had said.
      this.child.on('exit', (code, signal) => {
        this.hasEnded = true;
        setTimeout(() => resolve({ code: code ?? signal!, stdout: this.stdout, stderr: this.stderr }), 50);
      });
    });
  }

  /** Sends the signal to the whole group, as a terminal does at Ctrl-C; nothing when nobody is left in it. */
  signalGroup(signal: NodeJS.Signals): void {
    try {
      process.kill(-this.child.pid!, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }

  /** Types a line. */
  type(line: string): void {
    this.child.stdin!.write(`${line}\n`);
  }

  /** Waits until the program has said something. */
  async said(text: string): Promise<void> {
    await until(
      `the program says '${text}'; it said: ${this.stdout}${this.stderr}`,
      () => this.stdout.includes(text) || this.stderr.includes(text),
      PATIENCE_MS,
    );
  }
}

/** The last line of a script's output that is a JSON object, read. Throws with all the script said when there is none. */
export function resultOf<Result>(end: PythonEnd): Result {
  const line = end.stdout.split('\n').findLast((text) => text.startsWith('{'));
  if (line === undefined) throw new Error(`the script gave no result (${end.code}):\n${end.stdout}\n${end.stderr}`);
  return JSON.parse(line) as Result;
}
