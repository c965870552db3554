/**
 * A workflow: tasks, their graph and its limits. It is built in memory, checked as a whole, bound (written to the server) and
 * then submitted; from then on the server runs it and the program may go away.
 */
import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import {
  getWorkflow,
  JobmonError,
  LIMIT_NONE,
  listClusters,
  registerWorkflow,
  submitWorkflow,
  taskMachine,
  VERSION,
  type ResumeMode,
} from '@jobmon/contracts';
import { bindWorkflow, type BindOptions, type BoundWorkflow, type CheckedWorkflow } from './bind';
import { checkedAttributes, checkedLimit, checkedPriority, checkedText } from './bounds';
import { Defaults, type DefaultOptions, type FileOptions } from './defaults';
import { graphOf, templateLimits } from './graph';
import type { Identity } from './identity';
import { NodeIndex, type NodeArgFilter } from './node-index';
import { loginName } from './profile';
import { printProgress } from './progress';
import { heldAgainstQueues } from './queue-limit';
import type { ResourceFile } from './resource-file';
import type { Task } from './task';
import { maxAttemptsOf, ResourcesOfTasks, type TaskResources } from './task-resources';
import type { Tool } from './tool';
import {
  taskCounts,
  WorkflowRun,
  type Progress,
  type RaisedResources,
  type TaskError,
  type WorkflowResult,
} from './workflow-run';

export interface WorkflowOptions extends DefaultOptions {
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
  /**
   * Whose clients are to know it again: Python's from 3.4 on, when absent, or those before. A workflow that either has bound is found in any
   * case; this says how a new one is made.
   */
  identity?: Identity;
  /** From -1000 to 1000; higher comes first. What it has already, 0 at first, when absent. */
  priority?: number;
}

export interface CheckOptions {
  /** False: what a queue does not give is cut to what it gives, instead of being refused. */
  strict?: boolean;
}

export interface SubmitOptions extends BindOptions, CheckOptions {
  /** Working folder of every command, which must exist; this process's own when absent. */
  workingDirectory?: string;
  /**
   * Goes on with the workflow when it has run before: what is done stays done. `cold`, or true: attempts that still run are killed first; `hot`:
   * they may finish, and count. Absent: such a workflow is refused.
   */
  resume?: ResumeMode | boolean;
  /** With `resume`: what tasks that are not done ask for, changed on top of what this program says. */
  resources?: readonly RaisedResources[];
  /** With `resume`: how long to wait for a run that has to end first; 300 when absent. */
  resumeTimeoutSeconds?: number;
}

export interface RunOptions extends SubmitOptions {
  /** Told of each change. When absent and standard error is a terminal, a line there shows the progress. */
  onProgress?: (progress: Progress) => void;
  /** The first task that fails drains the workflow, as long as this program is there to see it. */
  failFast?: boolean;
}

/** Widths of the columns that hold them (spec/data-model.md section 2). */
const NAME_CHARS_MAX = 255;
const DESCRIPTION_CHARS_MAX = 16_000;
const ARGS_CHARS_MAX = 65_535;

export class Workflow {
  readonly name: string;
  readonly workflowArgs: string;
  readonly description: string;
  readonly workflowAttributes: Record<string, string>;
  /** What its tasks take over: may be changed until it is bound. */
  readonly defaults: Defaults;
  readonly priority: number | undefined;
  readonly identity: Identity;
  #maxConcurrentlyRunning: number;
  readonly #templateLimits = new Map<string, number>();
  readonly #tasks = new Set<Task>();
  readonly #nodes = new NodeIndex();
  #bound: Promise<BoundWorkflow> | undefined;
  #run: Promise<WorkflowRun> | undefined;
  #workflowId: number | undefined;
  #lastRunId: number | undefined;

  /** For `Tool.createWorkflow`. Throws MALFORMED with the rule that a value breaks. */
  constructor(
    readonly tool: Tool,
    options: WorkflowOptions,
  ) {
    this.name = checkedText('the name of a workflow', options.name ?? '', NAME_CHARS_MAX, 0);
    this.workflowArgs = checkedText('workflowArgs', options.workflowArgs || randomUUID(), ARGS_CHARS_MAX);
    this.description = checkedText('the description of a workflow', options.description ?? '', DESCRIPTION_CHARS_MAX, 0);
    this.workflowAttributes = checkedAttributes('the workflow', options.workflowAttributes);
    this.#maxConcurrentlyRunning = checkedLimit(options.maxConcurrentlyRunning ?? LIMIT_NONE);
    this.priority = options.priority === undefined ? undefined : checkedPriority(options.priority);
    this.identity = options.identity ?? '3.4';
    this.defaults = new Defaults(options);
  }

  get tasks(): ReadonlySet<Task> {
    return this.#tasks;
  }

  /** The server's id, from `bind` on. */
  get workflowId(): number | undefined {
    return this.#workflowId;
  }

  /** The newest run that this object submitted or resumed. */
  get lastWorkflowRunId(): number | undefined {
    return this.#lastRunId;
  }

  get maxConcurrentlyRunning(): number {
    return this.#maxConcurrentlyRunning;
  }

  /** Tasks that run at one time. Throws CONFLICT once it is bound: then `WorkflowRun.setLimits` changes it. */
  setMaxConcurrentlyRunning(limit: number): void {
    this.#requireUnbound('its limit');
    this.#maxConcurrentlyRunning = checkedLimit(limit);
  }

  /** Tasks of one template, by its name, that run at one time. Throws CONFLICT once it is bound. */
  setTaskTemplateMaxConcurrencyLimit(templateName: string, limit: number): void {
    this.#requireUnbound('a limit of it');
    this.#templateLimits.set(templateName, checkedLimit(limit));
  }

  /** Takes what a file says of the tool for this workflow alone. Throws MALFORMED when it says nothing, unless that is allowed. */
  setDefaultsFromFile(file: ResourceFile, options: FileOptions = {}): void {
    this.defaults.takeFile(`tool '${this.tool.name}'`, file.ofTool(this.tool.name), options);
  }

  /** Puts a task into the workflow and answers it. Throws CONFLICT once it is bound, and for a task of another workflow. */
  addTask(task: Task): Task {
    this.#requireUnbound('its tasks');
    if (task.workflow !== undefined && task.workflow !== this) {
      throw new JobmonError('CONFLICT', `task '${task.name}' is in another workflow already; make one for each`);
    }
    if (this.#tasks.has(task)) return task;
    task.workflow = this;
    this.#tasks.add(task);
    this.#nodes.add(task);
    return task;
  }

  /** As `addTask`, many. */
  addTasks<Tasks extends Iterable<Task>>(tasks: Tasks): Tasks {
    for (const task of tasks) this.addTask(task);
    return tasks;
  }

  /**
   * Its tasks of a template whose node arguments have these values; for an argument with several, any of them. In the order in which they were
   * added; none is no error. Throws MALFORMED for a template without tasks and for what is no node argument.
   */
  getTasksByNodeArgs(templateName: string, nodeArgs: NodeArgFilter = {}): Task[] {
    return this.#nodes.find(templateName, nodeArgs);
  }

  /** Adds attributes, also when it is bound. */
  async addAttributes(attributes: Readonly<Record<string, string>>): Promise<void> {
    Object.assign(this.workflowAttributes, checkedAttributes('the workflow', attributes));
    if (this.#bound === undefined) return;
    const { registration } = await this.#bound;
    await (await this.tool.connect()).send(registerWorkflow, { ...registration, attributes: this.workflowAttributes });
  }

  /**
   * Checks everything that can be checked before anything is written: the graph, node arguments, lengths, resources, limits, and,
   * by asking the server, clusters and queues. Throws JobmonError MALFORMED naming the tasks and the rule; its details are a
   * `BrokenRule`.
   */
  async validate(options: CheckOptions = {}): Promise<void> {
    await this.#check(options);
  }

  /**
   * Writes the workflow, its tasks and its graph to the server, in pieces, without running it; once only. Answers the
   * server's id. After a failure it may be called again: what is written already is found again.
   */
  async bind(options: BindOptions & CheckOptions = {}): Promise<number> {
    return (await this.#bindOnce(options, false)).workflowId;
  }

  /**
   * Binds the workflow if that is to do, and hands it to the server. From then on it runs whether or not this process lives. Throws CONFLICT for
   * one that has run before unless `resume` is given, and for one that is DONE.
   */
  submit(options: SubmitOptions = {}): Promise<WorkflowRun> {
    this.#run ??= this.#submit(options).catch((error: unknown) => {
      this.#run = undefined;
      throw error;
    });
    return this.#run;
  }

  /**
   * Binds, submits and follows the workflow to its end, whatever that is; look at the result's `isDone`. The signal ends
   * the waiting, not the workflow. Each task has its `finalStatus` then.
   */
  async run(options: RunOptions = {}): Promise<WorkflowResult> {
    const run = await this.submit(options);
    const printed = options.onProgress === undefined && process.stderr.isTTY ? printProgress(process.stderr) : undefined;
    try {
      const { signal, failFast, onProgress = printed?.show } = options;
      const result = await run.wait({ signal, failFast, onProgress });
      await this.#noteStatuses(run, 'finalStatus', result.isDone, signal);
      return result;
    } finally {
      printed?.end();
    }
  }

  /** Goes on with the workflow: `run` with `resume`. What was changed since it was bound (resources, attempts, limits) is told anew. */
  resume(options: RunOptions = {}): Promise<WorkflowResult> {
    this.#run = undefined;
    this.#bound = undefined;
    return this.run({ resume: true, ...options });
  }

  /** The errors of tasks that failed for good, by task id. Throws CONFLICT before it is bound. */
  async getErrors(options: { limit?: number } = {}): Promise<Map<number, TaskError[]>> {
    if (this.#workflowId === undefined) throw new JobmonError('CONFLICT', 'the workflow is not bound yet');
    return new WorkflowRun(await this.tool.connect(), this.#workflowId, null).getErrors(options);
  }

  /** Attempts of a task: its own, else the array's, the template's, the workflow's, the tool's, else 3. */
  maxAttemptsOf(task: Task): number {
    return maxAttemptsOf(this, task);
  }

  /** Cluster, queue and resources of a task as the defaults stand now. Throws MALFORMED naming the task and the rule. */
  resourcesOf(task: Task): TaskResources {
    return new ResourcesOfTasks(this).of(task);
  }

  #requireUnbound(what: string): void {
    if (this.#bound !== undefined) {
      throw new JobmonError('CONFLICT', `the workflow is bound, and ${what} cannot be changed here any more; make a new one`);
    }
  }

  async #check({ strict = true }: CheckOptions): Promise<CheckedWorkflow> {
    const tasks = [...this.#tasks];
    const graph = graphOf(tasks);
    const limits = templateLimits(tasks, this.#templateLimits);
    const resources = new ResourcesOfTasks(this);
    const asked = new Map(tasks.map((task) => [task, resources.of(task)]));
    const { clusters } = await (await this.tool.connect()).send(listClusters, {});
    const held = heldAgainstQueues(clusters, tasks, (task) => asked.get(task)!, strict);
    return { tasks, graph, limits, resourcesOf: (task) => held.get(asked.get(task)!)! };
  }

  #bindOnce(options: BindOptions & CheckOptions, mustBeNew: boolean): Promise<BoundWorkflow> {
    this.#bound ??= this.#check(options)
      .then((checked) => bindWorkflow(this, checked, mustBeNew, options))
      .then((bound) => {
        this.#workflowId = bound.workflowId;
        return bound;
      })
      .catch((error: unknown) => {
        this.#bound = undefined;
        throw error;
      });
    return this.#bound;
  }

  async #submit(options: SubmitOptions): Promise<WorkflowRun> {
    const { resume = false, resources, signal } = options;
    // Before anything is written: the folder that the program is in may be gone.
    const workingDirectory = resolve(options.workingDirectory ?? '.');
    const { workflowId, stood } = await this.#bindOnce(options, resume === false);
    const connection = await this.tool.connect();
    const view = await connection.send(getWorkflow, { workflow_id: workflowId }, { signal });
    const run = new WorkflowRun(connection, workflowId, view.workflow_run_id, taskCounts(view.tasks).done);
    const hasRun = view.workflow_run_id !== null;
    if (hasRun && view.status === 'D') throw alreadyThere(workflowId, 'DONE', 'give other workflowArgs to run it anew');
    if (hasRun && resume === false) {
      throw alreadyThere(workflowId, 'there already', 'run it with { resume: true }, or give other workflowArgs');
    }
    if (this.priority !== undefined && this.priority !== view.priority) await run.setPriority(this.priority);
    await this.#noteStatuses(run, 'initialStatus', !stood && 'new', signal);
    if (hasRun) {
      const { resumeTimeoutSeconds: timeoutSeconds } = options;
      const mode = resume === 'hot' ? 'hot' : 'cold';
      await run.resume({ mode, resources, workingDirectory, timeoutSeconds, signal });
      this.#lastRunId = run.workflowRunId ?? undefined;
      return run;
    }
    const request = {
      workflow_id: workflowId,
      user: loginName(),
      working_directory: workingDirectory,
      client_version: VERSION,
    };
    const reply = await connection.send(submitWorkflow, request, { signal });
    this.#lastRunId = reply.workflow_run_id;
    return new WorkflowRun(connection, workflowId, reply.workflow_run_id, run.previouslyDone);
  }

  /** Notes the state of each task; where all are done or all are new nobody has to be asked. */
  async #noteStatuses(
    run: WorkflowRun,
    when: 'initialStatus' | 'finalStatus',
    all: boolean | 'new',
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const known = all === 'new' ? taskMachine.states.G.label : taskMachine.states.D.label;
    const statuses = all === false ? await run.taskStatuses({ signal }) : undefined;
    for (const task of this.#tasks) task[when] = statuses === undefined ? known : statuses.get(task.taskId!);
  }
}

function alreadyThere(workflowId: number, how: string, cure: string): JobmonError {
  const details = { rule: 'workflow_exists', workflow_id: workflowId };
  return new JobmonError('CONFLICT', `workflow ${workflowId} is ${how}: ${cure}`, details);
}
