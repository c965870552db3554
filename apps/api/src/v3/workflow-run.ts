/** Client runs: E56. The state machine links; only the api knows whether the client has learned of it. */
import { abortWorkflowRun, linkWorkflowRun, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Call, Register, Room } from '../context';

export function registerWorkflowRun(answer: Register): void {
  answer(linkWorkflowRun, answerLink);
}

/**
 * E56. A client that hung up before its answer was on the way does not know of its run and asks again: the run is aborted, so that
 * the repeat links anew and is not refused by it for the 93 s until the run's deadline.
 */
async function answerLink(
  { sender, log }: Room,
  request: RequestOf<typeof linkWorkflowRun>,
  call: Call,
): Promise<ReplyOf<typeof linkWorkflowRun>> {
  const context = call.context;
  const answered = call.answered();
  const linked = await sender.send(linkWorkflowRun, request, context);
  const { workflow_run_id } = linked;
  if (workflow_run_id !== null) {
    void answered
      .then((wasAnswered) => (wasAnswered ? undefined : sender.send(abortWorkflowRun, { workflow_run_id }, context)))
      .catch((error: unknown) => log.warn({ error, workflow_run_id }, 'a run whose client hung up could not be aborted'));
  }
  return linked;
}
