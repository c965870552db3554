/** Why a task does not run: asked by people in front of a workflow that stands still. */
import { z } from 'zod';
import { Id } from './id';
import { operation } from './operation';
import { TaskStatus } from './task';

/** What keeps a task from running, or what it does instead of waiting. */
export const TaskReasonRule = z.enum([
  /** It is no longer to run: done, or its attempts are used up. */
  'done',
  'failed',
  /** It does run, or an agent has taken it. */
  'running',
  'starting',
  /** Nobody walks the graph: never submitted, the run has ended, is being stopped, has not begun yet, is held. */
  'not_submitted',
  'no_live_run',
  'stopping',
  'run_starting',
  'paused',
  /** A client's own scheduler walks it. */
  'client_run',
  /** Upstreams that failed for good, and those that are not done yet. */
  'upstreams_failed',
  'upstreams_not_done',
  /** So many attempts are on their way as may be. */
  'workflow_limit',
  'template_limit',
  /** Nobody is there who would start it: no agent, none of its user, only such as take nothing. */
  'no_agent',
  /** More than any agent has: it runs alone there, when nothing else does. */
  'larger_than_agents',
  /** Agents are there and have no room for it now. */
  'agents_busy',
  /** Others come first. */
  'priority',
  'queue',
  /** Nothing holds it: the next look of scheduler or agent takes it. */
  'ready',
]);
export type TaskReasonRule = z.output<typeof TaskReasonRule>;

export const TaskReason = z.object({
  rule: TaskReasonRule,
  /** One sentence with the cause and, where there is one, the cure. */
  message: z.string(),
  /** The figures of the sentence, for programs: ids, counts, limits. */
  details: z.record(z.string(), z.unknown()),
});
export type TaskReason = z.output<typeof TaskReason>;

/** As it stands at this moment; the reason that matters most comes first. */
export const explainTask = operation({
  name: 'task.explain',
  owner: 'api',
  summary: 'Why a task is not running.',
  http: { method: 'GET', path: '/api/v4/tasks/{task_id}/why' },
  request: z.object({ task_id: Id }),
  reply: z.object({
    task_id: z.number().int(),
    workflow_id: z.number().int(),
    name: z.string(),
    status: z.enum(Object.values(TaskStatus) as [TaskStatus, ...TaskStatus[]]),
    reasons: z.array(TaskReason).min(1),
  }),
});
