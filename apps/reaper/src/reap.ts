/**
 * One pass of the reaper: finds agents that were silent for a whole lease and asks for the end of what they held, piece by
 * piece; the last piece closes the agent too. Then client runs whose deadline has passed, each of which ends by the rule of its
 * status, what such runs left running for a server run, and commands on whole workflows that nobody goes on with. Takes no
 * input, finds its work in the database, changes no status itself: the same pass twice, or two reapers at once, do what one
 * does. Whatever a pass could not do, the next one finds again.
 */
import {
  continueCommand,
  Driver,
  expireAgent,
  JobmonError,
  LIVE_WORKFLOW_RUN_STATUSES,
  reapWorkflowRun,
  setStatusForTriaging,
} from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { send, type Messenger } from '@jobmon/messaging';
import type { Config, Logger } from '@jobmon/runtime';

/** Agents of one pass; the next pass finds the rest. */
const AGENTS_MAX = 100;
/** Pieces of 1,000 attempts asked for in one pass for one agent; an agent beats with at most 100,000. */
const PIECES_MAX = 100;
/** Runs, and commands, of one pass. */
const RUNS_MAX = 100;
/**
 * For so long after the house was away a run that is older than its return is not given up: a client that found nobody asks again
 * after up to 128 s, and has 20 s for it (spec/http-api-execution.md section 2.5).
 */
const RETRY_SECONDS_MAX = 150;
/** A command whose last piece is so long ago is worked on by nobody: no piece takes longer than a write may (5 s). */
const COMMAND_SILENT_SECONDS = 15;

export interface ReaperContext {
  readonly config: { readonly agent: Pick<Config['agent'], 'lease_seconds'> };
  readonly log: Logger;
  readonly messenger: Messenger;
  readonly database: Database;
}

/**
 * Answers how many attempts of agents were ended. One agent, run or command that fails is logged and does not keep the others waiting.
 * `there_ms`: for how long the house has been there without a break. `sparesAgents`: a lease ago agents could not be heard, so none is
 * given up. Throws when the database can't be read or written: then it could not hear agents either.
 */
export async function reap(context: ReaperContext, there_ms = Number.MAX_SAFE_INTEGER, sparesAgents = false): Promise<number> {
  const ended = sparesAgents ? 0 : await endSilentAgents(context);
  await endLostRuns(context, Math.floor(there_ms / 1_000));
  await askAfterSurvivors(context);
  await goOnWithCommands(context);
  return ended;
}

async function endSilentAgents({ database, messenger, log }: ReaperContext): Promise<number> {
  const silent = await database.read<{ id: number }>(
    `SELECT id FROM agent WHERE ended_date IS NULL AND lease_until_date <= ${database.dialect.now} ` +
      `ORDER BY lease_until_date LIMIT ${AGENTS_MAX}`,
  );
  let ended = 0;
  for (const { id: agent_id } of silent) {
    try {
      let remaining = true;
      for (let piece = 0; remaining && piece < PIECES_MAX; piece += 1) {
        const reply = await send(messenger, expireAgent, { agent_id });
        ended += reply.ended;
        remaining = reply.remaining;
      }
    } catch (error) {
      log.warn({ error, agent_id }, 'a silent agent could not be given up and is tried again');
      if (JobmonError.from(error).code === 'UNAVAILABLE') throw error;
    }
  }
  if (ended > 0) log.warn({ agents: silent.length, attempts: ended }, 'attempts of silent agents were given up');
  return ended;
}

/** Runs that began after the house was there last have never met it away, so their deadline counts at once. */
async function endLostRuns({ database, messenger, log }: ReaperContext, there_seconds: number): Promise<void> {
  const { now, nowPlusSeconds } = database.dialect;
  const isYoung = there_seconds >= RETRY_SECONDS_MAX ? '1 = 1' : `created_date >= ${nowPlusSeconds}`;
  const lost = await database.read<{ id: number }>(
    `SELECT id FROM workflow_run WHERE status IN (${LIVE_WORKFLOW_RUN_STATUSES.map((letter) => `'${letter}'`).join(',')}) ` +
      `AND heartbeat_date <= ${now} AND COALESCE(driver, '${Driver.CLIENT}') = '${Driver.CLIENT}' AND ${isYoung} ` +
      `ORDER BY heartbeat_date LIMIT ${RUNS_MAX}`,
    there_seconds >= RETRY_SECONDS_MAX ? [] : [-there_seconds],
  );
  for (const { id: workflow_run_id } of lost) {
    try {
      const { status, kill_self_remaining } = await send(messenger, reapWorkflowRun, { workflow_run_id });
      if (status !== '' && kill_self_remaining === undefined) {
        log.warn({ workflow_run_id, status }, 'the client of a run went silent, and the run was ended');
      }
    } catch (error) {
      log.warn({ error, workflow_run_id }, 'a lost run could not be ended and is tried again');
    }
  }
}

/**
 * After a hot resume by the server, workers of the client before it go on. Its swarm, which asked after those that went silent, is gone; the
 * rules of silence are the same (E61), so that one whose machine died is tried again and not waited for. A run costs a look at its index.
 */
async function askAfterSurvivors({ database, messenger, log }: ReaperContext): Promise<void> {
  const silent = await database.read<{ id: number }>(
    `SELECT live.id FROM workflow_run AS live WHERE live.status IN (${LIVE_WORKFLOW_RUN_STATUSES.map((letter) => `'${letter}'`).join(',')}) ` +
      `AND live.driver = '${Driver.SERVER}' AND (SELECT ti.id FROM workflow_run AS wr JOIN task_instance AS ti ON ti.workflow_run_id = wr.id ` +
      `AND ti.status IN ('O', 'R', 'T', 'X', 'K') AND ti.report_by_date <= ${database.dialect.now} WHERE wr.workflow_id = live.workflow_id ` +
      `AND COALESCE(wr.driver, '${Driver.CLIENT}') = '${Driver.CLIENT}' LIMIT 1) IS NOT NULL ORDER BY live.id LIMIT ${RUNS_MAX}`,
  );
  for (const { id: workflow_run_id } of silent) {
    try {
      await send(messenger, setStatusForTriaging, { workflow_run_id });
    } catch (error) {
      log.warn({ error, workflow_run_id }, 'attempts of an earlier client could not be asked after; that is tried again');
    }
  }
}

/** What a process that ended in the middle left of commands on whole workflows. */
async function goOnWithCommands({ database, messenger, log }: ReaperContext): Promise<void> {
  const silent = await database.read<{ workflow_id: number }>(
    `SELECT workflow_id FROM workflow_command WHERE moved_date <= ${database.dialect.nowPlusSeconds} ORDER BY moved_date LIMIT ${RUNS_MAX}`,
    [-COMMAND_SILENT_SECONDS],
  );
  for (const { workflow_id } of silent) {
    try {
      const { is_ended } = await send(messenger, continueCommand, { workflow_id });
      // A resume may wait for a run to end, for hours.
      if (is_ended) log.warn({ workflow_id }, 'a command on a whole workflow that had been cut off was brought to its end');
    } catch (error) {
      log.warn({ error, workflow_id }, 'a command on a whole workflow is not at its end yet');
    }
  }
}
