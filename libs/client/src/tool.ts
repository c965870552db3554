/** A tool: the name under which templates and workflows of one programme of work stand together, its versions, and its defaults. */
import { addVersionOfTool, JobmonError, listVersionsOfTool, registerTool, type ReplyOf } from '@jobmon/contracts';
import { checkedText } from './bounds';
import type { PlaceholderOf } from './command-template';
import { Defaults, type DefaultOptions, type FileOptions } from './defaults';
import { findServer, loginName } from './profile';
import type { ResourceFile } from './resource-file';
import { Connection } from './send';
import { TaskTemplate, type TaskTemplateOptions } from './task-template';
import { Workflow, type WorkflowOptions } from './workflow';

export interface ToolOptions extends DefaultOptions {
  /** The server; found by `findServer` when absent, at the first call that needs it. */
  connection?: Connection;
  /** The version whose workflows are made; the newest when absent. */
  activeToolVersionId?: number | 'latest';
}

export class Tool {
  readonly name: string;
  /** What its workflows' tasks take over: may be changed until a workflow is bound. */
  readonly defaults: Defaults;
  #templateFile: ResourceFile | undefined;
  #connection: Connection | undefined;
  #activeToolVersionId: number | 'latest';
  #tool: Promise<ReplyOf<typeof registerTool>> | undefined;
  #checked: { readonly id: number | 'latest'; readonly version: Promise<number> } | undefined;

  /** Asks no server yet. The name is `unknown-` and the login name when absent. Throws MALFORMED with the rule that a value breaks. */
  constructor(name?: string, options: ToolOptions = {}) {
    this.name = checkedText('the name of a tool', name ?? `unknown-${loginName()}`, 255);
    this.defaults = new Defaults(options);
    this.#activeToolVersionId = options.activeToolVersionId ?? 'latest';
    this.#connection = options.connection;
  }

  /**
   * A template of this tool. The placeholders of the command become the arguments of its tasks; give the command as a
   * literal, and the compiler knows them.
   */
  getTaskTemplate<const Command extends string, const Shared extends PlaceholderOf<Command> = never>(
    templateName: string,
    commandTemplate: Command,
    options: TaskTemplateOptions<PlaceholderOf<Command>, Shared> = {},
  ): TaskTemplate<PlaceholderOf<Command>, Shared> {
    return new TaskTemplate<PlaceholderOf<Command>, Shared>(this, templateName, commandTemplate, options);
  }

  createWorkflow(options: WorkflowOptions = {}): Workflow {
    return new Workflow(this, options);
  }

  /**
   * Takes what a file says of this tool, and with `setTaskTemplates` what it says of its templates, where they do not say it
   * themselves. Throws MALFORMED when it says nothing of the tool, unless that is allowed.
   */
  setDefaultsFromFile(
    file: ResourceFile,
    { setTaskTemplates, ...options }: FileOptions & { setTaskTemplates?: boolean } = {},
  ): void {
    this.defaults.takeFile(`tool '${this.name}'`, file.ofTool(this.name), options);
    if (setTaskTemplates) this.#templateFile = file;
  }

  /** What the tool's own file says of one of its templates. */
  defaultsOfTemplate(templateName: string): Defaults | undefined {
    const found = this.#templateFile?.ofTemplate(this.name, templateName);
    if (found === undefined) return undefined;
    const { computeResources: defaultComputeResourcesSet, resourceScales: defaultResourceScalesSet } = found;
    return new Defaults({ defaultComputeResourcesSet, defaultResourceScalesSet });
  }

  /** The version whose workflows are made: `latest`, or an id. */
  get activeToolVersionId(): number | 'latest' {
    return this.#activeToolVersionId;
  }

  /** Makes a version, which is active and the newest from now on; answers its id. */
  async getNewToolVersion(): Promise<number> {
    const { tool_id } = await this.#registerTool();
    const { tool_version_id } = await (await this.connect()).send(addVersionOfTool, { tool_id });
    this.#activeToolVersionId = tool_version_id;
    return tool_version_id;
  }

  /** Chooses a version by its id, or the newest. Throws NOT_FOUND listing the versions that there are. */
  async setActiveToolVersionId(id: number | 'latest'): Promise<void> {
    await this.#versionId(id);
    this.#activeToolVersionId = id;
  }

  /** The connection to the server. Throws as `findServer` does. */
  async connect(): Promise<Connection> {
    return (this.#connection ??= new Connection(await findServer()));
  }

  /** The id of the tool's active version; finds or makes the tool; asks once for each. Throws NOT_FOUND as `setActiveToolVersionId`. */
  register(): Promise<number> {
    const id = this.#activeToolVersionId;
    if (this.#checked?.id !== id) {
      const version = this.#versionId(id);
      version.catch(() => (this.#checked = undefined));
      this.#checked = { id, version };
    }
    return this.#checked.version;
  }

  async #versionId(id: number | 'latest'): Promise<number> {
    const { tool_id, tool_version_id } = await this.#registerTool();
    if (id === 'latest' || id === tool_version_id) return tool_version_id;
    const { tool_version_ids } = await (await this.connect()).send(listVersionsOfTool, { tool_id });
    if (tool_version_ids.includes(id)) return id;
    throw new JobmonError('NOT_FOUND', `tool '${this.name}' has no version ${id}; it has ${tool_version_ids.join(', ')}`);
  }

  /** Asks once, so that `latest` stays the same version for the life of this object. */
  #registerTool(): Promise<ReplyOf<typeof registerTool>> {
    return (this.#tool ??= this.connect()
      .then((connection) => connection.send(registerTool, { name: this.name }))
      .catch((error: unknown) => {
        this.#tool = undefined;
        throw error;
      }));
  }
}
