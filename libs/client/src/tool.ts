/** A tool: the name under which templates and workflows of one programme of work stand together, and its defaults. */
import { registerTool } from '@jobmon/contracts';
import type { PlaceholderOf } from './command-template';
import type { ComputeResources } from './compute-resources';
import { findServer, loginName } from './profile';
import { Connection } from './send';
import { checkedAttempts } from './task';
import { TaskTemplate, type TaskTemplateOptions } from './task-template';
import { Workflow, type WorkflowOptions } from './workflow';

export interface ToolOptions {
  /** The server; found by `findServer` when absent, at the first call that needs it. */
  connection?: Connection;
  defaultClusterName?: string;
  defaultComputeResources?: ComputeResources;
  defaultMaxAttempts?: number;
}

export class Tool {
  readonly name: string;
  readonly defaultClusterName: string | undefined;
  readonly defaultComputeResources: ComputeResources | undefined;
  readonly defaultMaxAttempts: number | undefined;
  #connection: Connection | undefined;
  #registered: Promise<number> | undefined;

  /** Asks no server yet. The name is `unknown-` and the login name when absent. */
  constructor(name?: string, options: ToolOptions = {}) {
    this.name = name ?? `unknown-${loginName()}`;
    this.defaultClusterName = options.defaultClusterName;
    this.defaultComputeResources = options.defaultComputeResources;
    this.defaultMaxAttempts = options.defaultMaxAttempts === undefined ? undefined : checkedAttempts(options.defaultMaxAttempts);
    this.#connection = options.connection;
  }

  /**
   * A template of this tool. The placeholders of the command become the arguments of its tasks; give the command as a
   * literal, and the compiler knows them.
   */
  getTaskTemplate<const Command extends string>(
    templateName: string,
    commandTemplate: Command,
    options: TaskTemplateOptions<PlaceholderOf<Command>> = {},
  ): TaskTemplate<PlaceholderOf<Command>> {
    return new TaskTemplate(this, templateName, commandTemplate, options);
  }

  createWorkflow(options: WorkflowOptions = {}): Workflow {
    return new Workflow(this, options);
  }

  /** The connection to the server. Throws as `findServer` does. */
  async connect(): Promise<Connection> {
    return (this.#connection ??= new Connection(await findServer()));
  }

  /** The id of the tool's newest version; finds or makes the tool; asks once. */
  register(): Promise<number> {
    return (this.#registered ??= this.#register().catch((error: unknown) => {
      this.#registered = undefined;
      throw error;
    }));
  }

  async #register(): Promise<number> {
    const connection = await this.connect();
    return (await connection.send(registerTool, { name: this.name })).tool_version_id;
  }
}
