/** Agents and what they can be given, over HTTP. */
import { moveWorkflowRun, queueTasks } from '@jobmon/contracts';
import { send } from '@jobmon/messaging';
import { makeWorkflow, ok, type Bound, type Template } from './definitions';
import type { Json, Served } from './serve';

/** An agent of `node1` that serves `sequential`; each user has one state folder, so a second one takes the first one's place. */
export function joinAgent(served: Served, user: string, changes: Record<string, unknown> = {}): Promise<Json> {
  return ok(served, 'POST', '/api/v4/agents', {
    hostname: 'node1',
    user,
    clusters: ['sequential'],
    state_directory: `/var/${user}`,
    process_id: 17,
    version: '0',
    cores: 4,
    memory_gib: 8,
    ...changes,
  });
}

export interface SubmittedRun extends Bound {
  readonly workflow_run_id: number;
  /** Queues tasks of it: all, or these. */
  readonly queue: (task_ids?: number[]) => Promise<unknown>;
}

/** A submitted workflow whose run schedules. Nothing of it is queued until that is asked for. */
export async function submitRun(
  served: Served,
  template: Template,
  name: string,
  count: number,
  user: string,
): Promise<SubmittedRun> {
  const bound = await makeWorkflow(served, template, name, count);
  const { workflow_run_id } = await ok(served, 'POST', `/api/v4/workflows/${bound.workflow_id}/submit`, {
    user,
    working_directory: '/tmp',
  });
  await send(served.messenger, moveWorkflowRun, { workflow_run_id, to: 'R' });
  const queue = (task_ids = bound.task_ids) => send(served.messenger, queueTasks, { workflow_run_id, task_ids });
  return { ...bound, workflow_run_id, queue };
}
