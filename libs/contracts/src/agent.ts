/**
 * Agents: they run where a cluster is, lease queued instances and report them. One heartbeat an agent, not one a task.
 * Design rule 5.11: at most one process of a task as far as physics allows.
 */
import { z } from 'zod';
import { DateText, Id } from './id';
import { event, operation } from './operation';
import { AttemptReport, StandingStatus } from './task-instance';

/**
 * Something was ordered of this agent: an attempt that it holds is to be killed (it stands at K, or was taken from it), or the agent
 * itself is to drain or to go on. A hint: the agent's open `agent.orders` looks at once instead of within five seconds.
 */
export const agentOrdered = event({ name: 'agent.ordered', payload: z.object({ agent_id: z.number().int() }) });

/** An agent has asked for work anew, with other room: its polls with a smaller number are over. */
export const agentAsked = event({
  name: 'agent.asked',
  payload: z.object({ agent_id: z.number().int(), number: z.number().int() }),
});

/** What an agent can start now on one cluster. A task that asks for more than the agent has in all is counted as asking for all of it. */
export const ClusterRoom = z.object({
  /** Attempts. */
  slots: z.number().int().nonnegative(),
  /** Cores that no running attempt has asked for; a plug-in that counts none says a number beyond any request. */
  cores: z.number().nonnegative(),
  /** Memory that no running attempt has asked for, in GiB. */
  memory_gib: z.number().nonnegative(),
});
export type ClusterRoom = z.output<typeof ClusterRoom>;

/**
 * The room that an attempt takes, from the resources it asked for: whole cores, at least 1, and memory in GiB, 0 when none was asked
 * for. What is no number (rows of the Python system hold all sorts of text) counts as not asked for.
 */
export function neededRoom(requested_resources: Readonly<Record<string, unknown>>): { cores: number; memory_gib: number } {
  const { cores, memory } = requested_resources;
  return { cores: Math.max(1, Math.ceil(amount(cores) ?? 1)), memory_gib: amount(memory) ?? 0 };
}

function amount(value: unknown): number | null {
  const number = typeof value === 'string' && /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) && number >= 0 ? number : null;
}

/** One attempt as the agent needs it to start the command. */
export const Assignment = z.object({
  task_instance_id: z.number().int(),
  task_id: z.number().int(),
  workflow_id: z.number().int(),
  workflow_run_id: z.number().int(),
  /** Standing status of the instance: I for a new one; I or R for one to adopt. */
  status: StandingStatus.shape.status,
  task_name: z.string(),
  command: z.string(),
  cluster: z.string(),
  cluster_type: z.string(),
  requested_resources: z.record(z.string(), z.unknown()),
  working_directory: z.string(),
});
export type Assignment = z.output<typeof Assignment>;

/**
 * An agent joins. When the same user's agent on the same host with the same `state_directory` was registered before, its
 * attempts that have not ended pass to this one and are answered as `adopted`: the agent must look each up in its attempt
 * folders and run, adopt or report it before it leases anything else. The former agent id is dead from then on.
 */
export const registerAgent = operation({
  name: 'agent.register',
  owner: 'api',
  summary: 'An agent joins and takes over what its predecessor left.',
  http: { method: 'POST', path: '/api/v4/agents' },
  request: z.object({
    hostname: z.string().min(1).max(150),
    user: z.string().min(1).max(150),
    /** Takes other users' workflows too. */
    any_user: z.boolean().default(false),
    clusters: z.array(z.string().min(1).max(255)).min(1).max(100),
    /** Folder of the agent's attempt records: with host and user it identifies the agent over restarts. */
    state_directory: z.string().min(1).max(2048),
    process_id: z.number().int().positive(),
    version: z.string().max(150),
    /** What its tasks may ask for in all: whole cores, and memory in GiB. */
    cores: z.number().int('must be a whole number').min(1, 'an agent needs at least one core').max(1_000_000),
    memory_gib: z.number().positive('an agent needs memory').max(1_000_000),
    /** This very process was registered before: an order to drain and a setting aside stand. A new process begins without them. */
    has_joined_before: z.boolean().default(false),
  }),
  reply: z.object({
    agent_id: z.number().int(),
    /** Seconds without a sign of life after which the agent's attempts are given to others. */
    lease_seconds: z.number().int().positive(),
    adopted: z.array(Assignment),
    /** Whose it is: with login on who was authenticated, whatever the request says. */
    user: z.string().optional(),
  }),
});

/** Tasks whose newest attempts failed at their start on this agent: left to other agents that serve them, while there are any. */
const FailedTasks = z.array(Id).max(20).optional();

/** Long poll: answers as soon as there is something to run, with nothing after `wait_seconds`. Counts as a heartbeat. */
export const leaseAssignments = operation({
  name: 'agent.lease',
  owner: 'api',
  summary: 'An agent asks for queued attempts.',
  http: { method: 'POST', path: '/api/v4/agents/{agent_id}/lease' },
  request: z.object({
    agent_id: Id,
    /** Cluster name to what can start there now. */
    wanted: z.record(z.string().max(255), ClusterRoom),
    failed_tasks: FailedTasks,
    /** Larger than that of the agent's polls before: a poll of a smaller number that still waits is answered with nothing. */
    number: z.number().int().nonnegative().default(0),
    wait_seconds: z.number().min(0).max(30).default(15),
  }),
  reply: z.object({ assignments: z.array(Assignment) }),
});

/** Answers, for each report, the status that stands; an attempt that does not stand at R while it runs must be ended. */
export const reportAttempts = operation({
  name: 'agent.report',
  owner: 'api',
  summary: 'An agent reports what became of its attempts.',
  http: { method: 'POST', path: '/api/v4/agents/{agent_id}/report', body_bytes_max: 64 * 1024 * 1024 },
  request: z.object({
    agent_id: Id,
    reports: z.array(AttemptReport).min(1).max(1_000),
    /** The agent's newest attempts that failed at their start, when no command of it has started since: oldest first. */
    failed_starts: z.array(Id).max(20).default([]),
  }),
  reply: z.object({
    /** In the order of the reports; null when there is no such instance. */
    statuses: z.array(StandingStatus.shape.status.nullable()),
  }),
});

/** Renews the lease. `kill` names attempts of this agent that must end: ordered to, or given to somebody else. */
export const beatAgent = operation({
  name: 'agent.beat',
  owner: 'api',
  summary: 'Heartbeat of an agent.',
  http: { method: 'POST', path: '/api/v4/agents/{agent_id}/beat' },
  request: z.object({ agent_id: Id, running: z.array(Id).max(100_000) }),
  reply: z.object({
    /** False when the agent was replaced or given up: it must end all its attempts and register again. */
    is_known: z.boolean(),
    kill: z.array(z.number().int()),
  }),
});

/**
 * Long poll, always open while an agent serves: answers as soon as something is ordered that the agent has not said it knows,
 * after `wait_seconds` in any case. Looks at each `agent.ordered`, and every five seconds in case one was lost. Does not renew the lease.
 */
export const orderAgent = operation({
  name: 'agent.orders',
  owner: 'api',
  summary: 'An agent asks what is ordered of it.',
  http: { method: 'POST', path: '/api/v4/agents/{agent_id}/orders' },
  request: z.object({
    agent_id: Id,
    /** Attempts that it is killing already. */
    killing: z.array(Id).max(100_000),
    /** It knows that it is to drain. */
    is_draining: z.boolean(),
    wait_seconds: z.number().min(0).max(30).default(15),
  }),
  reply: z.object({
    /** False when the agent was replaced, has left or was given up. */
    is_known: z.boolean(),
    /** Attempts of this agent that are ordered to stop, but for those that it is killing. */
    kill: z.array(z.number().int()),
    /** It gets nothing new, and leaves when its last attempt has ended. */
    is_draining: z.boolean(),
    /** Why it is leased nothing, when its host was found to start no commands. */
    set_aside_reason: z.string().nullable(),
  }),
});

/** An agent goes for good. Refused with CONFLICT while it holds an attempt: what runs is adopted by its next start, or given up in time. */
export const leaveAgent = operation({
  name: 'agent.leave',
  owner: 'api',
  summary: 'An agent that holds nothing leaves.',
  http: { method: 'POST', path: '/api/v4/agents/{agent_id}/leave' },
  request: z.object({ agent_id: Id }),
  reply: z.object({}),
});

/** How an agent stands. `silent`: its lease has passed and what it held is about to be given up. */
export const AgentState = z.enum(['alive', 'draining', 'set_aside', 'silent', 'ended']);

/** An attempt that an agent holds, as views show it. */
export const HeldAttempt = z.object({
  task_instance_id: z.number().int(),
  task_id: z.number().int(),
  task_name: z.string(),
  workflow_id: z.number().int(),
  status: z.string(),
  status_date: DateText.nullable(),
  /** What it asked for, at most what the agent has. */
  cores: z.number(),
  memory_gib: z.number(),
});
export type HeldAttempt = z.output<typeof HeldAttempt>;

export const AgentView = z.object({
  agent_id: z.number().int(),
  hostname: z.string(),
  user: z.string(),
  any_user: z.boolean(),
  clusters: z.array(z.string()),
  registered_date: DateText,
  lease_until_date: DateText,
  is_alive: z.boolean(),
  state: AgentState,
  /** Who wants it to drain and why, or what is wrong with its host. */
  reason: z.string().nullable(),
  /** Null for agents that were registered by a version without them. */
  cores: z.number().int().nullable(),
  memory_gib: z.number().nullable(),
  /** What its attempts that have not ended asked for. */
  cores_in_use: z.number(),
  memory_gib_in_use: z.number(),
  /** Attempts that have not ended, by status: I, O, R, T, K. */
  attempts: z.record(z.string(), z.number().int()),
  /** The youngest of them, youngest first: 3 in a list, 100 of one agent. */
  newest: z.array(HeldAttempt),
});
export type AgentView = z.output<typeof AgentView>;

export const listAgents = operation({
  name: 'agent.list',
  owner: 'api',
  summary: 'Agents that are alive or ended within the last day, with what they run.',
  http: { method: 'GET', path: '/api/v4/agents' },
  request: z.object({}),
  reply: z.object({ agents: z.array(AgentView) }),
});

export const getAgent = operation({
  name: 'agent.get',
  owner: 'api',
  summary: 'One agent with its newest attempts.',
  http: { method: 'GET', path: '/api/v4/agents/{agent_id}' },
  request: z.object({ agent_id: Id }),
  reply: z.object({
    agent: AgentView.extend({ state_directory: z.string(), process_id: z.number().int(), version: z.string() }),
  }),
});

/** Who orders something of an agent, and why. */
const order = { agent_id: Id, user: z.string().min(1).max(150), reason: z.string().max(500).default('') };
const AgentStanding = z.object({ agent_id: z.number().int(), state: AgentState });

/** The agent takes nothing new from now on, and leaves when what it runs has ended. Safe to repeat. */
export const drainAgent = operation({
  name: 'agent.drain',
  owner: 'api',
  summary: 'Let an agent finish what it runs and leave.',
  http: { method: 'POST', path: '/api/v4/agents/{agent_id}/drain' },
  request: z.object(order),
  reply: AgentStanding,
});

/** Takes an order to drain and a setting aside back, as long as the agent is there. Safe to repeat. */
export const restoreAgent = operation({
  name: 'agent.restore',
  owner: 'api',
  summary: 'Let an agent take work again that was set aside or told to drain.',
  http: { method: 'POST', path: '/api/v4/agents/{agent_id}/restore' },
  request: z.object(order),
  reply: AgentStanding,
});

/** Queued instances of server runs that an agent takes: Q→I, with the agent's id, oldest first, turns between runs. */
export const leaseTaskInstances = operation({
  name: 'task_instance.lease',
  owner: 'state-machine',
  summary: 'An agent takes queued task instances.',
  request: z.object({
    agent_id: Id,
    /** Cluster name to what its plug-in can start now. */
    wanted: z.record(z.string().max(255), ClusterRoom),
    failed_tasks: FailedTasks,
  }),
  reply: z.object({ task_instance_ids: z.array(z.number().int()) }),
});

/**
 * Ends the attempts of an agent whose lease passed: R→U, O→U, I→W, each with its task's retry rule. Answers how many it
 * ended in this piece and whether more remain.
 */
export const expireAgent = operation({
  name: 'agent.expire',
  owner: 'state-machine',
  summary: 'Ends the attempts of an agent that was silent for a whole lease.',
  request: z.object({ agent_id: Id }),
  reply: z.object({ ended: z.number().int(), remaining: z.boolean() }),
});
