/** The way of an agent's log records: it is on no bus, so they go to the server by a call of its own, in the agent's name. */
import { appendLogRecords, JobmonError, type SentLogRecord } from '@jobmon/contracts';
import type { Logger } from '@jobmon/runtime';
import type { Agent } from './agent';

const ANSWER_MS_MAX = 20_000;

/**
 * Gives records to the server that the agent has joined. A server that does not take them for what they are (an older one, say) is not asked again
 * with these.
 *
 * @throws JobmonError UNAVAILABLE: not now; they may be given again.
 */
export async function tellServer({ connection, term }: Agent, records: readonly SentLogRecord[], log: Logger): Promise<void> {
  if (term === null) throw new JobmonError('UNAVAILABLE', 'the agent has not joined yet');
  const request = { agent_id: term.agent_id, records: [...records] };
  try {
    await connection.send(appendLogRecords, request, { timeout_ms: ANSWER_MS_MAX, tries_max: 1 });
  } catch (thrown) {
    const error = JobmonError.from(thrown);
    if (error.kind.retryable) throw error;
    log.info({ error: error.message, records: records.length }, 'the server refuses log records of this agent');
  }
}
