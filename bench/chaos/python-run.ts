/**
 * A workflow that the published Python client drives, beside those of the server: its swarm walks the graph, its distributor and workers
 * run the commands. A client that ends before its workflow is done is started again, as its operator would.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { PythonSite, ROOT, type UserFolder } from '@jobmon/testkit';
import { uptime } from './faults';

/** Where its programs read their scripts: the bundle has none. */
export const SCRIPTS = path.join(ROOT, 'bench', 'chaos');

const BEAT_SECONDS = 3;
const BEATS_MISSED_MAX = 10;
/** Silence of a client or a worker after which it is given up. */
export const CLIENT_DEADLINE_SECONDS = BEAT_SECONDS * BEATS_MISSED_MAX;
export const HEARTBEAT = {
  JOBMON__HEARTBEAT__TASK_INSTANCE_INTERVAL: String(BEAT_SECONDS),
  JOBMON__HEARTBEAT__REPORT_BY_BUFFER: String(BEATS_MISSED_MAX),
};
/** Commands at one time. */
export const CLIENT_LIMIT = 3;
export const CLIENT_WIDTH = 4;
/** An operator does not type faster. */
const OPERATOR_PAUSE_MS = 1_000;

/** A client that ended before its workflow was done. */
export interface ClientDeath {
  readonly from: number;
  /** When it was started again. */
  to: number;
  readonly why: string;
}

export class PythonRun {
  readonly deaths: ClientDeath[] = [];
  hasEnded = false;
  private readonly site: PythonSite;
  private isStopped = false;

  constructor(
    user: UserFolder,
    programs: string,
    url: string,
    private readonly work: string,
    private readonly count: number,
    private readonly name = 'python',
  ) {
    this.site = new PythonSite(user, 'python', programs, url, {
      ...HEARTBEAT,
      JOBMON__HEARTBEAT__WORKFLOW_RUN_INTERVAL: String(BEAT_SECONDS),
      JOBMON__DISTRIBUTOR__POLL_INTERVAL: '1',
      // As it is when nobody sets it.
      JOBMON__HTTP__RETRIES_TIMEOUT: '300',
      CHAOS_HOST: 'python',
    });
  }

  /** Runs the client until the workflow is done or `stop` is called. */
  async play(): Promise<void> {
    while (!this.isStopped) {
      const numbers = [this.count, CLIENT_WIDTH, CLIENT_LIMIT].map(String);
      const words = [path.join(SCRIPTS, 'flow.py'), this.work, path.join(SCRIPTS, 'command.pl'), ...numbers, this.name];
      const end = await this.site.run('python', [...words, ...(this.deaths.length > 0 ? ['--resume'] : [])]);
      const said = end.stdout.trim().split('\n').at(-1) ?? '';
      if (end.code === 0 && said === '{"status": "D"}') {
        this.hasEnded = true;
        return;
      }
      writeFileSync(path.join(this.site.folder, `client-${this.deaths.length + 1}.log`), `${end.stdout}\n${end.stderr}`);
      const why = [said, end.stderr.trim().split('\n').at(-1)].join(' ').slice(0, 300);
      const death: ClientDeath = { from: uptime(), to: Infinity, why: `exit ${end.code}: ${why}` };
      this.deaths.push(death);
      await pause(OPERATOR_PAUSE_MS);
      death.to = uptime();
    }
  }

  /** Ends what is left of it; answers what it had said last. */
  stop(): string {
    this.isStopped = true;
    return this.site.clear();
  }
}
