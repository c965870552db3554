/**
 * What is said in the log of an attempt's fate: that it failed and why, that it is to be killed, that it was given up. Said when it has been
 * committed, and of what somebody had taken only: a workflow that is cancelled gives back any number of attempts that nobody had begun.
 */
import { HISTORY_REASONS, taskInstanceMachine, taskMachine, type TaskInstanceStatus, type TaskStatus } from '@jobmon/contracts';
import type { Database, Procedure, Statement, WriteOptions } from '@jobmon/entities';
import type { MessageContext } from '@jobmon/messaging';
import type { Logger } from '@jobmon/runtime';
import type { ErrorRow, HistoryRow } from './record';

export interface AttemptEnd {
  readonly task_instance_id: number;
  readonly task_id: number;
  readonly workflow_run_id: number;
  readonly workflow_id: number;
  readonly to: TaskInstanceStatus;
  /** Where the task stands by it. */
  readonly task_status: TaskStatus;
  readonly reason: HistoryRow['reason'];
  readonly why: string | undefined;
}

/** A statement that ends attempts. */
interface EndingStatement extends Statement {
  readonly ends?: readonly AttemptEnd[];
}

/** Of one transaction; how many more there were is told in one line. */
const TOLD_MAX = 100;
const WHY_CHARS_MAX = 1_000;
/** An attempt in these has failed, or is told to stop. */
const ENDS: ReadonlySet<TaskInstanceStatus> = new Set(['E', 'F', 'K', 'U', 'X', 'Z']);

/** What `endsOf` needs to know of an instance. */
interface Ended {
  readonly workflow_run_id: number;
  readonly task: { readonly id: number; readonly workflow_id: number; readonly status: TaskStatus };
}

/** The ends among the steps of a transaction. */
export function endsOf(
  history: readonly HistoryRow[],
  errors: readonly ErrorRow[],
  instances: ReadonlyMap<number, Ended>,
): AttemptEnd[] {
  const ended = history.filter(
    ({ from_status, to_status }) => ENDS.has(to_status) && from_status !== null && from_status !== 'Q',
  );
  if (ended.length === 0) return [];
  const why = new Map(errors.map(({ task_instance_id, description }) => [task_instance_id, description]));
  return ended.flatMap(({ task_instance_id, to_status, reason }) => {
    const instance = instances.get(task_instance_id);
    if (instance === undefined) return [];
    const { task, workflow_run_id } = instance;
    const { id: task_id, workflow_id, status: task_status } = task;
    return [
      {
        task_instance_id,
        task_id,
        workflow_run_id,
        workflow_id,
        to: to_status,
        task_status,
        reason,
        why: why.get(task_instance_id),
      },
    ];
  });
}

/** A write whose ends are told with the request and the trace that caused each. */
export interface ToldWriteOptions extends WriteOptions {
  /** By attempt; undefined where nobody outside asked. */
  readonly originOf?: (task_instance_id: number) => MessageContext | undefined;
}

/** The database, with an ear on ends that were committed. */
export function tellEnds(database: Database, log: Logger): Database {
  const write = async <T>(options: ToldWriteOptions, procedure: () => Procedure<T>): Promise<T> => {
    let ends: AttemptEnd[] = [];
    const heard = function* (): Procedure<T> {
      // A procedure that is run again has ended nothing before.
      ends = [];
      const running = procedure();
      let step = running.next();
      while (!step.done) {
        const result = yield step.value;
        ends.push(...((step.value as EndingStatement).ends ?? []));
        step = running.next(result);
      }
      return step.value;
    };
    const answer = await database.write(options, heard);
    for (const end of ends.slice(0, TOLD_MAX)) tell(end, options.originOf?.(end.task_instance_id), log);
    if (ends.length > TOLD_MAX) {
      const { workflow_id, workflow_run_id } = ends[TOLD_MAX] as AttemptEnd;
      log.warn({ workflow_id, workflow_run_id, attempts: ends.length - TOLD_MAX }, 'more attempts ended so at the same time');
    }
    return answer;
  };
  return Object.create(database, { write: { value: write } }) as Database;
}

function tell({ to, task_status, reason, why, ...ids }: AttemptEnd, origin: MessageContext | undefined, log: Logger): void {
  const isKill = to === 'K';
  log.info(
    {
      ...ids,
      ...origin,
      status: taskInstanceMachine.states[to].label,
      task_status: taskMachine.states[task_status].label,
      operation: HISTORY_REASONS[reason],
      ...(why === undefined ? {} : { why: why.slice(0, WHY_CHARS_MAX) }),
    },
    isKill
      ? 'an attempt is to be killed'
      : reason === AGENT_EXPIRED
        ? 'an attempt of a silent agent was given up'
        : 'an attempt failed',
  );
}

/** `agent.expire` in `HISTORY_REASONS`. */
const AGENT_EXPIRED = 4;
