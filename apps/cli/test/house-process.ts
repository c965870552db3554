/** The house and the command line as a user starts them: processes of the built bundles, in folders of their own. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Connection, findServer, type Server } from '@jobmon/client';

export const ROOT = path.resolve(__dirname, '..', '..', '..');
const MAIN = path.join(ROOT, 'dist', 'apps', 'cli', 'main.js');
/** What a person types, and what `npm start` starts. */
const SERVE = [MAIN, 'serve'];
const DEMONSTRATE = [path.join(ROOT, 'dist', 'apps', 'local', 'main.js'), '--demonstration'];
const START_SECONDS_MAX = 30;

export interface Finished {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end; its standard input is closed. */
export async function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv, cwd = ROOT): Promise<Finished> {
  const child = spawn(command, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  const finished: Finished = { code: null, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (finished.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (finished.stderr += text));
  finished.code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  return finished;
}

export class HouseProcess {
  #child!: ChildProcess;
  #ended!: Promise<number | null>;
  output = '';

  private constructor(
    readonly folder: string,
    readonly env: NodeJS.ProcessEnv,
    readonly program: readonly string[],
  ) {}

  /** Builds what changed, starts a house on a free port and waits until its profile can be found. */
  static async start(how: { demonstrates?: true } = {}): Promise<HouseProcess> {
    const built = spawnSync(process.execPath, [path.join(ROOT, 'tools', 'build.mjs')], { encoding: 'utf8' });
    if (built.status !== 0) throw new Error(`the build failed: ${built.stderr}`);
    const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-cli-'));
    const settings = Object.entries(process.env).filter(([name]) => !name.startsWith('JOBMON_') && name !== 'COLUMNS');
    const env = {
      ...Object.fromEntries(settings),
      HOME: folder,
      XDG_CONFIG_HOME: path.join(folder, 'config'),
      XDG_DATA_HOME: path.join(folder, 'data'),
    };
    const house = new HouseProcess(folder, env, how.demonstrates ? DEMONSTRATE : SERVE);
    await house.#open('0');
    return house;
  }

  /** Kills the house as a machine does, and starts it again where it was. */
  async killAndStart(): Promise<void> {
    const { port } = new URL((await this.server()).url);
    this.#child.kill('SIGKILL');
    await this.#ended;
    await this.#open(port);
  }

  async #open(port: string): Promise<void> {
    const args = [...this.program, '--port', port, '--db', `sqlite:${path.join(this.folder, 'jobmon.sqlite')}`];
    const child = spawn(process.execPath, args, { env: this.env, cwd: this.folder, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    let isOver = false;
    this.#child = child;
    this.#ended = new Promise((resolve) => child.on('exit', resolve));
    void this.#ended.then(() => (isOver = true));
    const until = Date.now() + START_SECONDS_MAX * 1_000;
    while (!(await this.server().catch(() => undefined))) {
      if (isOver || Date.now() > until) throw new Error(`the house did not start: ${this.output}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Waits until the house has said this. */
  async said(text: string): Promise<void> {
    const until = Date.now() + START_SECONDS_MAX * 1_000;
    while (!this.output.includes(text)) {
      if (Date.now() > until) throw new Error(`the house never said '${text}': ${this.output}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  server(): Promise<Server> {
    return findServer({ env: this.env });
  }

  async connection(): Promise<Connection> {
    return new Connection(await this.server());
  }

  /** Runs `jobmon` with these arguments as this user. */
  jobmon(...args: string[]): Promise<Finished> {
    return run(process.execPath, [MAIN, ...args], this.env);
  }

  /** `jobmon … -o json`, its data. */
  async records<T>(...args: string[]): Promise<T> {
    const { code, stdout, stderr } = await this.jobmon(...args, '-o', 'json');
    if (code !== 0) throw new Error(`jobmon ${args.join(' ')} ended with ${code}: ${stderr}`);
    return JSON.parse(stdout) as T;
  }

  /** Ctrl-C; answers the exit code. */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGINT');
    return this.#ended;
  }

  /** Stops what still runs and removes the folder. */
  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The main file of the command line, for shells. */
export const jobmonCommand = `'${process.execPath}' '${MAIN}'`;
