/** Workflows that the server drives: submitted before the fire, and left to it. */
import { join } from 'node:path';
import { Tool, type Connection, type Task } from '@jobmon/client';
import { SCRIPTS } from './python-run';

/** What one workflow asks for at most at one time: more than one agent takes, so that a silent one never holds all of it. */
export const NATIVE_LIMIT = 12;
export const NATIVE_WIDTH = 16;
/** Most attempts of a task: more than any run's faults take. */
const ATTEMPTS_MAX = 60;

const COMMAND = 'exec perl {script} {folder} {label} {seconds} {failures}';

/** Position p waits for p - WIDTH; every seventh command fails once. Answers how long each command takes, by the task's name. */
export async function submitNative(
  connection: Connection,
  name: string,
  count: number,
  folder: string,
  random: () => number,
): Promise<Map<string, number>> {
  const tool = new Tool('chaos', { connection, defaultClusterName: 'multiprocess' });
  const workflow = tool.createWorkflow({ name, workflowArgs: name, maxConcurrentlyRunning: NATIVE_LIMIT });
  const template = tool.getTaskTemplate('executed', COMMAND);
  const tasks: Task[] = [];
  const lasts = new Map<string, number>();
  for (let position = 0; position < count; position += 1) {
    const label = `${name}_${position}`;
    // A few outlast a lease, so that what is given away may still run; none towards the end, where little runs beside them.
    const isLong = random() < 0.02 && position < count - 12 * NATIVE_WIDTH;
    const seconds = Number((isLong ? 9 : random() < 0.1 ? 3 : 0.3 + random()).toFixed(1));
    const failures = position % 7 === 3 ? 1 : 0;
    const upstreams = position < NATIVE_WIDTH ? [] : [tasks[position - NATIVE_WIDTH]!];
    const values = { script: join(SCRIPTS, 'command.pl'), folder, label, seconds, failures };
    tasks.push(workflow.addTask(template.createTask(values, { name: label, upstreams, maxAttempts: ATTEMPTS_MAX })));
    lasts.set(label, seconds);
  }
  await workflow.submit({ workingDirectory: folder });
  return lasts;
}
