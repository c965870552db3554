/**
 * A task template: a command with placeholders from which tasks are made. Each placeholder is an argument of one kind: node
 * arguments tell tasks apart inside a workflow, task arguments between workflows, op arguments nowhere.
 */
import { JobmonError, registerTaskTemplate, type ReplyOf } from '@jobmon/contracts';
import { parseCommandTemplate, type CommandTemplate } from './command-template';
import type { ComputeResources } from './compute-resources';
import { argMappingHash } from './identity';
import { checkedAttempts, Task, type TaskOptions } from './task';
import type { Tool } from './tool';

/** Values are made text by `String`. */
export type ArgValue = string | number | bigint | boolean;

export interface TaskTemplateOptions<Placeholder extends string = string> {
  /** Whatever is neither a task nor an op argument, when absent. */
  nodeArgs?: readonly Placeholder[];
  taskArgs?: readonly Placeholder[];
  opArgs?: readonly Placeholder[];
  defaultClusterName?: string;
  defaultComputeResources?: ComputeResources;
  maxAttempts?: number;
}

/** The arguments of `createTask`: one value for each placeholder, none for anything else. */
export type TaskArguments<Placeholder extends string> = [Placeholder] extends [never]
  ? [values?: Record<string, never>, options?: TaskOptions]
  : [values: Readonly<Record<Placeholder, ArgValue>>, options?: TaskOptions];

/** Made by `Tool.getTaskTemplate`, which infers the placeholders from the command. */
export class TaskTemplate<Placeholder extends string = string> {
  readonly command: CommandTemplate;
  readonly commandText: string;
  /** All arguments: the names of the placeholders, each once, in the order of the command. */
  readonly names: readonly string[];
  readonly nodeArgs: readonly string[];
  readonly taskArgs: readonly string[];
  readonly opArgs: readonly string[];
  readonly defaultClusterName: string | undefined;
  readonly defaultComputeResources: ComputeResources | undefined;
  readonly maxAttempts: number | undefined;
  #registered: Promise<ReplyOf<typeof registerTaskTemplate>> | undefined;

  /** Throws MALFORMED for a command with a lone brace, and for arguments that are not each placeholder exactly once. */
  constructor(
    readonly tool: Tool,
    readonly name: string,
    command: string,
    options: TaskTemplateOptions<Placeholder>,
  ) {
    this.commandText = command.trim();
    this.command = parseCommandTemplate(this.commandText);
    this.names = [...new Set(this.command.names)];
    this.taskArgs = options.taskArgs ?? [];
    this.opArgs = options.opArgs ?? [];
    const others = new Set<string>([...this.taskArgs, ...this.opArgs]);
    this.nodeArgs = options.nodeArgs ?? this.names.filter((arg) => !others.has(arg));
    this.defaultClusterName = options.defaultClusterName;
    this.defaultComputeResources = options.defaultComputeResources;
    this.maxAttempts = options.maxAttempts === undefined ? undefined : checkedAttempts(options.maxAttempts);
    this.#checkArgs();
  }

  /**
   * A task of this template. It becomes part of a workflow by `Workflow.addTask`. Throws MALFORMED when a placeholder has no
   * value, a value no placeholder, or a value no text (for programs that the compiler has not seen).
   */
  createTask(...[given, options]: TaskArguments<Placeholder>): Task {
    const args = (given ?? {}) as Readonly<Record<string, ArgValue | null | undefined>>;
    const values = this.names.map((arg) => {
      const value = Object.hasOwn(args, arg) ? args[arg] : undefined;
      if (value === undefined || value === null) {
        throw this.#malformed(`the placeholder {${arg}} has no value`, { rule: 'no_value', placeholder: arg });
      }
      if (typeof value === 'object' || typeof value === 'function') {
        throw this.#malformed(`the value of {${arg}} is neither text nor number nor boolean`, {
          rule: 'no_text',
          placeholder: arg,
        });
      }
      return String(value);
    });
    for (const arg of Object.keys(args)) {
      if (!this.names.includes(arg)) {
        throw this.#malformed(`the command has no placeholder {${arg}}`, { rule: 'no_placeholder', placeholder: arg });
      }
    }
    return new Task(this, values, options ?? {});
  }

  /** Finds or makes the template and this version of it on the server; asks once. */
  register(): Promise<ReplyOf<typeof registerTaskTemplate>> {
    return (this.#registered ??= this.#register().catch((error: unknown) => {
      this.#registered = undefined;
      throw error;
    }));
  }

  async #register(): Promise<ReplyOf<typeof registerTaskTemplate>> {
    const connection = await this.tool.connect();
    return connection.send(registerTaskTemplate, {
      tool_version_id: await this.tool.register(),
      name: this.name,
      command_template: this.commandText,
      node_args: [...this.nodeArgs],
      task_args: [...this.taskArgs],
      op_args: [...this.opArgs],
      arg_mapping_hash: argMappingHash(this.nodeArgs, this.taskArgs, this.opArgs),
    });
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
