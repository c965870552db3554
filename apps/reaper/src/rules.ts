/**
 * What the reaper looks for, as a list of rules. A rule finds its work in the database by an index, without input, and asks for what it
 * found to be ended; it changes no status itself. Whoever owns the state decides again under its locks, so a rule that is carried out twice, or
 * by two reapers, or by a Python reaper beside ours, does what one does. What it could not do it finds again.
 */
import {
  CLIENT_RETRY_SECONDS,
  continueCommand,
  Driver,
  endLeftAttempts,
  endLeftWorkflow,
  expireAgent,
  fixStatusInconsistency,
  LEFT_WORKFLOW_SECONDS,
  LIVE_TASK_INSTANCE_STATUSES,
  LIVE_WORKFLOW_RUN_STATUSES,
  reapWorkflowRun,
  setStatusForTriaging,
  workflowRunMachine,
  type WorkflowRunStatus,
} from '@jobmon/contracts';
import { IS_INCONSISTENT_WORKFLOW, type Database } from '@jobmon/entities';
import { send, type Messenger } from '@jobmon/messaging';

/** Agents, runs, commands or workflows of one look; the next look finds the rest. */
const FOUND_MAX = 100;
/** A command whose last piece is so long ago is worked on by nobody: no piece takes longer than a write may (5 s). */
const COMMAND_SILENT_SECONDS = 15;
/** After so long nobody is expected to resume an ended run; what still runs for it is heard of all the while. */
const LEFT_SECONDS_MIN = 86_400;
/** Runs that ended earlier are not looked at again, so that the look costs by what ends in a week and not by all that ever ran. */
const LEFT_SECONDS_MAX = 8 * 86_400;

/** Since when others could be heard, which bounds whose silence counts. */
export interface Heard {
  /** Since how many seconds the api has been there without a break: agents are heard by it. */
  readonly served_seconds: number;
  /** Since how many seconds clients of runs could be heard: besides an api by the bus and a state machine. */
  readonly clients_served_seconds: number;
  readonly lease_seconds: number;
}

/** One thing that a rule would end. */
export interface Finding {
  readonly id: number;
  /** What is the matter, and what is done about it: a sentence for a person. */
  readonly why: string;
}

/** What one piece of an end came to. */
export interface Ended {
  readonly said: string;
  readonly attempts?: number;
  /** There is another piece. */
  readonly remaining?: boolean;
}

export interface Rule {
  /** Of what the ids are: a table of the ERD. */
  readonly of: 'agent' | 'workflow_run' | 'workflow_command' | 'workflow';
  readonly name: string;
  /** How often it is looked for: at each pass, once an hour, or in a pass by hand, since the others have a cursor for it. */
  readonly each: 'pass' | 'hour' | 'call';
  /** Why nobody's silence counts at the moment, or null. */
  spares(heard: Heard): string | null;
  find(database: Database, heard: Heard): Promise<Finding[]>;
  /** One piece of its end. Null: there was nothing to do any more, or its end is still waited for. */
  end(messenger: Messenger, id: number): Promise<Ended | null>;
}

const quoted = (letters: readonly string[]): string => letters.map((letter) => `'${letter}'`).join(',');
const nobody = (): null => null;
const LIVE_RUN = quoted(LIVE_WORKFLOW_RUN_STATUSES);
const IS_CLIENT_RUN = `COALESCE(wr.driver, '${Driver.CLIENT}') = '${Driver.CLIENT}'`;

/** By the index (ended_date, lease_until_date). */
const silentAgents: Rule = {
  of: 'agent',
  name: 'silent agents',
  each: 'pass',
  spares: ({ served_seconds, lease_seconds }) =>
    served_seconds >= lease_seconds
      ? null
      : `no api has been there for a whole lease (${lease_seconds} s) without a break, so agents could not be heard`,
  find: async (database) => {
    const rows = await database.read<{ id: number; hostname: string; lease_until_date: string }>(
      `SELECT id, hostname, lease_until_date FROM agent WHERE ended_date IS NULL AND lease_until_date <= ${database.dialect.now} ` +
        `ORDER BY lease_until_date LIMIT ${FOUND_MAX}`,
    );
    return rows.map(({ id, hostname, lease_until_date }) => ({
      id,
      why: `its lease ended at ${lease_until_date} UTC (host ${hostname}): the attempts that it held end and are tried again`,
    }));
  },
  end: async (messenger, agent_id) => {
    const { ended, remaining } = await send(messenger, expireAgent, { agent_id });
    return { said: 'a silent agent was given up', attempts: ended, remaining };
  },
};

/** What P4 makes of a lost run. */
const REAPED: Readonly<Partial<Record<WorkflowRunStatus, string>>> = {
  L: 'it and its workflow are aborted',
  C: 'its attempts are stopped and it is terminated',
  H: 'its attempts are stopped and it is terminated',
};

/** By the index (status, heartbeat_date). A run that began after the house was there last has never met it away, so its deadline counts at once. */
const lostRuns: Rule = {
  of: 'workflow_run',
  name: 'lost client runs',
  each: 'pass',
  spares: nobody,
  find: async (database, { clients_served_seconds: served_seconds }) => {
    const { now, nowPlusSeconds } = database.dialect;
    const isYoung = served_seconds >= CLIENT_RETRY_SECONDS ? '1 = 1' : `wr.created_date >= ${nowPlusSeconds}`;
    const rows = await database.read<{ id: number; status: WorkflowRunStatus; heartbeat_date: string }>(
      `SELECT wr.id, wr.status, wr.heartbeat_date FROM workflow_run AS wr WHERE wr.status IN (${LIVE_RUN}) AND wr.heartbeat_date <= ${now} ` +
        `AND ${IS_CLIENT_RUN} AND ${isYoung} ORDER BY wr.heartbeat_date LIMIT ${FOUND_MAX}`,
      served_seconds >= CLIENT_RETRY_SECONDS ? [] : [-served_seconds],
    );
    return rows.map(({ id, status, heartbeat_date }) => ({
      id,
      why:
        `its client was silent past the deadline ${heartbeat_date} UTC while it was ${workflowRunMachine.states[status].label}: ` +
        (REAPED[status] ?? 'it ends in error and its workflow fails'),
    }));
  },
  end: async (messenger, workflow_run_id) => {
    const { status, kill_self_remaining } = await send(messenger, reapWorkflowRun, { workflow_run_id });
    return status === '' || kill_self_remaining !== undefined
      ? null
      : { said: `the client of a run went silent, and the run was ended (${status})` };
  },
};

/**
 * Workers go on when the server has taken over the workflow of their client, and the scheduler asks after agents only. By the runs that are
 * live, and their workflow's.
 */
const silentWorkers: Rule = {
  of: 'workflow_run',
  name: 'silent workers of an earlier client',
  each: 'pass',
  spares: nobody,
  find: async (database) => {
    const rows = await database.read<{ id: number }>(
      `SELECT live.id FROM workflow_run AS live WHERE live.status IN (${LIVE_RUN}) AND live.driver = '${Driver.SERVER}' ` +
        'AND (SELECT ti.id FROM workflow_run AS wr JOIN task_instance AS ti ON ti.workflow_run_id = wr.id ' +
        `AND ti.status IN ('O', 'R', 'T', 'X', 'K') AND ti.report_by_date <= ${database.dialect.now} ` +
        `WHERE wr.workflow_id = live.workflow_id AND ${IS_CLIENT_RUN} LIMIT 1) IS NOT NULL ORDER BY live.id LIMIT ${FOUND_MAX}`,
    );
    return rows.map(({ id }) => ({ id, why: 'workers of an earlier client of its workflow are silent: they are asked after' }));
  },
  end: async (messenger, workflow_run_id) => {
    await send(messenger, setStatusForTriaging, { workflow_run_id });
    return null;
  },
};

/** What a process that ended in the middle left of commands on whole workflows. The table holds what is in progress only. */
const cutCommands: Rule = {
  of: 'workflow_command',
  name: 'commands that were cut off',
  each: 'pass',
  spares: nobody,
  find: async (database) => {
    const rows = await database.read<{ workflow_id: number; operation: string; moved_date: string }>(
      `SELECT workflow_id, operation, moved_date FROM workflow_command WHERE moved_date <= ${database.dialect.nowPlusSeconds} ` +
        `ORDER BY moved_date LIMIT ${FOUND_MAX}`,
      [-COMMAND_SILENT_SECONDS],
    );
    return rows.map(({ workflow_id, operation, moved_date }) => ({
      id: workflow_id,
      why: `nobody has gone on with ${operation} since ${moved_date} UTC: it is gone on with`,
    }));
  },
  end: async (messenger, workflow_id) => {
    // A resume may wait for a run to end, for hours.
    const { is_ended } = await send(messenger, continueCommand, { workflow_id });
    return is_ended ? { said: 'a command on a whole workflow that had been cut off was brought to its end' } : null;
  },
};

/** Python's own server leaves such attempts as they stand for ever. By the index (status, heartbeat_date), a week of it. */
const leftAttempts: Rule = {
  of: 'workflow_run',
  name: 'attempts that ended client runs left behind',
  each: 'hour',
  spares: nobody,
  find: async (database) => {
    const { now, nowPlusSeconds } = database.dialect;
    const live = quoted(LIVE_TASK_INSTANCE_STATUSES);
    const rows = await database.read<{ id: number; heartbeat_date: string }>(
      `SELECT wr.id, wr.heartbeat_date FROM workflow_run AS wr WHERE wr.status IN (${quoted([...workflowRunMachine.final])}) ` +
        `AND wr.heartbeat_date BETWEEN ${nowPlusSeconds} AND ${nowPlusSeconds} ` +
        `AND ${IS_CLIENT_RUN} AND (SELECT ti.id FROM task_instance AS ti ` +
        `WHERE ti.workflow_run_id = wr.id AND ti.status IN (${live}) AND (ti.report_by_date IS NULL OR ti.report_by_date <= ${now}) ` +
        `LIMIT 1) IS NOT NULL ORDER BY wr.id LIMIT ${FOUND_MAX}`,
      [-LEFT_SECONDS_MAX, -LEFT_SECONDS_MIN],
    );
    return rows.map(({ id, heartbeat_date }) => ({
      id,
      why: `it ended, its client was last expected at ${heartbeat_date} UTC, and attempts of it are silent: they end`,
    }));
  },
  end: async (messenger, workflow_run_id) => {
    const { ended } = await send(messenger, endLeftAttempts, { workflow_run_id });
    return ended === 0 ? null : { said: 'attempts that an ended client run had left behind were ended', attempts: ended };
  },
};

/** By the index on the status: what is not final and held by nobody leaves these letters, so it does not add up. */
const leftWorkflows: Rule = {
  of: 'workflow',
  name: 'workflows that nobody holds',
  each: 'hour',
  spares: nobody,
  find: async (database) => {
    const { nowPlusSeconds } = database.dialect;
    const letters = Object.entries(LEFT_WORKFLOW_SECONDS);
    const isOld = letters.map(([letter]) => `w.status = '${letter}' AND stood.since <= ${nowPlusSeconds}`).join(' OR ');
    const since = "COALESCE(w.status_date, w.created_date, '2000-01-01')";
    const rows = await database.read<{ id: number; status: string }>(
      `SELECT w.id, w.status FROM workflow AS w WHERE w.status IN (${quoted(letters.map(([letter]) => letter))}) ` +
        `AND (${isOld.replaceAll('stood.since', since)}) AND NOT EXISTS (SELECT 1 FROM workflow_run AS wr WHERE wr.workflow_id = w.id ` +
        `AND wr.status IN (${LIVE_RUN})) AND NOT EXISTS (SELECT 1 FROM workflow_command AS c WHERE c.workflow_id = w.id) ` +
        `ORDER BY w.id LIMIT ${FOUND_MAX}`,
      letters.map(([, seconds]) => -seconds),
    );
    return rows.map(({ id, status }) => ({
      id,
      why:
        status === 'G'
          ? 'nobody has gone on binding it for a week: it is aborted, and may be bound and run nevertheless'
          : `it stands at ${status} and no run has held it for a day: it fails, and may be resumed`,
    }));
  },
  end: async (messenger, workflow_id) => {
    const { status } = await send(messenger, endLeftWorkflow, { workflow_id });
    return status === 'A' || status === 'F' ? { said: `a workflow that nobody held was ended (${status})` } : null;
  },
};

/** The fourth pass. By the index on the status, and the counts of each. */
export const inconsistentWorkflows: Rule = {
  of: 'workflow',
  name: 'failed workflows whose tasks are all done',
  each: 'call',
  spares: nobody,
  find: async (database) => {
    const rows = await database.read<{ id: number }>(
      `SELECT w.id FROM workflow AS w WHERE ${IS_INCONSISTENT_WORKFLOW} ORDER BY w.id LIMIT ${FOUND_MAX}`,
    );
    return rows.map(({ id }) => ({ id, why: 'it is FAILED although all its tasks are DONE: it becomes DONE' }));
  },
  end: async (messenger, id) => {
    const { fixed } = await send(messenger, fixStatusInconsistency, { workflow_id: id - 1, increase_step: 1 });
    return fixed === 0 ? null : { said: 'a failed workflow whose tasks are all done was mended' };
  },
};

/** In this order: what somebody waits for first. */
export const RULES: readonly Rule[] = [
  silentAgents,
  lostRuns,
  silentWorkers,
  cutCommands,
  leftAttempts,
  leftWorkflows,
  inconsistentWorkflows,
];
