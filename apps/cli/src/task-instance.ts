/** The attempts of a task as they are named on the line and in tables. */
import {
  JobmonError,
  taskInstanceMachine,
  type getTask,
  type ReplyOf,
  type TaskInstanceStatus,
  type TaskInstanceView,
} from '@jobmon/contracts';
import { oneLine } from './text';

/** The word for a status of an attempt; a letter that is not known stays. */
export function instanceLabel(letter: string): string {
  return taskInstanceMachine.states[letter as TaskInstanceStatus]?.label ?? letter;
}

/** An attempt by its number, the first is 1, or the latest. Throws NOT_FOUND. */
export function attemptOf(
  { task, instances }: Pick<ReplyOf<typeof getTask>, 'task' | 'instances'>,
  attempt: number | undefined,
): { number: number; instance: TaskInstanceView } {
  const number = attempt ?? instances.length;
  const instance = instances[number - 1];
  if (instance !== undefined) return { number, instance };
  const have = instances.length === 0 ? 'was not started yet' : `has no attempt ${number}: the latest is ${instances.length}`;
  throw new JobmonError('NOT_FOUND', `task ${task.task_id} (${oneLine(task.name)}) ${have}`);
}
