/** A task: one command with its values, and the tasks that must be done before it. Made by `TaskTemplate.createTask`. */
import { getTask, JobmonError, TaskToRegister } from '@jobmon/contracts';
import { checkedAttempts, checkedAttributes, checkedText } from './bounds';
import { fillCommandTemplate } from './command-template';
import { requestedResources, type ComputeResources } from './compute-resources';
import { keptScales, type KeptScales, type ResourceScales } from './resource-scales';
import type { TaskTemplate } from './task-template';
import type { Workflow } from './workflow';
import type { TaskError } from './workflow-run';

/** Longest name that is made from template and arguments (spec/cli-and-gui.md C.2). */
const NAME_CHARS_MAX = 249;

/** What a task, or all tasks of a matrix, ask for; what is left open comes from template, workflow and tool. */
export interface RunSettings {
  /** Attempts in all, the first included; else the template's, the workflow's, the tool's, else 3. */
  maxAttempts?: number;
  /** Entries given here replace those of template, workflow and tool. */
  computeResources?: ComputeResources;
  /** How resources grow after an attempt ran out of them; by entries, as `computeResources`. Memory and runtime by one half else. */
  resourceScales?: ResourceScales;
  clusterName?: string;
  /** Queues of the cluster, tried in order when grown resources do not fit the task's own. */
  fallbackQueues?: readonly string[];
}

export interface TaskOptions extends RunSettings {
  /** Made from template and arguments when absent. Not empty, no digit first, no slash, backslash, quote or blank. */
  name?: string;
  /** Tasks that must be done before this one starts. */
  upstreams?: Iterable<Task>;
  attributes?: Readonly<Record<string, string>>;
}

/** Settings as they are kept: checked, and repeatable. */
export interface KeptSettings {
  readonly maxAttempts: number | undefined;
  readonly computeResources: ComputeResources | undefined;
  readonly resourceScales: KeptScales | undefined;
  readonly clusterName: string | undefined;
  readonly fallbackQueues: readonly string[] | undefined;
}

/** Settings of nothing: most tasks have these, so they share it. */
export const NO_SETTINGS: KeptSettings = {
  maxAttempts: undefined,
  computeResources: undefined,
  resourceScales: undefined,
  clusterName: undefined,
  fallbackQueues: undefined,
};

/** Throws MALFORMED with the rule. */
export function keptSettings(given: RunSettings): KeptSettings {
  const { maxAttempts, computeResources, resourceScales, clusterName, fallbackQueues } = given;
  const isBare =
    maxAttempts === undefined &&
    computeResources === undefined &&
    resourceScales === undefined &&
    clusterName === undefined &&
    fallbackQueues === undefined;
  if (isBare) return NO_SETTINGS;
  if (computeResources !== undefined) requestedResources(computeResources);
  return {
    maxAttempts: maxAttempts === undefined ? undefined : checkedAttempts(maxAttempts),
    computeResources: computeResources === undefined ? undefined : { ...computeResources },
    resourceScales: resourceScales === undefined ? undefined : keptScales(resourceScales),
    clusterName: clusterName === undefined ? undefined : checkedText('the cluster name', clusterName, 255),
    fallbackQueues: fallbackQueues?.map((queue) => checkedText('a fallback queue', queue, 255)),
  };
}

/** Tasks that were made together: their settings stand between those of a task and those of its template. */
export interface TaskArray {
  readonly settings: KeptSettings;
  readonly maxConcurrentlyRunning: number | undefined;
}

/** What the attempt that succeeded used. */
export interface TaskUsage {
  attempts: number;
  nodename: string | null;
  runtimeSeconds: number | null;
  memoryBytes: number | null;
  cpuSeconds: number | null;
  /** What that attempt asked for: memory in GiB, runtime in seconds. */
  requested: Readonly<Record<string, unknown>>;
}

const NO_TASKS: ReadonlySet<Task> = new Set();

export class Task {
  readonly name: string;
  readonly attributes: Record<string, string>;
  /** The workflow that it was added to. */
  workflow: Workflow | undefined;
  /** The server's id, from `bind` on. */
  taskId: number | undefined;
  /** Label of its state when it was bound, `REGISTERING` or `DONE` mostly, and when its run had ended. */
  initialStatus: string | undefined;
  finalStatus: string | undefined;
  #settings: KeptSettings;
  #upstreams: Set<Task> | undefined;

  /** `values` are those of `template.names`, in that order. For `createTask`. */
  constructor(
    readonly template: TemplateOfTask,
    readonly values: readonly string[],
    options: TaskOptions,
    readonly array?: TaskArray,
  ) {
    this.name = options.name === undefined ? nameOf(template, values) : checkedName(options.name);
    this.attributes = options.attributes === undefined ? {} : checkedAttributes(`task '${this.name}'`, options.attributes);
    this.#settings = keptSettings(options);
    if (options.upstreams !== undefined) this.addUpstreams(options.upstreams);
  }

  /** The whole command line. */
  get command(): string {
    return fillCommandTemplate(this.template.command, (name) => this.values[this.template.names.indexOf(name)]!);
  }

  /** Its own settings, without those of its array, template, workflow and tool. */
  get settings(): KeptSettings {
    return this.#settings;
  }

  /** The values of its node arguments by name. */
  get nodeArgs(): Record<string, string> {
    const { names, nodeArgs } = this.template;
    return Object.fromEntries(nodeArgs.map((arg) => [arg, this.values[names.indexOf(arg)]!]));
  }

  get upstreams(): ReadonlySet<Task> {
    return this.#upstreams ?? NO_TASKS;
  }

  addUpstream(task: Task): void {
    if (!(task instanceof Task)) throw new JobmonError('MALFORMED', `an upstream of task '${this.name}' is no task`);
    (this.#upstreams ??= new Set()).add(task);
  }

  addUpstreams(tasks: Iterable<Task>): void {
    for (const task of tasks) this.addUpstream(task);
  }

  addDownstream(task: Task): void {
    task.addUpstream(this);
  }

  addDownstreams(tasks: Iterable<Task>): void {
    for (const task of tasks) this.addDownstream(task);
  }

  addAttribute(name: string, value: string): void {
    Object.assign(this.attributes, checkedAttributes(`task '${this.name}'`, { [name]: value }));
  }

  /** Replaces single entries of what this task asks for. */
  updateComputeResources(resources: ComputeResources): void {
    const computeResources = { ...this.#settings.computeResources, ...resources };
    requestedResources(computeResources);
    this.#settings = { ...this.#settings, computeResources };
  }

  /** Replaces single entries of how what this task asks for grows. */
  updateResourceScales(scales: ResourceScales): void {
    this.#settings = { ...this.#settings, resourceScales: { ...this.#settings.resourceScales, ...keptScales(scales) } };
  }

  /** The errors of all its attempts, oldest first. Throws CONFLICT before it is bound. */
  async getErrors(): Promise<TaskError[]> {
    const { instances } = await this.#ask();
    return instances.flatMap(({ task_instance_id, errors }) =>
      errors.map(({ error_time, description }) => ({ taskInstanceId: task_instance_id, errorTime: error_time, description })),
    );
  }

  /** What its newest successful attempt used; undefined when there is none yet. Throws CONFLICT before it is bound. */
  async resourceUsage(): Promise<TaskUsage | undefined> {
    const { task, instances } = await this.#ask();
    const done = instances.filter(({ status }) => status === 'D').at(-1);
    if (done === undefined) return undefined;
    return {
      attempts: task.num_attempts,
      nodename: done.nodename,
      runtimeSeconds: done.wallclock_seconds,
      memoryBytes: done.max_rss_bytes,
      cpuSeconds: done.cpu_seconds,
      requested: done.requested_resources,
    };
  }

  async #ask() {
    if (this.taskId === undefined) throw new JobmonError('CONFLICT', `task '${this.name}' is not bound yet`);
    const connection = await this.template.tool.connect();
    return connection.send(getTask, { task_id: this.taskId });
  }
}

/** What a task needs of its template, whatever its placeholders are. */
export type TemplateOfTask = Omit<TaskTemplate, 'createTask' | 'createTasks' | 'resourceUsage'>;

function checkedName(name: string): string {
  const parsed = TaskToRegister.shape.name.safeParse(name);
  if (parsed.success) return name;
  const given = typeof name === 'string' ? JSON.stringify(name.slice(0, 100)) : String(name);
  throw new JobmonError('MALFORMED', `the task name ${given} ${parsed.error.issues[0]?.message}`);
}

/** `template_arg-value_arg-value`, with whatever a name must not hold replaced by an underscore. */
function nameOf(template: TemplateOfTask, values: readonly string[]): string {
  let name = template.name;
  template.names.forEach((arg, i) => {
    if (!template.opArgs.includes(arg) && name.length < NAME_CHARS_MAX) name += `_${arg}-${values[i]!.slice(0, NAME_CHARS_MAX)}`;
  });
  name = name.replace(/[/\\'"\s]/g, '_');
  if (/^\d/.test(name)) name = `_${name}`;
  // A pair of surrogates is one character: half of it is no text.
  return name.slice(0, NAME_CHARS_MAX).replace(/[\uD800-\uDBFF]$/, '');
}
