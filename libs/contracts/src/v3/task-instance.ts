/** Task instances as workers and distributors report them: E19 to E23, E26 to E30, E61. */
import { z } from 'zod';
import { Id, ID_MAX } from '../id';
import { operation, type Operation } from '../operation';
import { LOG_TAIL_CHARACTERS_MAX, Path, StandingStatus } from '../task-instance';

/** Seconds to the next report; Python sends a float, older tools its digits. */
export const Increment = z
  .union([
    z.number(),
    z
      .string()
      .regex(/^[0-9]{1,8}(\.[0-9]{1,15})?$/, 'must be a number')
      .transform(Number),
  ])
  .pipe(z.number().positive().max(31_536_000));

/** The id that a cluster gave to a job. The column holds 20 characters; a number is taken as its digits. */
export const DistributorId = z.union([z.string().max(20), z.number().transform(String).pipe(z.string().max(20))]);

/** A process group's id, which Python sends as digits (trap 15). */
const ProcessGroupId = z
  .union([
    z.number(),
    z
      .string()
      .regex(/^[0-9]{1,10}$/, 'must be a whole number')
      .transform(Number),
  ])
  .pipe(z.number().int().nonnegative().max(ID_MAX));

/**
 * Text of which the last 10,000 characters are stored. More than those may hold is cut off here already, so that a report with
 * megabytes of output crosses the bus.
 */
const Tail = z.string().transform((text) => text.slice(-2 * LOG_TAIL_CHARACTERS_MAX));

/** Largest body of a report with texts. Only their ends are kept, so this bounds the reading alone. */
const REPORT_BYTES_MAX = 8 * 1024 * 1024;

/** Ids of one request: as many as one message of the bus holds. Python clients send 500. */
export const IDS_MAX = 40_000;

const Nodename = z.string().max(150).nullish();

/** The report fields that E22 and E23 share. */
const attemptEnd = {
  stdout: Path,
  stderr: Path,
  stdout_log: Tail.nullish(),
  stderr_log: Tail.nullish(),
  nodename: Nodename,
  distributor_id: DistributorId.nullish(),
};

/** What a failed attempt may be reported as. */
const FailureState = z.enum(['E', 'Z', 'U', 'F']);

/** What E19 answers; the wire form is an array by position (spec/http-api-execution.md section 2.6). */
const LogRunningReply = z.object({
  task_instance_id: z.number().int(),
  status: z.string(),
  workflow_run_id: z.number().int(),
  task_id: z.number().int(),
  task_name: z.string(),
  command: z.string(),
  workflow_id: z.number().int(),
  stdout_dir: z.string().nullable(),
  stderr_dir: z.string().nullable(),
});

/**
 * E19. A worker asks to start; it runs its command only when it reads back R. R is told to one (nodename, process group) alone, so a
 * job that the cluster started twice runs once. An order to stop ends here as F, a launch given up as E. Unknown id: 404.
 */
export const logRunning = operation({
  protocol: 'E19',
  name: 'task_instance.log_running',
  owner: 'state-machine',
  summary: 'A worker reports that it starts the command of a task instance.',
  batch: 'report',
  http: {
    method: 'POST',
    path: '/api/v3/task_instance/{task_instance_id}/log_running',
    toWire: (r: z.output<typeof LogRunningReply>) => ({
      task_instance: [
        r.task_instance_id,
        r.status,
        r.workflow_run_id,
        r.task_id,
        r.task_name,
        r.command,
        r.workflow_id,
        r.stdout_dir,
        r.stderr_dir,
      ],
    }),
    wire: z.object({
      /** id, status, workflow run, task, its name, its command, workflow, folder of stdout, folder of stderr. */
      task_instance: z.tuple([
        z.number().int(),
        z.string(),
        z.number().int(),
        z.number().int(),
        z.string(),
        z.string(),
        z.number().int(),
        z.string().nullable(),
        z.string().nullable(),
      ]),
    }),
  },
  request: z.object({
    task_instance_id: Id,
    process_group_id: ProcessGroupId,
    next_report_increment: Increment,
    nodename: Nodename,
    distributor_id: DistributorId.nullish(),
  }),
  reply: LogRunningReply,
});

/** E20. The worker's heartbeat; updates only the fields that were sent (race 38), brings T back to R (race 27). Unknown id: 404. */
export const logReportBy = operation({
  protocol: 'E20',
  name: 'task_instance.log_report_by',
  owner: 'state-machine',
  summary: 'Heartbeat of a running task instance; the answer tells whether it may go on.',
  batch: 'report',
  http: { method: 'POST', path: '/api/v3/task_instance/{task_instance_id}/log_report_by' },
  request: z.object({
    task_instance_id: Id,
    next_report_increment: Increment,
    stdout: Path,
    stderr: Path,
    distributor_id: DistributorId.nullish(),
  }),
  reply: StandingStatus,
});

/** E22. D from R, T and K. The fields are stored even when the move is refused: the work is done. Unknown id: 404. */
export const logDone = operation({
  protocol: 'E22',
  name: 'task_instance.log_done',
  owner: 'state-machine',
  summary: 'A worker reports that its command returned 0.',
  batch: 'report',
  http: { method: 'POST', path: '/api/v3/task_instance/{task_instance_id}/log_done', body_bytes_max: REPORT_BYTES_MAX },
  request: z.object({ task_instance_id: Id, ...attemptEnd }),
  reply: StandingStatus,
});

/** E23. One error row for each (instance, state, text), however often it is sent (race 40). Unknown id: 404. */
export const logErrorWorkerNode = operation({
  protocol: 'E23',
  name: 'task_instance.log_error_worker_node',
  owner: 'state-machine',
  summary: 'A worker reports that its command failed, was killed for its resources, or was stopped as ordered.',
  batch: 'report',
  http: {
    method: 'POST',
    path: '/api/v3/task_instance/{task_instance_id}/log_error_worker_node',
    body_bytes_max: REPORT_BYTES_MAX,
  },
  request: z.object({
    task_instance_id: Id,
    error_state: FailureState,
    error_description: Tail,
    ...attemptEnd,
  }),
  reply: StandingStatus,
});

/**
 * E21. The distributor's heartbeat for what its cluster still lists: the deadline of those in O moves on. Ids that stand elsewhere or
 * do not exist are passed over.
 */
export const logReportByBatch = operation({
  protocol: 'E21',
  name: 'task_instance.log_report_by_batch',
  owner: 'state-machine',
  summary: 'Heartbeat of many launched task instances.',
  http: {
    method: 'POST',
    path: '/api/v3/task_instance/log_report_by/batch',
    toWire: (reply: { is_empty: boolean }) => (reply.is_empty ? null : {}),
    wire: z.union([z.object({}), z.null()]),
  },
  request: z.object({
    next_report_increment: Increment,
    task_instance_ids: z.array(Id).max(IDS_MAX).nullish(),
  }),
  reply: z.object({
    /** No id was sent; the wire has null then. */
    is_empty: z.boolean(),
  }),
});

/** What a distributor reads of its single reports; the text is for people, empty when all went as asked. */
const Message = z.object({ message: z.string() });

/** E26. The cluster took no job: I→W, with the task's retry rule. One error row for each text, even when refused (race 40). */
export const logNoDistributorId = operation({
  protocol: 'E26',
  name: 'task_instance.log_no_distributor_id',
  owner: 'state-machine',
  summary: 'A distributor could not hand a task instance to its cluster.',
  batch: 'report',
  http: {
    method: 'POST',
    path: '/api/v3/task_instance/{task_instance_id}/log_no_distributor_id',
    body_bytes_max: REPORT_BYTES_MAX,
  },
  request: z.object({ task_instance_id: Id, no_id_err_msg: Tail }),
  reply: Message,
});

/**
 * E27. A single launch: cluster id and deadline are stored in any state, since sequential clusters send it when the job has ended;
 * I→O with the same write as E3 (race 55).
 */
export const logDistributorId = operation({
  protocol: 'E27',
  name: 'task_instance.log_distributor_id',
  owner: 'state-machine',
  summary: 'A distributor handed one task instance to its cluster.',
  batch: 'report',
  http: { method: 'POST', path: '/api/v3/task_instance/{task_instance_id}/log_distributor_id' },
  request: z.object({ task_instance_id: Id, distributor_id: DistributorId, next_report_increment: Increment }),
  reply: Message,
});

const knownFailure = {
  task_instance_id: Id,
  /** As the cluster's plug-in says. One that finds the job still running says R: no failure, so nothing is done. */
  error_state: StandingStatus.shape.status,
  error_message: Tail,
  distributor_id: DistributorId.nullish(),
  nodename: Nodename,
};

/** E28. What the cluster says of an attempt. In that state already, refused, or no failure: no error row, 200. */
export const logKnownError = operation({
  protocol: 'E28',
  name: 'task_instance.log_known_error',
  owner: 'state-machine',
  summary: 'A distributor reports why a task instance ended.',
  batch: 'report',
  http: {
    method: 'POST',
    path: '/api/v3/task_instance/{task_instance_id}/log_known_error',
    body_bytes_max: REPORT_BYTES_MAX,
  },
  request: z.object(knownFailure),
  reply: Message,
});

/** E29. As E28, but a fresh heartbeat wins: while the deadline has not passed nothing is done, which is a normal answer (race 39). */
export const logUnknownError = operation({
  protocol: 'E29',
  name: 'task_instance.log_unknown_error',
  owner: 'state-machine',
  summary: 'A distributor gives up a silent task instance.',
  batch: 'report',
  http: {
    method: 'POST',
    path: '/api/v3/task_instance/{task_instance_id}/log_unknown_error',
    body_bytes_max: REPORT_BYTES_MAX,
  },
  request: z.object(knownFailure),
  reply: Message,
});

/** Seconds for which a byte-identical repeat of E30 is answered what the lost answer held. */
export const INSTANTIATE_REPEAT_SECONDS = 60;

const InstantiateReply = z.object({
  batches: z.array(
    z.object({
      array_id: z.number().int(),
      array_name: z.string(),
      array_batch_num: z.number().int(),
      task_resources_id: z.number().int(),
      task_instance_ids: z.array(z.number().int()),
    }),
  ),
});

/**
 * E30. A distributor takes queued instances: Q→I. Answered are those that this call moved (race 33), and for 60 s those in I that a call
 * with exactly the same list moved, since its answer may have been lost. Instances of runs that are ending or ended stay. By array,
 * batch and resources, ids ascending (race 35).
 */
export const instantiateTaskInstances = operation({
  protocol: 'E30',
  name: 'task_instance.instantiate',
  owner: 'state-machine',
  summary: 'A distributor takes queued task instances.',
  http: {
    method: 'POST',
    path: '/api/v3/task_instance/instantiate_task_instances',
    toWire: (reply: z.output<typeof InstantiateReply>) => ({
      task_instance_batches: reply.batches.map((batch) => [
        batch.array_id,
        batch.array_name,
        batch.array_batch_num,
        batch.task_resources_id,
        batch.task_instance_ids,
      ]),
    }),
    wire: z.object({
      /** array, its name, batch number, resources, ids. */
      task_instance_batches: z.array(
        z.tuple([z.number().int(), z.string(), z.number().int(), z.number().int(), z.array(z.number().int())]),
      ),
    }),
  },
  request: z.object({ task_instance_ids: z.array(Id).max(IDS_MAX) }),
  reply: InstantiateReply,
});

/**
 * E61. The swarm asks for a look at silent attempts of its workflow, those of earlier runs too (race 31): R past its deadline → T; O past
 * its deadline and launched long ago → X (race 15). What stays in T or X that long without anybody's word is given up (races 7 and
 * 51): T→U, X→E. So is what stays so long under the order to stop: K→F.
 */
export const setStatusForTriaging = operation({
  protocol: 'E61',
  name: 'workflow_run.set_status_for_triaging',
  owner: 'state-machine',
  summary: 'Mark the silent task instances of a workflow.',
  http: { method: 'POST', path: '/api/v3/workflow_run/{workflow_run_id}/set_status_for_triaging' },
  request: z.object({ workflow_run_id: Id }),
  reply: z.object({}),
});

export const TASK_INSTANCE_OPERATIONS: readonly Operation[] = [
  logRunning,
  logReportBy,
  logReportByBatch,
  logDone,
  logErrorWorkerNode,
  logNoDistributorId,
  logDistributorId,
  logKnownError,
  logUnknownError,
  instantiateTaskInstances,
  setStatusForTriaging,
];
