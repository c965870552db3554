/**
 * The record of transitions: one row (instance, sequence, from, to, when, who, why) in the transaction of each transition
 * (design rule 5.6). Who is a letter, why a number; both lists only ever grow, since stored rows point at them.
 */

/** Who asked for a transition. */
export const Actor = {
  AGENT: 'A',
  SCHEDULER: 'S',
  REAPER: 'P',
  /** A Python worker on its node. */
  WORKER: 'W',
  /** A Python distributor. */
  DISTRIBUTOR: 'D',
  /** A Python client with its swarm. */
  CLIENT: 'C',
  /** A person, by command line or screen. */
  USER: 'U',
} as const;
export type Actor = (typeof Actor)[keyof typeof Actor];

/** Why: the number that is stored for the operation that asked. Never renumber. */
export const HISTORY_REASONS = {
  1: 'task.queue',
  2: 'task_instance.lease',
  3: 'task_instance.report_attempt',
  4: 'agent.expire',
  5: 'task_instance.log_running',
  6: 'task_instance.log_report_by',
  7: 'task_instance.log_done',
  8: 'task_instance.log_error_worker_node',
  9: 'array.queue_task_batch',
  10: 'task_instance.instantiate',
  11: 'array.transition_to_launched',
  12: 'task_instance.log_distributor_id',
  13: 'task_instance.log_no_distributor_id',
  14: 'task_instance.log_known_error',
  15: 'task_instance.log_unknown_error',
  16: 'array.transition_to_killed',
  17: 'workflow_run.set_status_for_triaging',
  18: 'workflow_run.terminate_task_instances',
  19: 'workflow.force_cleanup_kill_self',
  20: 'task.reset',
  21: 'task.update_statuses',
  22: 'workflow.reset',
  23: 'workflow_run.reap',
  24: 'workflow.drain',
  25: 'workflow.cancel',
  26: 'workflow.resume',
  27: 'workflow.retry',
  28: 'workflow.start_over',
  29: 'workflow_run.end_attempts',
} as const satisfies Record<number, string>;
export type HistoryReason = keyof typeof HISTORY_REASONS;

/** The number stored for an operation's name. */
export function historyReasonOf(operationName: (typeof HISTORY_REASONS)[HistoryReason]): HistoryReason {
  for (const [id, name] of Object.entries(HISTORY_REASONS)) if (name === operationName) return Number(id) as HistoryReason;
  throw new Error(`no history reason for ${operationName}`);
}
