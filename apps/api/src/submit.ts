/** Submitting: the graph is proven once, then the state machine makes and links a run. */
import { JobmonError, submitWorkflowRun, type ReplyOf, type RequestOf, type submitWorkflow } from '@jobmon/contracts';
import type { Call, Room } from './context';
import { sealGraph } from './dag';
import { readWorkflow } from './workflow';

/**
 * @throws JobmonError NOT_FOUND; CONFLICT when the graph cannot be run (see `sealGraph`), when the workflow is done, or when a
 *   run of a Python client holds it.
 */
export async function submit(
  { database, sender }: Room,
  request: RequestOf<typeof submitWorkflow>,
  call: Call,
): Promise<ReplyOf<typeof submitWorkflow>> {
  const workflow = await readWorkflow(database, request.workflow_id);
  if (workflow.status === 'D') {
    throw new JobmonError('CONFLICT', `workflow ${workflow.id} is done: its tasks do not run again`, { rule: 'workflow_done' });
  }
  if (workflow.created_date === null || workflow.dag_created_date === null) await sealGraph(database, workflow);
  return sender.send(submitWorkflowRun, request, call.context);
}
