/** One round: a workflow, and whatever can be done to the processes that run it, at random moments, until it has ended. */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, createWriteStream, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { HouseProcess, ROOT, until, type UserFolder } from '@jobmon/testkit';
import { readDone, type DoneAt, type Query } from './check';
import { readWitness, submit } from './workflow';

/** Seconds; short, so that a round can be longer than several of them. */
export const LEASE_SECONDS = 6;
/** Longest round. */
const ROUND_MS_MAX = 240_000;
/** Faults of one round; after them the workflow is left to end. */
const FAULTS_MAX = 16;

export type Fault = 'house' | 'house away' | 'house frozen' | 'agent' | 'agent frozen' | 'launcher' | 'command' | 'database';

/** What a round is made with. */
export interface RoundSettings {
  readonly number: number;
  readonly user: UserFolder;
  readonly url: string;
  readonly port: number;
  /** An agent in a process of its own, and a house without one. */
  readonly hasOwnAgent: boolean;
  /** Commands that never succeed. */
  readonly isFailing: boolean;
  /** Reads the database past the house; throws while it is away. */
  readonly query: Query;
  /** Kills the database's server and starts it again; absent for a file. */
  readonly killDatabase?: () => Promise<void>;
  readonly random: () => number;
}

export interface RoundFacts {
  readonly faults: Partial<Record<Fault, number>>;
  readonly submits: number;
  readonly done: readonly DoneAt[];
  readonly seconds: number;
  /** Processes that were there after the house had stopped. */
  readonly left: string[];
}

export class Round {
  private house: HouseProcess | null = null;
  private agent: ChildProcess | null = null;
  private readonly faults: Partial<Record<Fault, number>> = {};
  private readonly done: DoneAt[] = [];

  constructor(private readonly settings: RoundSettings) {}

  async run(): Promise<RoundFacts> {
    const began = performance.now();
    await this.startHouse();
    this.startAgent();
    const submits = await this.submitUnderFire();
    const bound = performance.now() + ROUND_MS_MAX;
    for (let count = 0; !(await this.hasEnded()); count += 1) {
      if (performance.now() > bound) throw new Error(`the round did not end within ${ROUND_MS_MAX / 1_000} s`);
      await pause(200 + this.settings.random() * 1_500);
      if (count < FAULTS_MAX) await this.strike(this.anyFault());
    }
    const seconds = (performance.now() - began) / 1_000;
    await this.end();
    return { faults: this.faults, submits, done: this.done, seconds, left: await this.leftOver() };
  }

  /** Stops what runs, in order. */
  async end(): Promise<void> {
    if (this.agent !== null) {
      this.agent.kill('SIGTERM');
      await until('the agent has stopped', () => this.agent?.exitCode !== null || this.agent.signalCode !== null);
    }
    const how = await this.house?.end('SIGTERM');
    if (how !== 0) throw new Error(`the house ended with ${how}: ${this.house?.stderr.slice(-2_000)}`);
  }

  private async startHouse(): Promise<void> {
    const { user, url, port, hasOwnAgent } = this.settings;
    const args = ['--port', String(port), '--db', url, ...(hasOwnAgent ? ['--without', 'agent'] : [])];
    for (let tried = 1; ; tried += 1) {
      try {
        this.house = await HouseProcess.start(user, args);
        this.house.child.stderr?.pipe(createWriteStream(join(user.path, 'house.err'), { flags: 'a' }));
        return;
      } catch (error) {
        // A database that was killed a moment ago; a person would type it again.
        if (tried === 20) throw error;
        await pause(500);
      }
    }
  }

  private startAgent(): void {
    const { user, hasOwnAgent } = this.settings;
    if (!hasOwnAgent) return;
    const env = { ...user.env, JOBMON__LOG__FILE: join(user.path, 'agent.log') };
    const main = join(ROOT, 'dist', 'apps', 'agent', 'main.js');
    const said = openSync(join(user.path, 'agent.err'), 'a');
    this.agent = spawn(process.execPath, [main], { cwd: user.path, env, stdio: ['ignore', 'ignore', said], detached: true });
    closeSync(said);
  }

  /** Submits while the house is killed once or twice; a client that lost its house asks the next one. */
  private async submitUnderFire(): Promise<number> {
    const { number, user, isFailing, random } = this.settings;
    let isBound = false;
    const killer = (async () => {
      for (let kills = Math.floor(random() * 3); kills > 0 && !isBound; kills -= 1) {
        await pause(random() * 250);
        if (!isBound) await this.strike('house');
      }
    })();
    for (let tried = 1; ; tried += 1) {
      try {
        await submit((this.house as HouseProcess).connection(), number, user.path, isFailing);
        isBound = true;
        await killer;
        return tried;
      } catch (error) {
        if (tried === 60) throw error;
        await pause(200);
      }
    }
  }

  private anyFault(): Fault {
    const { hasOwnAgent, killDatabase, random } = this.settings;
    const longOnes = (this.faults['house frozen'] ?? 0) + (this.faults['house away'] ?? 0) + (this.faults['agent frozen'] ?? 0);
    const choice: Fault[] = ['house', 'house', 'launcher', 'launcher', 'command', 'command'];
    if (longOnes < 2) choice.push('house frozen', 'house away');
    if (hasOwnAgent) choice.push('agent', 'agent', 'agent');
    if (hasOwnAgent && longOnes < 2) choice.push('agent frozen');
    if (killDatabase !== undefined) choice.push('database', 'database');
    return choice[Math.floor(random() * choice.length)] as Fault;
  }

  private async strike(fault: Fault): Promise<void> {
    const { random, killDatabase } = this.settings;
    const longerThanLease = (LEASE_SECONDS + 1 + random() * 2) * 1_000;
    switch (fault) {
      case 'house':
      case 'house away':
        await this.house?.end('SIGKILL');
        await this.note();
        await pause(fault === 'house' ? random() * 500 : longerThanLease);
        await this.startHouse();
        break;
      case 'house frozen':
        this.house?.kill('SIGSTOP');
        await pause(random() < 0.3 ? random() * 2_000 : longerThanLease);
        this.house?.kill('SIGCONT');
        break;
      case 'agent frozen':
        this.agent?.kill('SIGSTOP');
        await pause(longerThanLease);
        this.agent?.kill('SIGCONT');
        break;
      case 'agent':
        this.agent?.kill('SIGKILL');
        // One that is not dead yet holds its folder, and its successor is refused.
        await until('the agent is gone', () => this.agent?.signalCode !== null || this.agent.exitCode !== null);
        await pause(random() * 1_000);
        this.startAgent();
        break;
      case 'launcher':
        if (!this.killOne(this.processes().filter(({ command }) => command.includes('jobmon-launcher')))) return;
        break;
      case 'command':
        if (!this.killOne(this.processes().filter(({ command }) => command.includes('/start.sh')))) return;
        break;
      case 'database':
        await killDatabase?.();
        await this.note();
        break;
    }
    this.faults[fault] = (this.faults[fault] ?? 0) + 1;
  }

  private killOne(found: readonly { pid: number }[]): boolean {
    const chosen = found[Math.floor(this.settings.random() * found.length)];
    if (chosen === undefined) return false;
    try {
      process.kill(chosen.pid, 'SIGKILL');
      return true;
    } catch {
      return false; // It has ended meanwhile.
    }
  }

  /** Remembers what is done by now: none of it may run again. */
  private async note(): Promise<void> {
    const at = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);
    const positions = await readDone(this.settings.query).catch(() => null);
    if (positions !== null) this.done.push({ at, positions });
  }

  private async hasEnded(): Promise<boolean> {
    try {
      const rows = await this.settings.query<{ status: string }>('SELECT status FROM workflow_run');
      return rows.length > 0 && rows.every(({ status }) => status === 'D' || status === 'E');
    } catch {
      return false; // The database is coming back.
    }
  }

  /** Processes of this round other than its house, agent and database: launchers, commands and what these started. */
  private processes(): { pid: number; command: string }[] {
    const own = new Set([process.pid, this.house?.child.pid, this.agent?.pid]);
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && !own.has(Number(name)))
      .flatMap((name) => {
        try {
          const command = readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ');
          const text = command + readFileSync(`/proc/${name}/environ`, 'latin1');
          const isAway = command.includes('mariadbd') || readFileSync(`/proc/${name}/stat`, 'latin1').includes(') Z ');
          return text.includes(this.settings.user.path) && !isAway ? [{ pid: Number(name), command }] : [];
        } catch {
          return [];
        }
      });
  }

  private async leftOver(): Promise<string[]> {
    const shown = (): string[] => this.processes().map(({ pid, command }) => `process ${pid} was left: ${command.slice(0, 200)}`);
    await until('launchers have gone', () => shown().length === 0, 5_000).catch(() => undefined);
    return shown();
  }

  get witness() {
    return readWitness(this.settings.user.path);
  }
}
