/** An agent under fire: a process in a folder of its own, begun again where it was, so that it finds what it left behind. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, type UserFolder } from '@jobmon/testkit';

const CORES = 8;

export class AgentProcess {
  private child: ChildProcess | undefined;

  constructor(
    private readonly user: UserFolder,
    readonly name: string,
    private readonly settings: NodeJS.ProcessEnv,
    /** The checkout whose bundle it is. */
    private readonly root = ROOT,
  ) {}

  /** Where it keeps what runs; the database tells it of each agent. */
  get state(): string {
    return join(this.user.folder(this.name), 'state');
  }

  begin(): void {
    const folder = this.user.folder(this.name);
    const said = openSync(join(folder, 'log'), 'a');
    const env = {
      ...this.user.env,
      ...this.settings,
      JOBMON__AGENT__STATE_DIRECTORY: this.state,
      JOBMON__AGENT__CORES: String(CORES),
      CHAOS_HOST: this.name,
    };
    const main = join(this.root, 'dist', 'apps', 'agent', 'main.js');
    this.child = spawn(process.execPath, [main], { cwd: folder, env, stdio: ['ignore', said, said], detached: true });
    closeSync(said);
  }

  signal(signal: NodeJS.Signals): void {
    if (this.child?.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
}
