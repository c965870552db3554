/**
 * A task template: a command with placeholders from which tasks are made. Each placeholder is an argument of one kind: node
 * arguments tell tasks apart inside a workflow, task arguments between workflows, op arguments nowhere.
 */
import { getTemplateUsage, JobmonError, registerTaskTemplate, type ReplyOf } from '@jobmon/contracts';
import { checkedLimit, checkedText } from './bounds';
import { parseCommandTemplate, type CommandTemplate } from './command-template';
import { Defaults, type DefaultOptions, type FileOptions } from './defaults';
import { argMappingHash } from './identity';
import { combinations } from './matrix';
import type { ResourceFile } from './resource-file';
import { keptSettings, Task, type RunSettings, type TaskArray, type TaskOptions } from './task';
import type { Tool } from './tool';

/** Values are made text by `String`. */
export type ArgValue = string | number | bigint | boolean;

export interface TaskTemplateOptions<Placeholder extends string = string, Shared extends Placeholder = Placeholder> extends Omit<
  DefaultOptions,
  'defaultMaxAttempts'
> {
  /** Whatever is neither a task nor an op argument, when absent. */
  nodeArgs?: readonly Placeholder[];
  taskArgs?: readonly Shared[];
  opArgs?: readonly Shared[];
  maxAttempts?: number;
  /** A file that says what this template's tasks ask for; what stands beside it here replaces entries. */
  resourceFile?: ResourceFile;
}

/** The values of a matrix: an iterable of values, or one of them, for a node argument; one value for any other. */
export type MatrixValues<Placeholder extends string, Shared extends Placeholder> = [Placeholder] extends [never]
  ? Record<string, never>
  : Readonly<Record<Exclude<Placeholder, Shared>, ArgValue | Iterable<ArgValue>> & Record<Shared, ArgValue>>;

/** What holds for all tasks of a matrix. */
export interface MatrixOptions<Placeholder extends string = string> extends RunSettings {
  /** Tasks of the template, in this workflow, that run at one time. */
  maxConcurrentlyRunning?: number;
  /** Tasks that must be done before any of these starts. */
  upstreams?: Iterable<Task>;
  attributes?: Readonly<Record<string, string>>;
  /** What one task has of its own, by its values; settings replace, upstreams and attributes are added. */
  each?: (values: Readonly<Record<Placeholder, ArgValue>>) => TaskOptions;
}

/** Which attempts `resourceUsage` looks at. */
export interface UsageFilter {
  /** These workflows; all when absent. */
  workflowIds?: readonly number[];
  /** Values of node arguments: every name must fit, one of its values is enough. */
  nodeArgs?: Readonly<Record<string, ArgValue | Iterable<ArgValue>>>;
  /** Confidence level of the intervals around the means, between 0 and 1. */
  confidence?: number;
}

/** Figures of one resource over the attempts that told it. */
export type UsageFigures = NonNullable<ReplyOf<typeof getTemplateUsage>['memory']>;

export interface TemplateUsage {
  attempts: number;
  /** Bytes. */
  memory: UsageFigures | null;
  /** Seconds. */
  runtime: UsageFigures | null;
  /** There are too many attempts, and the oldest were left out. */
  isSampled: boolean;
}

/** The arguments of `createTask`: one value for each placeholder, none for anything else. */
export type TaskArguments<Placeholder extends string> = [Placeholder] extends [never]
  ? [values?: Record<string, never>, options?: TaskOptions]
  : [values: Readonly<Record<Placeholder, ArgValue>>, options?: TaskOptions];

const NOTHING: TaskOptions = {};
/** A longer command fits no task anyway. */
const COMMAND_CHARS_MAX = 65_535;

/** Made by `Tool.getTaskTemplate`, which infers the placeholders from the command. */
export class TaskTemplate<Placeholder extends string = string, Shared extends Placeholder = never> {
  readonly command: CommandTemplate;
  readonly commandText: string;
  /** All arguments: the names of the placeholders, each once, in the order of the command. */
  readonly names: readonly string[];
  readonly nodeArgs: readonly string[];
  readonly taskArgs: readonly string[];
  readonly opArgs: readonly string[];
  /** What its tasks take over: may be changed until a workflow with them is bound. */
  readonly defaults: Defaults;
  /** By the tool's version. */
  readonly #registered = new Map<number, Promise<ReplyOf<typeof registerTaskTemplate>>>();

  /** Throws MALFORMED for a command with a lone brace, and for arguments that are not each placeholder exactly once. */
  constructor(
    readonly tool: Tool,
    readonly name: string,
    command: string,
    options: TaskTemplateOptions<Placeholder>,
  ) {
    checkedText('the name of a task template', name, 255);
    this.commandText = checkedText(`the command of task template '${name}'`, command, COMMAND_CHARS_MAX, 0).trim();
    this.command = parseCommandTemplate(this.commandText);
    this.names = [...new Set(this.command.names)];
    this.taskArgs = options.taskArgs ?? [];
    this.opArgs = options.opArgs ?? [];
    const others = new Set<string>([...this.taskArgs, ...this.opArgs]);
    this.nodeArgs = options.nodeArgs ?? this.names.filter((arg) => !others.has(arg));
    this.#checkArgs();
    const { maxAttempts: defaultMaxAttempts, resourceFile, ...defaults } = options;
    this.defaults = new Defaults(resourceFile === undefined ? { ...defaults, defaultMaxAttempts } : { defaultMaxAttempts });
    if (resourceFile !== undefined) {
      this.setDefaultsFromFile(resourceFile);
      this.defaults.add(defaults);
    }
  }

  /** Takes what a file says of this template. Throws MALFORMED when it says nothing, unless that is allowed. */
  setDefaultsFromFile(file: ResourceFile, options: FileOptions = {}): void {
    this.defaults.takeFile(`task template '${this.name}'`, file.ofTemplate(this.tool.name, this.name), options);
  }

  /**
   * A task of this template. It becomes part of a workflow by `Workflow.addTask`. Throws MALFORMED when a placeholder has no
   * value, a value no placeholder, or a value no text (for programs that the compiler has not seen).
   */
  createTask(...[given, options]: TaskArguments<Placeholder>): Task {
    return new Task(this, this.#texts(given ?? {}), options ?? {});
  }

  /**
   * A task for each combination of the values that the node arguments have: their cross product, the last argument turning fastest.
   * Called more than once for one workflow, the tasks join one array; two different limits are refused. Throws MALFORMED as
   * `createTask` does, for an argument without any value, and for more than ten million combinations.
   */
  createTasks(values: MatrixValues<Placeholder, Shared>, options: MatrixOptions<Placeholder> = {}): Task[] {
    const { each, upstreams, attributes, maxConcurrentlyRunning } = options;
    const given = values as Readonly<Record<string, ArgValue | Iterable<ArgValue>>>;
    const array: TaskArray = {
      settings: keptSettings(options),
      maxConcurrentlyRunning: maxConcurrentlyRunning === undefined ? undefined : checkedLimit(maxConcurrentlyRunning),
    };
    const before = upstreams === undefined ? undefined : [...upstreams];
    const tasks: Task[] = [];
    for (const row of combinations(given, this.nodeArgs, this.name)) {
      const own = each?.(row as Readonly<Record<Placeholder, ArgValue>>) ?? NOTHING;
      const all = attributes === undefined ? own : { ...own, attributes: { ...attributes, ...own.attributes } };
      const task = new Task(this, this.#texts(row), all, array);
      if (before !== undefined) task.addUpstreams(before);
      tasks.push(task);
    }
    return tasks;
  }

  /** Statistics of what its tasks used, of this version of the template. */
  async resourceUsage({ workflowIds, nodeArgs, confidence }: UsageFilter = {}): Promise<TemplateUsage> {
    const { task_template_version_id } = await this.register();
    const listed = Object.entries(nodeArgs ?? {}).map(([arg, given]): [string, string[]] => {
      if (!this.nodeArgs.includes(arg)) throw this.#malformed(`'${arg}' is no node argument`);
      return [arg, (typeof given === 'object' ? [...given] : [given]).map(String)];
    });
    const connection = await this.tool.connect();
    const { is_sampled, ...usage } = await connection.send(getTemplateUsage, {
      task_template_version_id,
      workflow_ids: workflowIds === undefined ? undefined : [...workflowIds],
      node_args: listed.length === 0 ? undefined : Object.fromEntries(listed),
      confidence,
    });
    return { ...usage, isSampled: is_sampled };
  }

  /** Finds or makes the template and this version of it in the tool's version on the server; asks once for each. */
  async register(): Promise<ReplyOf<typeof registerTaskTemplate>> {
    const tool_version_id = await this.tool.register();
    let registered = this.#registered.get(tool_version_id);
    if (registered === undefined) {
      registered = this.#register(tool_version_id);
      registered.catch(() => this.#registered.delete(tool_version_id));
      this.#registered.set(tool_version_id, registered);
    }
    return registered;
  }

  async #register(tool_version_id: number): Promise<ReplyOf<typeof registerTaskTemplate>> {
    const connection = await this.tool.connect();
    return connection.send(registerTaskTemplate, {
      tool_version_id,
      name: this.name,
      command_template: this.commandText,
      node_args: [...this.nodeArgs],
      task_args: [...this.taskArgs],
      op_args: [...this.opArgs],
      arg_mapping_hash: argMappingHash(this.nodeArgs, this.taskArgs, this.opArgs),
    });
  }

  /** The values as text, in the order of `names`. */
  #texts(args: Readonly<Record<string, unknown>>): string[] {
    const values = this.names.map((arg) => {
      const value = Object.hasOwn(args, arg) ? args[arg] : undefined;
      if (value === undefined || value === null) {
        throw this.#malformed(`the placeholder {${arg}} has no value`, { rule: 'no_value', placeholder: arg });
      }
      if (typeof value === 'object' || typeof value === 'function' || typeof value === 'symbol') {
        const what = `the value of {${arg}} is neither text nor number nor boolean`;
        throw this.#malformed(what, { rule: 'no_text', placeholder: arg });
      }
      if (typeof value === 'number' && !Number.isFinite(value)) {
        throw this.#malformed(`the value of {${arg}} is ${value}`, { rule: 'no_text', placeholder: arg });
      }
      return String(value);
    });
    for (const arg of Object.keys(args)) {
      if (!this.names.includes(arg)) {
        throw this.#malformed(`the command has no placeholder {${arg}}`, { rule: 'no_placeholder', placeholder: arg });
      }
    }
    return values;
  }

  #checkArgs(): void {
    if (this.commandText === '') throw this.#malformed('the command is empty');
    const listed = [...this.nodeArgs, ...this.taskArgs, ...this.opArgs];
    for (const arg of listed) {
      if (!this.names.includes(arg)) throw this.#malformed(`the argument '${arg}' is no placeholder of the command`);
    }
    for (const arg of this.names) {
      const times = listed.filter((one) => one === arg).length;
      if (times !== 1)
        throw this.#malformed(`the placeholder {${arg}} must be a node, a task or an op argument, exactly one of them`);
    }
  }

  #malformed(what: string, details?: { readonly rule: string; readonly placeholder: string }): JobmonError {
    return new JobmonError('MALFORMED', `task template '${this.name}': ${what}`, details);
  }
}
