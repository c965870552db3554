/** A MariaDB of one spec, in a folder of its own, that may be killed, started again and set wrong without harm to other specs. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { onServer } from './template';

const TOOL = pathToFileURL(path.resolve(__dirname, '..', '..', '..', 'tools', 'mariadb.mjs')).href;

/** Runs the tool, tells its server in one line, and stops it when its own input ends, as it does when whoever started it dies. */
const KEEPER = `
  const { startMariadb } = await import(${JSON.stringify(TOOL)});
  const [folder, port, password] = process.argv.slice(1);
  const { stop, ...server } = await startMariadb(folder, port === '' ? {} : { port: Number(port), password });
  console.log(JSON.stringify(server));
  process.stdin.on('end', async () => { await stop(); process.exit(0); }).resume();
`;

interface Standing {
  readonly url: string;
  readonly port: number;
  readonly password: string;
  readonly pid: number;
}

export class MariadbProcess {
  private readonly folder = mkdtempSync(path.join(tmpdir(), 'jobmon-mariadb-'));
  private keeper: ChildProcess | undefined;
  private standing: Standing | undefined;

  private constructor() {}

  /** Starts a server and makes the database `jobmon` on it. */
  static async start(): Promise<MariadbProcess> {
    const mariadb = new MariadbProcess();
    await mariadb.startAgain();
    await mariadb.run('CREATE DATABASE jobmon');
    return mariadb;
  }

  /** `mariadb://USER:PASSWORD@HOST:PORT/jobmon`; the same after a restart. */
  get url(): string {
    return `${this.server.url}/jobmon`;
  }

  get pid(): number {
    return this.server.pid;
  }

  private get server(): Standing {
    if (this.standing === undefined) throw new Error('this MariaDB was never started');
    return this.standing;
  }

  /** Statements of an administrator, without a database. */
  async run(...statements: readonly string[]): Promise<void> {
    await onServer(this.server.url, async (connection) => {
      for (const sql of statements) await connection.query(sql);
    });
  }

  /** With -9. */
  async kill(): Promise<void> {
    const keeper = this.keeper;
    process.kill(this.pid, 'SIGKILL');
    if (keeper === undefined) return;
    const ended = once(keeper, 'exit');
    keeper.stdin?.end();
    await ended;
    this.keeper = undefined;
  }

  /** At its old address, with its old data. */
  async startAgain(): Promise<void> {
    const { port = '', password = '' } = this.standing ?? {};
    const keeper = spawn(process.execPath, ['--input-type=module', '-e', KEEPER, '--', this.folder, String(port), password], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.keeper = keeper;
    const [line] = (await Promise.race([once(keeper.stdout, 'data'), once(keeper, 'exit')])) as [Buffer | number | null];
    if (!(line instanceof Buffer)) throw new Error(`MariaDB could not be started: exit code ${String(line)}`);
    this.standing = JSON.parse(String(line)) as Standing;
  }

  /** Ends it and removes its folder. */
  async remove(): Promise<void> {
    if (this.keeper !== undefined) await this.kill();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
