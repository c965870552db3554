/** A client that asks all the time, reads and changes by turns, and takes the time of each call with all its tries. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Connection } from '@jobmon/client';
import { getWorkflow, setWorkflowPriority } from '@jobmon/contracts';

const PAUSE_MS = 50;

export class Asker {
  calls = 0;
  longest = { what: '', seconds: 0 };
  readonly failures: string[] = [];
  private isOver = false;

  constructor(
    private readonly connection: Connection,
    private readonly workflow_id: number,
  ) {}

  /** Asks until `stop`. A read is answered by an api alone; a change goes over the bus to a state machine. */
  async ask(): Promise<void> {
    const { connection, workflow_id } = this;
    const calls: (readonly [string, () => Promise<unknown>])[] = [
      ['a read of the workflow', () => connection.send(getWorkflow, { workflow_id })],
      ['a change of its priority', () => connection.send(setWorkflowPriority, { workflow_id, priority: 0, user: 'rolling' })],
    ];
    while (!this.isOver) {
      const [what, call] = calls[this.calls % calls.length]!;
      const began = performance.now();
      await call().catch((error: unknown) => this.failures.push(`${what}: ${(error as Error).message}`));
      const seconds = (performance.now() - began) / 1_000;
      this.calls += 1;
      if (seconds > this.longest.seconds) this.longest = { what, seconds };
      await pause(PAUSE_MS);
    }
  }

  stop(): void {
    this.isOver = true;
  }
}
