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
 * itself is to drain or to go on. A hint: the agent's open `agent.orders` looks at once instead of within a second.
 */
export const agentOrdered = event({ name: 'agent.ordered', payload: z.object({ agent_id: z.number().int() }) });

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
  }),
  reply: z.object({
    agent_id: z.number().int(),
    /** Seconds without a sign of life after which the agent's attempts are given to others. */
    lease_seconds: z.number().int().positive(),
    adopted: z.array(Assignment),
  }),
});

/** Long poll: answers as soon as there is something to run, with nothing after `wait_seconds`. Counts as a heartbeat. */
export const leaseAssignments = operation({
  name: 'agent.lease',
  owner: 'api',
  summary: 'An agent asks for queued attempts.',
  http: { method: 'POST', path: '/api/v4/agents/{agent_id}/lease' },
  request: z.object({
    agent_id: Id,
    /** Cluster name to the number of attempts that can start now. */
    wanted: z.record(z.string().max(255), z.number().int().nonnegative().max(10_000)),
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
  request: z.object({ agent_id: Id, reports: z.array(AttemptReport).min(1).max(1_000) }),
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

export const AgentView = z.object({
  agent_id: z.number().int(),
  hostname: z.string(),
  user: z.string(),
  any_user: z.boolean(),
  clusters: z.array(z.string()),
  registered_date: DateText,
  lease_until_date: DateText,
  is_alive: z.boolean(),
});
export type AgentView = z.output<typeof AgentView>;

export const listAgents = operation({
  name: 'agent.list',
  owner: 'api',
  summary: 'Agents that are alive or ended within the last day.',
  http: { method: 'GET', path: '/api/v4/agents' },
  request: z.object({}),
  reply: z.object({ agents: z.array(AgentView) }),
});

/** Queued instances of server runs that an agent takes: Q→I, with the agent's id, oldest first, turns between runs. */
export const leaseTaskInstances = operation({
  name: 'task_instance.lease',
  owner: 'state-machine',
  summary: 'An agent takes queued task instances.',
  request: z.object({
    agent_id: Id,
    /** Cluster name to the number of attempts that its plug-in can start now. */
    wanted: z.record(z.string().max(255), z.number().int().nonnegative().max(10_000)),
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
