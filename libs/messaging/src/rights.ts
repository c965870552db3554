/**
 * Who may say and hear what on the bus: the least that each service needs, from the contracts, and the accounts of a NATS server made of it.
 * The page docs/bus.md and the configuration are two forms of the one table below.
 */
import {
  abortWorkflowRun,
  agentAsked,
  agentOrdered,
  apiTokenRevoked,
  beatWorkflowRuns,
  continueCommand,
  endLeftAttempts,
  endLeftWorkflow,
  expireAgent,
  fixStatusInconsistency,
  leaseTaskInstances,
  leaseWorkflowRuns,
  listArrivedLogRecords,
  logRecordStored,
  moveWorkflowRun,
  OPERATIONS,
  queueTasks,
  reapWorkflowRun,
  releaseWorkflowRuns,
  renewScheduler,
  reportAttempt,
  resetTasks,
  setStatusForTriaging,
  settleWorkflowRun,
  subjectOf,
  subjectOfEvent,
  submitWorkflowRun,
  taskChanged,
  taskQueued,
  workflowControlled,
  workflowRunChanged,
  type Event,
  type Operation,
  type Service,
} from '@jobmon/contracts';
import { LOG_CONSUMER, LOG_STREAM, LOG_SUBJECT } from './log-subjects';

/** The processes that are on the bus. */
export const BUS_SERVICES = ['api', 'state-machine', 'scheduler', 'reaper', 'log-sink'] as const;
export type BusService = (typeof BUS_SERVICES)[number];

export interface Rights {
  /** Whether it answers the operations that it owns; only as a member of its own group. */
  readonly isAnswering: boolean;
  /** Operations that it asks for. */
  readonly asks: readonly Operation[];
  /** Events that it tells of. */
  readonly tells: readonly Event[];
  /** Events that it hears. */
  readonly hears: readonly Event[];
}

/** What the api passes on for whoever calls it over HTTP. */
const ROUTED: readonly Operation[] = OPERATIONS.filter(({ owner, http }) => owner !== 'api' && http !== undefined);

export const RIGHTS: Readonly<Record<BusService, Rights>> = {
  api: {
    isAnswering: false,
    asks: [
      ...ROUTED,
      // Inside of routes of its own.
      abortWorkflowRun,
      leaseTaskInstances,
      listArrivedLogRecords,
      reportAttempt,
      resetTasks,
      submitWorkflowRun,
    ],
    tells: [agentOrdered, agentAsked, apiTokenRevoked],
    hears: [
      taskChanged,
      taskQueued,
      workflowRunChanged,
      workflowControlled,
      agentOrdered,
      agentAsked,
      apiTokenRevoked,
      logRecordStored,
    ],
  },
  'state-machine': {
    isAnswering: true,
    asks: [],
    tells: [taskChanged, taskQueued, workflowRunChanged, workflowControlled, agentOrdered],
    hears: [],
  },
  scheduler: {
    isAnswering: false,
    asks: [
      leaseWorkflowRuns,
      renewScheduler,
      releaseWorkflowRuns,
      moveWorkflowRun,
      queueTasks,
      settleWorkflowRun,
      continueCommand,
      beatWorkflowRuns,
    ],
    tells: [],
    hears: [taskChanged, workflowRunChanged, workflowControlled],
  },
  reaper: {
    isAnswering: false,
    asks: [
      fixStatusInconsistency,
      expireAgent,
      reapWorkflowRun,
      setStatusForTriaging,
      continueCommand,
      endLeftAttempts,
      endLeftWorkflow,
    ],
    tells: [],
    hears: [],
  },
  'log-sink': { isAnswering: true, asks: [], tells: [logRecordStored], hears: [] },
};

/** What the sink asks JetStream for: its stream, its consumer, and that a message was stored. */
const STREAM_SUBJECTS = [
  '$JS.API.INFO',
  `$JS.API.STREAM.*.${LOG_STREAM}`,
  `$JS.API.CONSUMER.CREATE.${LOG_STREAM}`,
  `$JS.API.CONSUMER.*.${LOG_STREAM}.>`,
  `$JS.API.CONSUMER.DURABLE.CREATE.${LOG_STREAM}.${LOG_CONSUMER}`,
  `$JS.API.CONSUMER.MSG.NEXT.${LOG_STREAM}.${LOG_CONSUMER}`,
  `$JS.ACK.${LOG_STREAM}.>`,
];

/** Where the answers to a service's own requests come in: nobody else may listen there. */
export function inboxOf(user: string): string {
  return `_INBOX.${user.replace(/[^\w-]/g, '_')}`;
}

/** Everything that is sent to a service, whatever the operation and the version. */
export function subjectOfAll(service: Service): string {
  return `jobmon.*.${service}.>`;
}

/** The group of a service that refuses what no operation of it is. Not the service's own: of one group a single member gets a message. */
export function groupOfRefusals(service: Service): string {
  return `${service}-refusals`;
}

/** Subjects that a service may send to, and listen to; one with a second word behind it only as a member of that group. */
export function subjectsOf(service: BusService): { publish: string[]; subscribe: string[] } {
  const { isAnswering, asks, tells, hears } = RIGHTS[service];
  return {
    publish: [
      ...asks.map(subjectOf),
      ...tells.map(subjectOfEvent),
      // Records of every process go to the sink.
      LOG_SUBJECT,
      ...(service === 'log-sink' ? STREAM_SUBJECTS : []),
    ],
    subscribe: [
      `${inboxOf(service)}.>`,
      ...(isAnswering ? [`jobmon.v1.${service}.> ${service}`, `${subjectOfAll(service)} ${groupOfRefusals(service)}`] : []),
      ...hears.map(subjectOfEvent),
    ],
  };
}

/**
 * Accounts for the configuration of a NATS server: one user for each service, by its name, with these passwords (plain, or as
 * `nats server passwd` hashes them). Answers to what was asked are allowed by themselves.
 */
export function natsAccounts(passwords: Readonly<Record<BusService, string>>): string {
  const users = BUS_SERVICES.map((service) => {
    const { publish, subscribe } = subjectsOf(service);
    const answers = RIGHTS[service].isAnswering ? ', allow_responses: { max: 1, expires: "1m" }' : '';
    const permissions = `{ publish: { allow: ${JSON.stringify(publish)} }, subscribe: { allow: ${JSON.stringify(subscribe)} }${answers} }`;
    return `    { user: ${JSON.stringify(service)}, password: ${JSON.stringify(passwords[service])}, permissions: ${permissions} }`;
  });
  return `authorization {\n  users: [\n${users.join('\n')}\n  ]\n}\n`;
}
