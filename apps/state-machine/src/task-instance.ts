/**
 * What whoever runs an attempt reports: workers and distributors of the Python protocol (E19, E20, E22, E23, E26 to E29 of
 * spec/http-api-execution.md) and agents. Reports of one batch are applied in order to one `Transition`, each on what the one before it left.
 *
 * Two gates stand before everything else. A v3 report changes nothing on a run that the server drives (design rule 5.7), and an
 * agent is heard only about an instance that it holds. Both get the standing status as their answer.
 */
import {
  Actor,
  Driver,
  historyReasonOf,
  JobmonError,
  type logDistributorId,
  type logDone,
  type logErrorWorkerNode,
  type logKnownError,
  type logNoDistributorId,
  type logReportBy,
  type logRunning,
  type logUnknownError,
  type reportAttempt,
  taskInstanceMachine,
  verdict,
  type AttemptReport,
  type ReplyOf,
  type RequestOf,
  type TaskInstanceStatus,
} from '@jobmon/contracts';
import { idList, type Dialect, type Procedure, type Statement } from '@jobmon/entities';
import type { Outcome } from '@jobmon/messaging';
import { applyDistributorId, applyKnownError, applyNoDistributorId, applyUnknownError, moveAsReported } from './distributor';
import { tailOf, wellFormed } from './text';
import { Transition, type Asker, type AttemptFields, type ChangedTasks, type LockedInstance } from './transition';

/** One call of the report lane. */
export type Report =
  | { readonly name: 'log_running'; readonly request: RequestOf<typeof logRunning> }
  | { readonly name: 'log_report_by'; readonly request: RequestOf<typeof logReportBy> }
  | { readonly name: 'log_done'; readonly request: RequestOf<typeof logDone> }
  | { readonly name: 'log_error_worker_node'; readonly request: RequestOf<typeof logErrorWorkerNode> }
  | { readonly name: 'log_no_distributor_id'; readonly request: RequestOf<typeof logNoDistributorId> }
  | { readonly name: 'log_distributor_id'; readonly request: RequestOf<typeof logDistributorId> }
  | { readonly name: 'log_known_error'; readonly request: RequestOf<typeof logKnownError> }
  | { readonly name: 'log_unknown_error'; readonly request: RequestOf<typeof logUnknownError> }
  | { readonly name: 'report_attempt'; readonly request: RequestOf<typeof reportAttempt> };

/** Workers and agents are told the standing status, */
export type StatusReply = ReplyOf<typeof logRunning> | ReplyOf<typeof logDone> | ReplyOf<typeof reportAttempt>;
/** distributors a sentence. */
export type ReportReply = StatusReply | ReplyOf<typeof logKnownError>;

/** What a batch of reports answers, the tasks it moved, and which workflow each instance belongs to (for the lane's turns). */
export interface ReportsDone {
  readonly outcomes: Outcome<ReportReply>[];
  readonly changed: ChangedTasks[];
  readonly workflows: (readonly [task_instance_id: number, workflow_id: number])[];
}

/**
 * The report with its texts cut and made fit for their columns. Done once, before it enters a batch, so that its size is known and
 * no value of it can spoil the others' statement.
 */
export function fitReport(report: Report): Report {
  if (report.name === 'report_attempt') {
    return { ...report, request: { ...report.request, report: fitTexts(report.request.report) } };
  }
  return { ...report, request: fitTexts(report.request) } as Report;
}

/** Texts whose last 10,000 characters are kept; all others are as long as their schema lets them be. */
const TAILS: ReadonlySet<string> = new Set(['stdout_log', 'stderr_log', 'error_description', 'error_message', 'no_id_err_msg']);

function fitTexts<T extends object>(values: T): T {
  const fitted = Object.entries(values).map(([name, value]): [string, unknown] => {
    if (typeof value !== 'string') return [name, value];
    return [name, TAILS.has(name) ? tailOf(value) : wellFormed(value)];
  });
  return Object.fromEntries(fitted) as T;
}

/** The instance that a report is about. */
export function instanceOf(report: Report): number {
  return report.name === 'report_attempt' ? report.request.report.task_instance_id : report.request.task_instance_id;
}

const WORKER = (reason: Asker['reason']): Asker => ({ actor: Actor.WORKER, reason });
const RUNNING = WORKER(historyReasonOf('task_instance.log_running'));
const REPORT_BY = WORKER(historyReasonOf('task_instance.log_report_by'));
const DONE = WORKER(historyReasonOf('task_instance.log_done'));
const ERROR = WORKER(historyReasonOf('task_instance.log_error_worker_node'));
const AGENT: Asker = { actor: Actor.AGENT, reason: historyReasonOf('task_instance.report_attempt') };

/**
 * The transaction of a batch of reports. A single log_done is 7 statements, and 64 of them are 7 too: resolve; lock tasks, lock
 * instances; move instances, move tasks, history, counts. To a server these are three messages, and the COMMIT is the fourth.
 */
export function* applyReports(dialect: Dialect, writer: string, reports: readonly Report[]): Procedure<ReportsDone> {
  const transition = new Transition(dialect, writer);
  const read = yield* transition.lock(reports.map(instanceOf), commandsOf(reports));
  const commands = new Map((read as unknown as (Command & { id: number })[]).map((row) => [row.id, row]));
  const outcomes = reports.map((report) => applyReport(transition, report, commands));
  yield* transition.write();
  const workflows = reports.flatMap((report) => {
    const instance = transition.instance(instanceOf(report));
    return instance === undefined ? [] : [[instance.id, instance.task.workflow_id] as const];
  });
  return { outcomes, changed: transition.changed(), workflows };
}

function applyReport(transition: Transition, report: Report, commands: ReadonlyMap<number, Command>): Outcome<ReportReply> {
  const instance = transition.instance(instanceOf(report));
  if (report.name === 'report_attempt') {
    if (instance !== undefined && instance.driver === Driver.SERVER && instance.agent_id === report.request.agent_id) {
      applyAttempt(transition, instance, report.request.report);
    }
    return { ok: { task_instance_id: instanceOf(report), status: instance?.status ?? null } };
  }
  if (instance === undefined) {
    return { error: new JobmonError('NOT_FOUND', `there is no task instance ${instanceOf(report)}`).toBody() };
  }
  const mayChange = instance.driver === Driver.CLIENT;
  const message = (apply: () => string): Outcome<ReportReply> => ({
    ok: { message: mayChange ? apply() : 'the server drives the run of this task instance; nothing was changed' },
  });
  switch (report.name) {
    case 'log_running': {
      const answered = mayChange ? applyRunning(transition, instance, report.request) : instance.status;
      return { ok: runningReply(instance, answered, commands.get(instance.id)) };
    }
    case 'log_report_by':
      if (mayChange) applyReportBy(transition, instance, report.request);
      break;
    case 'log_done':
      if (mayChange) {
        store(instance, endFields(report.request));
        transition.move(instance, 'D', DONE);
      }
      break;
    case 'log_error_worker_node':
      if (mayChange) applyError(transition, instance, report.request);
      break;
    case 'log_no_distributor_id':
      return message(() => applyNoDistributorId(transition, instance, report.request));
    case 'log_distributor_id':
      return message(() => applyDistributorId(transition, instance, report.request));
    case 'log_known_error':
      return message(() => applyKnownError(transition, instance, report.request));
    case 'log_unknown_error':
      return message(() => applyUnknownError(transition, instance, report.request));
  }
  return { ok: { status: instance.status } };
}

/**
 * E19. A worker asks to start, and does so only when it reads R. While it runs, R is answered to the same node and process
 * group alone; anybody else reads F and stores nothing. An order to stop ends as F, a launch given up as E. Otherwise what
 * was sent is kept even when the move is refused.
 */
function applyRunning(
  transition: Transition,
  instance: LockedInstance,
  request: RequestOf<typeof logRunning>,
): TaskInstanceStatus {
  const isStarted = instance.status === 'R' || instance.status === 'T';
  if (isStarted && !isHolder(instance, request)) return 'F';
  const to = instance.status === 'K' ? 'F' : instance.status === 'X' ? 'E' : 'R';
  const decision = transition.move(instance, to, RUNNING);
  if (!isStarted) {
    const { nodename, process_group_id, distributor_id } = request;
    store(instance, { nodename, process_group_id, distributor_id });
  }
  if (decision.accepted && decision.instance_to === 'R') {
    store(instance, { report_by_seconds: Math.ceil(request.next_report_increment) });
  }
  return instance.status;
}

/** Whether the caller is who set R: stored now, or earlier in this very batch. */
function isHolder(instance: LockedInstance, request: RequestOf<typeof logRunning>): boolean {
  const nodename = instance.fields.nodename ?? instance.nodename;
  const processGroup = instance.fields.process_group_id ?? instance.process_group_id;
  return processGroup === request.process_group_id && nodename === (request.nodename ?? null);
}

/** E20. The deadline moves in any status; a triaged instance is heard of again (race 27); only what was sent is stored (race 38). */
function applyReportBy(transition: Transition, instance: LockedInstance, request: RequestOf<typeof logReportBy>): void {
  store(instance, {
    report_by_seconds: Math.ceil(request.next_report_increment),
    stdout: request.stdout,
    stderr: request.stderr,
    distributor_id: request.distributor_id,
  });
  if (instance.status === 'T') transition.move(instance, 'R', REPORT_BY);
}

/** E23. One error row for each (instance, state, text), stored even when the move is refused (race 40). */
function applyError(transition: Transition, instance: LockedInstance, request: RequestOf<typeof logErrorWorkerNode>): void {
  store(instance, endFields(request));
  const isMoved = moveAsReported(transition, instance, request.error_state, ERROR);
  transition.addError({ task_instance_id: instance.id, description: request.error_description, is_new: isMoved ? 1 : 0 });
}

/**
 * What an agent says of its attempt. An end that comes without R before it passes through R, so that every started command has
 * the same history. An attempt that was ordered to stop has stopped, whatever ended it: F, unless it finished first. A
 * repeat stores nothing.
 */
function applyAttempt(transition: Transition, instance: LockedInstance, report: AttemptReport): void {
  const isFailure = report.status !== 'R' && report.status !== 'D';
  const to: TaskInstanceStatus = instance.status === 'K' && isFailure ? 'F' : report.status;
  const isThroughR =
    verdict(taskInstanceMachine, instance.status, to) === 'invalid' && verdict(taskInstanceMachine, 'R', to) === 'valid';
  const steps: readonly TaskInstanceStatus[] = isThroughR ? ['R', to] : [to];
  const isMoved = to === 'R' ? transition.move(instance, to, AGENT).accepted : transition.end(instance, steps, AGENT);
  if (!isMoved) return;
  store(instance, {
    ...endFields(report),
    process_group_id: report.process_group_id,
    exit_code: report.exit_code,
    wallclock: figure(report.wallclock_seconds),
    maxrss: figure(report.max_rss_bytes),
    cpu: figure(report.cpu_seconds),
  });
  if (steps.includes('R')) store(instance, { is_started: 1 });
  const description = report.error_description;
  if (description !== null && description !== undefined) {
    transition.addError({ task_instance_id: instance.id, description, is_new: 1 });
  }
}

/** Figures of usage are kept as text. */
const figure = (value: number | null | undefined): string | null =>
  value === null || value === undefined ? null : String(value);

/** What E19's answer tells of the task besides the status. */
interface Command {
  readonly task_name: string;
  readonly command: string;
  readonly requested_resources: string;
}

/**
 * The read of names, commands and resources of the instances that ask to start, if any does; without locks, they do not change while
 * one runs.
 */
function commandsOf(reports: readonly Report[]): Statement | undefined {
  const instanceIds = reports.filter((report) => report.name === 'log_running').map(instanceOf);
  if (instanceIds.length === 0) return undefined;
  const list = idList(instanceIds);
  return {
    sql:
      'SELECT ti.id, t.name AS task_name, t.command, tr.requested_resources FROM task_instance AS ti ' +
      'JOIN task AS t ON t.id = ti.task_id LEFT JOIN task_resources AS tr ON tr.id = ti.task_resources_id ' +
      `WHERE ti.id IN ${list.sql}`,
    params: list.params,
  };
}

function runningReply(
  instance: LockedInstance,
  status: TaskInstanceStatus,
  command: Command | undefined,
): ReplyOf<typeof logRunning> {
  const requested = parsedResources(command?.requested_resources);
  return {
    task_instance_id: instance.id,
    status,
    workflow_run_id: instance.workflow_run_id,
    task_id: instance.task.id,
    task_name: command?.task_name ?? '',
    command: command?.command ?? '',
    workflow_id: instance.task.workflow_id,
    stdout_dir: folder(requested.stdout),
    stderr_dir: folder(requested.stderr),
  };
}

/** Requested resources are JSON text; what other programs left there and can't be read asks for nothing. */
function parsedResources(json: string | undefined): { stdout?: unknown; stderr?: unknown } {
  try {
    const value: unknown = JSON.parse(json ?? '{}');
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

const folder = (value: unknown): string | null => (typeof value === 'string' ? value : null);

/** The columns that every report of an end may carry. */
function endFields(report: {
  readonly stdout?: string | null;
  readonly stderr?: string | null;
  readonly stdout_log?: string | null;
  readonly stderr_log?: string | null;
  readonly nodename?: string | null;
  readonly distributor_id?: string | null;
}): AttemptFields {
  return {
    stdout: report.stdout,
    stderr: report.stderr,
    stdout_log: report.stdout_log,
    stderr_log: report.stderr_log,
    nodename: report.nodename,
    distributor_id: report.distributor_id,
  };
}

/** Notes columns to write; what is not given leaves what stands. */
function store(instance: LockedInstance, fields: AttemptFields): void {
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined && value !== null) Object.assign(instance.fields, { [name]: value });
  }
}
