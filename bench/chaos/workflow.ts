/**
 * The workflow of a round: 300 commands in tiers, some of which fail once or twice before they succeed, and in some rounds some that
 * never do. Each command writes down by itself when it starts and ends, in a file that no part of the house knows, and holds
 * a lock of the kernel from its first line on until the last process of its group is gone: whether two commands of a task ran at
 * once is not left to clocks.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tool, type Connection, type Task, type WorkflowRun } from '@jobmon/client';

export const TASKS = 300;
const WIDTH = 50;

/** What the command of a task does. */
export interface Plan {
  /** Seconds that it runs. */
  readonly seconds: number;
  /** Runs that fail before one succeeds. */
  readonly failures: number;
  readonly max_attempts: number;
}

/** More attempts than any round's faults take from a task. */
const ENOUGH = 40;
/** For commands that never succeed. */
const NEVER = 1_000;

/** The plan of a position. Only the last tier has commands that never succeed, so that nothing waits behind them. */
export function planOf(position: number, isFailing: boolean): Plan {
  const seconds = position % 6 === 0 ? 2 : position % 4 === 0 ? 0.4 : 0.05;
  if (isFailing && position >= TASKS - WIDTH && position % 10 === 9) return { seconds, failures: NEVER, max_attempts: 2 };
  return { seconds, failures: position % 10 === 3 ? 1 : position % 10 === 7 ? 2 : 0, max_attempts: ENOUGH };
}

export const neverSucceeds = (plan: Plan): boolean => plan.failures === NEVER;

const COMMAND = [
  'exec 9>>lock-{position}',
  'flock -n 9 || echo "twice {position} $$ $JOBMON_TASK_INSTANCE_ID 0" >>witness.log',
  'read -r now rest </proc/uptime',
  'echo "start {position} $$ $JOBMON_TASK_INSTANCE_ID $now" >>witness.log',
  'echo x >>runs-{position}',
  'sleep {seconds}',
  'code=0',
  '[ "$(wc -l <runs-{position})" -gt {failures} ] || code=1',
  'read -r now rest </proc/uptime',
  'echo "end {position} $$ $JOBMON_TASK_INSTANCE_ID $now $code" >>witness.log',
  'exit $code',
].join('\n');

/** A line of the independent log; `at` in seconds since the machine's start. */
export interface Witnessed {
  readonly what: 'start' | 'end' | 'twice';
  readonly position: number;
  readonly pid: number;
  readonly task_instance_id: number;
  readonly at: number;
  readonly code: number | null;
}

export function readWitness(folder: string): Witnessed[] {
  const file = join(folder, 'witness.log');
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => {
    const [what, position, pid, instance, at, code] = line.split(' ');
    return {
      what: what as Witnessed['what'],
      position: Number(position),
      pid: Number(pid),
      task_instance_id: Number(instance),
      at: Number(at),
      code: code === undefined ? null : Number(code),
    };
  });
}

/** Binds and submits; position p has the name `task_p`. Called again after a failure, it finds what was written before. */
export async function submit(connection: Connection, round: number, folder: string, isFailing: boolean): Promise<WorkflowRun> {
  const tool = new Tool('chaos', { connection, defaultClusterName: 'multiprocess' });
  const workflow = tool.createWorkflow({ name: `chaos ${round}`, workflowArgs: `round ${round}` });
  const template = tool.getTaskTemplate('witness', COMMAND);
  const tasks: Task[] = [];
  for (let position = 0; position < TASKS; position += 1) {
    const { seconds, failures, max_attempts } = planOf(position, isFailing);
    const above = position < WIDTH ? [] : [position - WIDTH, position - WIDTH - (position % WIDTH === 0 ? 0 : 1)];
    const upstreams = [...new Set(above)].map((at) => tasks[at] as Task);
    const options = { name: `task_${position}`, upstreams, maxAttempts: max_attempts };
    tasks.push(workflow.addTask(template.createTask({ position, seconds, failures }, options)));
  }
  return workflow.submit({ workingDirectory: folder });
}
