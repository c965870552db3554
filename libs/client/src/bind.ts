/**
 * Writes a workflow to the server: its templates, itself, its tasks and its graph, in this order, the last two in pieces. Each
 * step finds what an earlier try has written, so that a bind that broke off is simply done again.
 */
import {
  JobmonError,
  registerEdges,
  registerTasks,
  registerWorkflow,
  type ReplyOf,
  type registerTaskTemplate,
  type ResourcesToRegister,
  type TaskToRegister,
} from '@jobmon/contracts';
import {
  dagHash,
  nodeArgsHash,
  nodeHash,
  taskArgsHash,
  taskHash,
  workflowArgsHash,
  workflowTaskHash,
  type Graph,
  type Identity,
} from './identity';
import type { CallOf, Connection } from './send';
import { keyOfTemplate } from './graph';
import type { Task, TemplateOfTask } from './task';
import { maxAttemptsOf, type TaskResources } from './task-resources';
import type { Workflow } from './workflow';

/**
 * A piece ends with this many tasks, or nodes and edges together, or characters, whichever comes first. Large enough that its
 * fixed statements do not count, small enough that reading it holds the server up for a moment only.
 */
const PIECE_TASKS_MAX = 2_000;
const PIECE_EDGES_MAX = 20_000;
const PIECE_CHARS_MAX = 4 * 1024 * 1024;
export interface BindOptions {
  /** Told after each piece how many tasks and edges of the whole are written. */
  onBound?: (bound: { tasks: number; of: number }) => void;
  signal?: AbortSignal;
  /** With login on, for an admin: whose it is when it is new; yours when absent. That user's agents run it. */
  forUser?: string;
}

/** Time for one piece: it may be large, and the server may be busy with others. */
const PIECE_TIMEOUT_MS = 120_000;

export interface BoundWorkflow {
  readonly workflowId: number;
  /** The server had it already: its tasks may be done, or more. */
  readonly stood: boolean;
  /** What was sent to find or make it. */
  readonly registration: CallOf<typeof registerWorkflow>;
}

/** What was found out about a workflow when it was checked. */
export interface CheckedWorkflow {
  readonly tasks: readonly Task[];
  /** By the position of the tasks. */
  readonly graph: { readonly downstreams: Graph; readonly upstreams: Graph };
  readonly resourcesOf: (task: Task) => TaskResources;
  /** By `keyOfTemplate`. */
  readonly limits: ReadonlyMap<string, number>;
}

/** A template as the server knows it, with its argument ids ascending. */
interface RegisteredTemplate {
  readonly versionId: number;
  readonly node: { readonly ids: number[]; readonly at: number[]; readonly names: string[] };
  readonly task: { readonly ids: number[]; readonly at: number[]; readonly names: string[] };
}

/** Writes it all and sets each task's `taskId`. `mustBeNew` refuses a workflow that has had a run, and writes nothing of it then. */
export async function bindWorkflow(
  workflow: Workflow,
  checked: CheckedWorkflow,
  mustBeNew: boolean,
  options: BindOptions,
): Promise<BoundWorkflow> {
  const { tasks, graph } = checked;
  const connection = await workflow.tool.connect();
  const templates = new Map<TemplateOfTask, RegisteredTemplate>();
  for (const task of tasks) {
    if (!templates.has(task.template)) templates.set(task.template, registeredOf(task.template, await task.template.register()));
  }
  const definition = {
    tool_version_id: await workflow.tool.register(),
    name: workflow.name,
    description: workflow.description,
    workflow_args: workflow.workflowArgs,
    workflow_args_hash: workflowArgsHash(workflow.workflowArgs),
    max_concurrently_running: workflow.maxConcurrentlyRunning,
    attributes: workflow.workflowAttributes,
    ...(options.forUser === undefined ? {} : { for_user: options.forUser }),
  };
  const register = async (identity: Identity) => {
    const hashes = hashesOf(tasks, templates, identity);
    const [task_hash, dag_hash] = [workflowTaskHash(hashes.tasks), dagHash(hashes.nodes, graph.downstreams)];
    const registration = { ...definition, task_hash, dag_hash };
    const request = { ...registration, must_be_new: mustBeNew };
    return { hashes, registration, reply: await connection.send(registerWorkflow, request, { signal: options.signal }) };
  };
  const {
    hashes,
    registration,
    reply: registered,
  } = await register(workflow.identity).catch((error: unknown) => {
    if (!isTaken(error)) throw error;
    // The same workflow, if a client that computes otherwise has bound it; else what was found first is told.
    return register(workflow.identity === '3.3' ? '3.4' : '3.3').catch((again: unknown) => {
      throw isTaken(again) ? error : again;
    });
  });
  const workflowId = registered.workflow_id;
  const nodeIds = await bindTasks(connection, workflow, workflowId, checked, templates, hashes, options);
  if (!registered.has_edges) await bindEdges(connection, workflowId, nodeIds, graph, options);
  return { workflowId, stood: !registered.newly_created, registration };
}

interface Hashes {
  readonly nodes: BigUint64Array;
  readonly tasks: BigUint64Array;
  readonly nodeArgs: readonly string[];
  readonly taskArgs: readonly string[];
}

/** Whether a workflow with the same arguments has other tasks, or another graph, than those that were sent. */
function isTaken(error: unknown): boolean {
  const details = error instanceof JobmonError ? error.details : undefined;
  return (details as { rule?: string } | undefined)?.rule === 'workflow_args_taken';
}

function hashesOf(
  tasks: readonly Task[],
  templates: ReadonlyMap<TemplateOfTask, RegisteredTemplate>,
  identity: Identity,
): Hashes {
  // Before 3.4 node arguments were joined as task arguments are.
  const hashNodeArgs = identity === '3.3' ? taskArgsHash : nodeArgsHash;
  const nodes = new BigUint64Array(tasks.length);
  const hashed = new BigUint64Array(tasks.length);
  const nodeArgs: string[] = new Array<string>(tasks.length);
  const taskArgs: string[] = new Array<string>(tasks.length);
  tasks.forEach(({ template, values }, i) => {
    const { versionId, node, task } = templates.get(template)!;
    nodeArgs[i] = hashNodeArgs(
      node.ids,
      node.at.map((at) => values[at]!),
    );
    taskArgs[i] = taskArgsHash(
      task.ids,
      task.at.map((at) => values[at]!),
    );
    nodes[i] = nodeHash(nodeArgs[i]!, versionId);
    hashed[i] = taskHash(nodes[i]!, taskArgs[i]!);
  });
  return { nodes, tasks: hashed, nodeArgs, taskArgs };
}

function registeredOf(template: TemplateOfTask, reply: ReplyOf<typeof registerTaskTemplate>): RegisteredTemplate {
  const byId = (names: readonly string[]) => {
    const sorted = [...names].sort((a, b) => reply.arg_ids[a]! - reply.arg_ids[b]!);
    return {
      names: sorted,
      ids: sorted.map((name) => reply.arg_ids[name]!),
      at: sorted.map((name) => template.names.indexOf(name)),
    };
  };
  return { versionId: reply.task_template_version_id, node: byId(template.nodeArgs), task: byId(template.taskArgs) };
}

/** Answers the node id of each task. */
async function bindTasks(
  connection: Connection,
  workflow: Workflow,
  workflow_id: number,
  { tasks, resourcesOf, limits: limitOfTemplate }: CheckedWorkflow,
  templates: ReadonlyMap<TemplateOfTask, RegisteredTemplate>,
  hashes: Hashes,
  { onBound, signal }: BindOptions,
): Promise<Uint32Array> {
  const limits = [...templates].flatMap(([template, { versionId }]): [number, number][] => {
    const limit = limitOfTemplate.get(keyOfTemplate(template));
    return limit === undefined ? [] : [[versionId, limit]];
  });
  const nodeIds = new Uint32Array(tasks.length);
  for (let from = 0; from < tasks.length;) {
    const piece: TaskToRegister[] = [];
    const listed = new ListedResources();
    for (let i = from, chars = 0; i < tasks.length && piece.length < PIECE_TASKS_MAX && chars < PIECE_CHARS_MAX; i++) {
      const task = tasks[i]!;
      const position = listed.positionOf(resourcesOf(task));
      const { versionId, node, task: taskKind } = templates.get(task.template)!;
      const one: TaskToRegister = {
        task_template_version_id: versionId,
        node_args: argsOf(node, task),
        node_args_hash: hashes.nodeArgs[i]!,
        task_args: argsOf(taskKind, task),
        task_args_hash: hashes.taskArgs[i]!,
        name: task.name,
        command: task.command,
        max_attempts: maxAttemptsOf(workflow, task),
        resources: position,
      };
      if (Object.keys(task.attributes).length > 0) one.attributes = task.attributes;
      piece.push(one);
      chars += 400 + one.command.length + one.name.length + task.values.reduce((sum, value) => sum + value.length, 0);
    }
    const request = { workflow_id, resources: listed.entries, tasks: piece, ...(limits.length > 0 ? { limits } : {}) };
    const reply = await connection.send(registerTasks, request, { signal, timeout_ms: PIECE_TIMEOUT_MS });
    reply.tasks.forEach(([taskId, nodeId], i) => {
      tasks[from + i]!.taskId = taskId;
      nodeIds[from + i] = nodeId;
    });
    from += piece.length;
    onBound?.({ tasks: from, of: tasks.length });
  }
  return nodeIds;
}

/** What the tasks of a piece ask for, each thing once: most tasks share it. */
class ListedResources {
  readonly entries: ResourcesToRegister[] = [];
  readonly #byText = new Map<string, number>();
  readonly #known = new Map<TaskResources, number>();

  positionOf(resources: TaskResources): number {
    let position = this.#known.get(resources);
    if (position !== undefined) return position;
    const { cluster, queue, requested, resourceScales: resource_scales, fallbackQueues } = resources;
    const entry: ResourcesToRegister = { cluster, requested, resource_scales, fallback_queues: [...fallbackQueues] };
    if (queue !== undefined) entry.queue = queue;
    const text = JSON.stringify(entry);
    position = this.#byText.get(text);
    if (position === undefined) this.#byText.set(text, (position = this.entries.push(entry) - 1));
    this.#known.set(resources, position);
    return position;
  }
}

function argsOf(kind: RegisteredTemplate['node'], task: Task): Record<string, string> {
  const args: Record<string, string> = {};
  kind.names.forEach((name, i) => (args[name] = task.values[kind.at[i]!]!));
  return args;
}

async function bindEdges(
  connection: Connection,
  workflow_id: number,
  nodeIds: Uint32Array,
  { downstreams, upstreams }: { downstreams: Graph; upstreams: Graph },
  { signal }: BindOptions,
): Promise<void> {
  const idsIn = (graph: Graph, i: number): number[] =>
    Array.from(graph.targets.subarray(graph.offsets[i], graph.offsets[i + 1]), (position) => nodeIds[position]!);
  for (let i = 0; i < nodeIds.length;) {
    const nodes: [number, number[], number[]][] = [];
    for (let edges = 0; i < nodeIds.length && edges < PIECE_EDGES_MAX; i++) {
      const node: [number, number[], number[]] = [nodeIds[i]!, idsIn(upstreams, i), idsIn(downstreams, i)];
      nodes.push(node);
      edges += 1 + node[1].length + node[2].length;
    }
    await connection.send(registerEdges, { workflow_id, nodes }, { signal, timeout_ms: PIECE_TIMEOUT_MS });
  }
}
