/** A task: one command with its values, and the tasks that must be done before it. Made by `TaskTemplate.createTask`. */
import { JobmonError, TaskToRegister } from '@jobmon/contracts';
import { fillCommandTemplate } from './command-template';
import type { ComputeResources } from './compute-resources';
import type { TaskTemplate } from './task-template';

/** Longest name that is made from template and arguments (spec/cli-and-gui.md C.2). */
const NAME_CHARS_MAX = 249;

export interface TaskOptions {
  /** Made from template and arguments when absent. Not empty, no digit first, no slash, backslash, quote or blank. */
  name?: string;
  /** Tasks that must be done before this one starts. */
  upstreams?: Iterable<Task>;
  attributes?: Readonly<Record<string, string>>;
  /** Attempts in all, the first included; else the template's, the workflow's, the tool's, else 3. */
  maxAttempts?: number;
  /** Entries given here replace those of template, workflow and tool. */
  computeResources?: ComputeResources;
  clusterName?: string;
}

const NO_TASKS: ReadonlySet<Task> = new Set();

export class Task {
  readonly name: string;
  readonly attributes: Record<string, string>;
  readonly maxAttempts: number | undefined;
  readonly computeResources: ComputeResources | undefined;
  readonly clusterName: string | undefined;
  /** The server's id, from `bind` on. */
  taskId: number | undefined;
  #upstreams: Set<Task> | undefined;

  /** `values` are those of `template.names`, in that order. For `createTask`. */
  constructor(
    readonly template: TemplateOfTask,
    readonly values: readonly string[],
    options: TaskOptions,
  ) {
    this.name = options.name === undefined ? nameOf(template, values) : checkedName(options.name);
    this.attributes = { ...options.attributes };
    this.maxAttempts = options.maxAttempts === undefined ? undefined : checkedAttempts(options.maxAttempts);
    this.computeResources = options.computeResources;
    this.clusterName = options.clusterName;
    if (options.upstreams !== undefined) this.addUpstreams(options.upstreams);
  }

  /** The whole command line. */
  get command(): string {
    return fillCommandTemplate(this.template.command, (name) => this.values[this.template.names.indexOf(name)]!);
  }

  get upstreams(): ReadonlySet<Task> {
    return this.#upstreams ?? NO_TASKS;
  }

  addUpstream(task: Task): void {
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
    this.attributes[name] = value;
  }
}

/** What a task needs of its template, whatever its placeholders are. */
export type TemplateOfTask = Omit<TaskTemplate, 'createTask'>;

/** Attempts must be a whole number above 0. */
export function checkedAttempts(max_attempts: number): number {
  if (Number.isInteger(max_attempts) && max_attempts >= 1 && max_attempts <= 1_000_000) return max_attempts;
  throw new JobmonError('MALFORMED', `maxAttempts must be a whole number from 1 to 1000000, not ${max_attempts}`);
}

function checkedName(name: string): string {
  const parsed = TaskToRegister.shape.name.safeParse(name);
  if (parsed.success) return name;
  throw new JobmonError('MALFORMED', `the task name ${JSON.stringify(name.slice(0, 100))} ${parsed.error.issues[0]?.message}`);
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
