/** The house as `jobmon serve` starts it, with the command line of the same user. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { findServer, type Connection, type Server } from '@jobmon/client';
import { buildHouse, HouseProcess as LocalHouse, ROOT, until, UserFolder } from '@jobmon/testkit';

const MAIN = path.join(ROOT, 'dist', 'apps', 'cli', 'main.js');

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
  readonly #user = new UserFolder({ COLUMNS: undefined });
  #house!: LocalHouse;

  /** Builds what changed and starts a house on a free port; one that demonstrates is what `npm start` starts. */
  static async start(how: { demonstrates?: true } = {}): Promise<HouseProcess> {
    buildHouse();
    const house = new HouseProcess();
    const program = how.demonstrates ? { args: ['--demonstration'] } : { program: [MAIN, 'serve'], args: [] };
    house.#house = await LocalHouse.start(house.#user, [...program.args, '--port', '0'], program);
    return house;
  }

  get folder(): string {
    return this.#user.path;
  }

  get env(): NodeJS.ProcessEnv {
    return this.#user.env;
  }

  /** Kills the house as a machine does, and starts it again where it was. */
  async killAndStart(): Promise<void> {
    const { port } = new URL(this.#house.url as string);
    await this.#house.end('SIGKILL');
    this.#house = await LocalHouse.start(this.#user, ['--port', port], { program: [MAIN, 'serve'] });
  }

  get output(): string {
    return this.#house.stdout + this.#house.stderr;
  }

  /** Waits until the house has said this. */
  async said(text: string): Promise<void> {
    await until(`the house says '${text}'`, () => this.output.includes(text));
  }

  server(): Promise<Server> {
    return findServer({ env: this.env });
  }

  connection(): Connection {
    return this.#house.connection();
  }

  /** Runs `jobmon` with these arguments as this user. */
  jobmon(...args: string[]): Promise<Finished> {
    return run(process.execPath, [MAIN, ...args], this.env);
  }

  /** As `jobmon`, still running: what it has said so far can be looked at, and a signal sent. */
  jobmonInBackground(...args: string[]): {
    readonly stdout: string;
    readonly stderr: string;
    kill(signal: NodeJS.Signals): void;
    finished: Promise<Finished>;
  } {
    const child = spawn(process.execPath, [MAIN, ...args], { env: this.env, cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
    const so_far: Finished = { code: null, stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (so_far.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (so_far.stderr += text));
    const finished = new Promise<Finished>((resolve, reject) =>
      child.on('error', reject).on('close', (code) => resolve({ ...so_far, code })),
    );
    return {
      get stdout() {
        return so_far.stdout;
      },
      get stderr() {
        return so_far.stderr;
      },
      kill: (signal) => void child.kill(signal),
      finished,
    };
  }

  /** Runs `jobmon` on a terminal of its own and types the answer when it asks; what the terminal shows is all in `stdout`. */
  async jobmonAsked(answer: string, ...args: string[]): Promise<Finished> {
    const child = spawn('script', ['-qec', `${jobmonCommand} ${args.join(' ')}`, '/dev/null'], {
      env: { ...this.env, TERM: 'xterm' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const finished: Finished = { code: null, stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (finished.stdout += text));
    const ended = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
    await Promise.race([until('it asks', () => finished.stdout.includes('[y/N] ')), ended]);
    child.stdin.write(answer);
    finished.code = await ended;
    return finished;
  }

  /** Rows of the house's database, read past the house. */
  rows<Row>(sql: string, ...params: number[]): Row[] {
    return this.#user.rows<Row>(sql, ...params);
  }

  /** Ctrl-C; answers the exit code. */
  stop(): Promise<number | NodeJS.Signals> {
    return this.#house.end('SIGINT');
  }

  /** Stops what still runs and removes the folder. */
  async remove(): Promise<void> {
    await this.stop();
    await this.#user.remove();
  }
}

/** The main file of the command line, for shells. */
export const jobmonCommand = `'${process.execPath}' '${MAIN}'`;
