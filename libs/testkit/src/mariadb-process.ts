/** A MariaDB of one spec, in a folder of its own, that may be killed, started again and set wrong without harm to other specs. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { keepServer, type KeptServer } from './keeper';
import { onServer } from './template';

interface Standing {
  readonly url: string;
  readonly port: number;
  readonly password: string;
  readonly pid: number;
}

export class MariadbProcess {
  private readonly folder = mkdtempSync(path.join(tmpdir(), 'jobmon-mariadb-'));
  private keeper: KeptServer<Standing> | undefined;
  private standing: Standing | undefined;

  private constructor(private readonly args: readonly string[]) {}

  /** Starts a server and makes the database `jobmon` on it; `args` are more of its own. */
  static async start(...args: readonly string[]): Promise<MariadbProcess> {
    const mariadb = new MariadbProcess(args);
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
    process.kill(this.pid, 'SIGKILL');
    await this.keeper?.end();
    this.keeper = undefined;
  }

  /** At its old address, with its old data. */
  async startAgain(): Promise<void> {
    const { port, password } = this.standing ?? {};
    this.keeper = await keepServer<Standing>('mariadb.mjs', 'startMariadb', this.folder, {
      port,
      password,
      args: this.args,
    });
    this.standing = this.keeper.standing;
  }

  /** Ends it and removes its folder. */
  async remove(): Promise<void> {
    if (this.keeper !== undefined) await this.kill();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
