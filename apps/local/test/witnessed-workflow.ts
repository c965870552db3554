/**
 * A workflow whose commands write down themselves when they start and end, in a file that no part of the house knows. A checker
 * compares that file with the database: what really ran against what the house believes.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Tool, type Connection, type Task, type WorkflowRun } from '@jobmon/client';
import type { UserFolder } from '@jobmon/testkit';

export interface Witnessed {
  /** Position of the task. */
  readonly task: number;
  readonly pid: number;
  readonly what: 'start' | 'end';
  /** Seconds since 1970, by the command's own clock. */
  readonly at: number;
}

/** The independent log of a folder. A last line that is not whole yet is left out. */
export function readWitness(user: UserFolder): Witnessed[] {
  const file = path.join(user.path, 'witness.log');
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => {
    const [what, task, pid, at] = line.split(' ');
    return { what: what as Witnessed['what'], task: Number(task), pid: Number(pid), at: Number(at) };
  });
}

/**
 * Tasks in tiers of `width`; each has two upstreams in the tier above. `seconds` gives the length of a task by its position.
 * Position p has the name `task_p`.
 */
export async function submitWitnessed(
  user: UserFolder,
  connection: Connection,
  { tasks: count, width, seconds }: { tasks: number; width: number; seconds: (position: number) => number },
): Promise<WorkflowRun> {
  const tool = new Tool('survival', { connection, defaultClusterName: 'multiprocess' });
  const workflow = tool.createWorkflow({ name: 'survival' });
  const command = tool.getTaskTemplate(
    'witness',
    'echo "start {position} $$ $(date +%s.%N)" >> witness.log; sleep {seconds}; echo "end {position} $$ $(date +%s.%N)" >> witness.log',
  );
  const tasks: Task[] = [];
  for (let position = 0; position < count; position += 1) {
    const upstreams = [position - width, position - width - (position % width === 0 ? 0 : 1)].filter((at) => at >= 0);
    const task = command.createTask(
      { position, seconds: seconds(position) },
      { name: `task_${position}`, upstreams: [...new Set(upstreams)].map((at) => tasks[at]!) },
    );
    tasks.push(workflow.addTask(task));
  }
  return workflow.submit({ workingDirectory: user.path });
}

/** What stands in the database of a house that is not running. */
export interface Standing {
  /** Positions of tasks at D. */
  readonly done: ReadonlySet<number>;
  /** Positions of tasks whose instance stands at R. */
  readonly running: ReadonlySet<number>;
  /** Seconds since 1970, when it was read. */
  readonly at: number;
}

export function readStanding(user: UserFolder): Standing {
  const at = Date.now() / 1_000;
  const positions = (status: string): Set<number> =>
    new Set(
      user.rows<{ name: string }>('SELECT name FROM task WHERE status = ?', status).map(({ name }) => Number(name.slice(5))),
    );
  return { done: positions('D'), running: positions('R'), at };
}

/** Every rule that the log breaks, as sentences; empty when none is. */
export function brokenRules(log: readonly Witnessed[], kills: readonly Standing[], count: number): string[] {
  const broken: string[] = [];
  for (let task = 0; task < count; task += 1) {
    const lines = log.filter((line) => line.task === task);
    const runs = lines
      .filter((line) => line.what === 'start')
      .map((start) => ({ start: start.at, end: lines.find((line) => line.what === 'end' && line.pid === start.pid)?.at }));
    if (runs.length === 0) broken.push(`task ${task} is DONE and never ran`);
    if (!runs.some((run) => run.end !== undefined)) broken.push(`task ${task} is DONE and never ended`);
    runs.sort((a, b) => a.start - b.start);
    for (const [at, run] of runs.entries()) {
      const next = runs[at + 1];
      if (next !== undefined && (run.end ?? Number.POSITIVE_INFINITY) > next.start) broken.push(`task ${task} ran twice at once`);
    }
    for (const kill of kills) {
      if (kill.done.has(task) && runs.some((run) => run.start > kill.at)) broken.push(`task ${task} was DONE and ran again`);
      if (kill.running.has(task) && runs.some((run) => run.start > kill.at))
        broken.push(`task ${task} was running and was not adopted`);
    }
  }
  return broken;
}

/** The largest number of commands that ran at one time. */
export function mostAtOnce(log: readonly Witnessed[]): number {
  let now = 0;
  let most = 0;
  for (const line of [...log].sort((a, b) => a.at - b.at)) {
    now += line.what === 'start' ? 1 : -1;
    most = Math.max(most, now);
  }
  return most;
}
