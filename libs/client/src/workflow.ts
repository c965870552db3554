/**
 * A workflow: tasks, their graph and its limits. It is built in memory, checked as a whole, bound (written to the server) and
 * then submitted; from then on the server runs it and the program may go away.
 */
import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { JobmonError, LIMIT_NONE, listClusters, submitWorkflow, VERSION } from '@jobmon/contracts';
import { bindWorkflow, type BindOptions, type BoundWorkflow } from './bind';
import { requestedResources, type ComputeResources, type RequestedResources } from './compute-resources';
import { graphOf, named, refusal } from './graph';
import { loginName } from './profile';
import { printProgress } from './progress';
import { checkedAttempts, type Task, type TemplateOfTask } from './task';
import type { Tool } from './tool';
import { WorkflowRun, type Progress, type WorkflowResult } from './workflow-run';

/** Attempts of a task for which neither it nor its template, workflow or tool says anything. */
const MAX_ATTEMPTS_DEFAULT = 3;

export interface WorkflowOptions {
  name?: string;
  /**
   * Tells workflows apart: the same arguments with the same tool, graph and tasks are the same workflow. A random UUID when
   * absent, so that each one is new.
   */
  workflowArgs?: string;
  description?: string;
  workflowAttributes?: Readonly<Record<string, string>>;
  /** Tasks that run at one time; no limit when absent. */
  maxConcurrentlyRunning?: number;
  defaultClusterName?: string;
  defaultComputeResources?: ComputeResources;
  defaultMaxAttempts?: number;
}

export interface SubmitOptions extends BindOptions {
  /** Working folder of every command, which must exist; this process's own when absent. */
  workingDirectory?: string;
}

export interface RunOptions extends SubmitOptions {
  /** Told of each change. When absent and standard error is a terminal, a line there shows the progress. */
  onProgress?: (progress: Progress) => void;
}

/** What a task asks of its cluster once all defaults are applied. */
export interface TaskResources extends RequestedResources {
  readonly cluster: string;
}

export class Workflow {
  readonly name: string;
  readonly workflowArgs: string;
  readonly description: string;
  readonly workflowAttributes: Record<string, string>;
  readonly maxConcurrentlyRunning: number;
  readonly defaultClusterName: string | undefined;
  readonly defaultComputeResources: ComputeResources | undefined;
  readonly defaultMaxAttempts: number | undefined;
  readonly #tasks = new Set<Task>();
  readonly #resourcesOfTemplate = new Map<TemplateOfTask, TaskResources>();
  #bound: Promise<BoundWorkflow> | undefined;

  /** For `Tool.createWorkflow`. */
  constructor(
    readonly tool: Tool,
    options: WorkflowOptions,
  ) {
    this.name = options.name ?? '';
    this.workflowArgs = options.workflowArgs || randomUUID();
    this.description = options.description ?? '';
    this.workflowAttributes = { ...options.workflowAttributes };
    this.maxConcurrentlyRunning = options.maxConcurrentlyRunning ?? LIMIT_NONE;
    this.defaultClusterName = options.defaultClusterName;
    this.defaultComputeResources = options.defaultComputeResources;
    this.defaultMaxAttempts = options.defaultMaxAttempts === undefined ? undefined : checkedAttempts(options.defaultMaxAttempts);
  }

  get tasks(): ReadonlySet<Task> {
    return this.#tasks;
  }

  /** Puts a task into the workflow and answers it. Throws CONFLICT once the workflow is bound. */
  addTask(task: Task): Task {
    if (this.#bound !== undefined) throw new JobmonError('CONFLICT', 'the workflow is bound; make a new one for more tasks');
    this.#tasks.add(task);
    return task;
  }

  addTasks(tasks: Iterable<Task>): void {
    for (const task of tasks) this.addTask(task);
  }

  /**
   * Checks everything that can be checked before anything is written: the graph, node arguments, lengths, resources, and,
   * by asking the server, clusters and queues. Throws JobmonError MALFORMED naming the tasks and the rule; its details are a
   * `BrokenRule`.
   */
  async validate(): Promise<void> {
    graphOf([...this.#tasks]);
    await this.#checkClusters();
  }

  /**
   * Writes the workflow, its tasks and its graph to the server, in pieces, without running it; once only. Answers the
   * server's id. After a failure it may be called again: what is written already is found again.
   */
  async bind(options: BindOptions = {}): Promise<number> {
    this.#bound ??= this.#bind(options).catch((error: unknown) => {
      this.#bound = undefined;
      throw error;
    });
    return (await this.#bound).workflowId;
  }

  /** Binds the workflow if that is to do, and hands it to the server. From then on it runs whether or not this process lives. */
  async submit(options: SubmitOptions = {}): Promise<WorkflowRun> {
    const workflowId = await this.bind(options);
    const connection = await this.tool.connect();
    const request = {
      workflow_id: workflowId,
      user: loginName(),
      working_directory: resolve(options.workingDirectory ?? '.'),
      client_version: VERSION,
    };
    const reply = await connection.send(submitWorkflow, request, { signal: options.signal });
    return new WorkflowRun(connection, workflowId, reply.workflow_run_id);
  }

  /**
   * Binds, submits and follows the workflow to its end, whatever that is; look at the result's `isDone`. The signal ends
   * the waiting, not the workflow.
   */
  async run(options: RunOptions = {}): Promise<WorkflowResult> {
    const run = await this.submit(options);
    const printed = options.onProgress === undefined && process.stderr.isTTY ? printProgress(process.stderr) : undefined;
    try {
      return await run.wait({ signal: options.signal, onProgress: options.onProgress ?? printed?.show });
    } finally {
      printed?.end();
    }
  }

  /** Attempts of a task: its own, else the template's, the workflow's, the tool's, else 3. */
  maxAttemptsOf(task: Task): number {
    return (
      task.maxAttempts ??
      task.template.maxAttempts ??
      this.defaultMaxAttempts ??
      this.tool.defaultMaxAttempts ??
      MAX_ATTEMPTS_DEFAULT
    );
  }

  /** Cluster, queue and resources of a task, by the same order. Throws the refusal of a task without a cluster. */
  resourcesOf(task: Task): TaskResources {
    const isOwn = task.computeResources !== undefined || task.clusterName !== undefined;
    const kept = isOwn ? undefined : this.#resourcesOfTemplate.get(task.template);
    if (kept !== undefined) return kept;
    const { template } = task;
    const cluster = task.clusterName ?? template.defaultClusterName ?? this.defaultClusterName ?? this.tool.defaultClusterName;
    if (cluster === undefined) {
      const sentence = `task '${task.name}' has no cluster; give one to the task, its template, the workflow or the tool`;
      throw refusal('no_cluster', [task], sentence);
    }
    const made = {
      cluster,
      ...requestedResources(
        this.tool.defaultComputeResources,
        this.defaultComputeResources,
        template.defaultComputeResources,
        task.computeResources,
      ),
    };
    if (!isOwn) this.#resourcesOfTemplate.set(template, made);
    return made;
  }

  async #checkClusters(): Promise<void> {
    const wanted = new Map<string, { cluster: string; queue: string | undefined; tasks: Task[] }>();
    for (const task of this.#tasks) {
      const { cluster, queue } = this.resourcesOf(task);
      const key = JSON.stringify([cluster, queue]);
      const entry = wanted.get(key);
      if (entry === undefined) wanted.set(key, { cluster, queue, tasks: [task] });
      else entry.tasks.push(task);
    }
    const { clusters } = await (await this.tool.connect()).send(listClusters, {});
    for (const { cluster, queue, tasks } of wanted.values()) {
      const known = clusters.find(({ name }) => name === cluster);
      if (known === undefined) {
        const names = clusters.map(({ name }) => name).join(', ');
        throw refusal(
          'unknown_cluster',
          tasks,
          `there is no cluster '${cluster}' (task ${named(tasks)}); the server has ${names}`,
        );
      }
      if (queue !== undefined && !known.queues.some(({ name }) => name === queue)) {
        const names = known.queues.map(({ name }) => name).join(', ');
        const sentence = `cluster '${cluster}' has no queue '${queue}' (task ${named(tasks)}); it has ${names}`;
        throw refusal('unknown_queue', tasks, sentence);
      }
    }
  }

  async #bind(options: BindOptions): Promise<BoundWorkflow> {
    const tasks = [...this.#tasks];
    const graph = graphOf(tasks);
    await this.#checkClusters();
    return bindWorkflow(this, tasks, graph, options);
  }
}
