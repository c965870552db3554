/**
 * A workflow file (docs/workflow-files.md): read and checked as a whole, without a server, then shown as a plan or made a workflow of this
 * SDK. Everything that is wrong is told at once, with file, line and column.
 */
import path from 'node:path';
import { JobmonError } from '@jobmon/contracts';
import { graphOf, type BrokenRule } from '../graph';
import type { Connection } from '../send';
import { keptSettings, Task, type TaskArray } from '../task';
import { Tool } from '../tool';
import type { Workflow } from '../workflow';
import type { Group, UsedTemplate } from './group';
import { described, groupsOf, type ReadyGroup, type WorkflowFileOptions } from './groups';
import { problemText, Problems, WorkflowFileError, type Position, type Problem } from './problem';
import type { WorkflowDescription } from './schema';
import type { Settings } from './settings';
import { Source } from './source';

export type { WorkflowFileOptions } from './groups';

/** A group as a plan shows it. */
export interface PlannedGroup {
  readonly name: string;
  readonly template: string;
  readonly tasks: number;
  /** 1 for groups that wait for nothing, else one more than the highest that it waits for. */
  readonly level: number;
  readonly needs: readonly { readonly task: string; readonly match: readonly string[]; readonly edges: number }[];
  readonly cluster: string;
  readonly queue: string | null;
  /** Memory in GiB, run time in seconds. */
  readonly resources: Readonly<Record<string, unknown>>;
  /** How they grow: a factor that is added to 1, or the values of the following attempts. */
  readonly scales: Readonly<Record<string, number | readonly number[]>>;
  readonly fallback_queues: readonly string[];
  readonly max_attempts: number;
}

/** One task as a plan shows it. */
export interface PlannedTask {
  readonly name: string;
  /** Its group. */
  readonly task: string;
  readonly resources: Readonly<Record<string, unknown>>;
  readonly command: string;
}

/** What a run of the file would do. */
export interface WorkflowPlan {
  readonly tool: string;
  readonly name: string;
  readonly args: string | null;
  readonly tasks: number;
  readonly edges: number;
  readonly levels: number;
  /** By level, within a level as in the file. */
  readonly groups: readonly PlannedGroup[];
  /** The first ones, in the order in which they could start. */
  readonly first_commands: readonly PlannedTask[];
}

/** Reads and checks a file (`-` is standard input). Throws WorkflowFileError with all problems. Nothing is asked of a server. */
export function readWorkflowFile(file: string, options: WorkflowFileOptions = {}): WorkflowFile {
  const problems = new Problems();
  const source = Source.read(file, problems);
  if (source === undefined) return problems.throwIfAny() as never;
  return new WorkflowFile(source, options, problems);
}

export class WorkflowFile {
  readonly file: WorkflowDescription;
  readonly name: string;
  /** What tells this workflow from others; undefined when each run is a new one. */
  readonly workflowArgs: string | undefined;
  /** What is odd and no reason to refuse, with its place. */
  readonly notices: readonly Problem[];
  /** Each behind those that it waits for. */
  readonly #groups: readonly ReadyGroup[];

  /** For `readWorkflowFile`. */
  constructor(
    readonly source: Source,
    options: WorkflowFileOptions,
    problems: Problems,
  ) {
    this.file = described(source, problems);
    this.#groups = groupsOf(this.file, source, problems, options);
    problems.throwIfAny();
    this.notices = problems.notices;
    this.name = this.file.name ?? (source.file === '-' ? '' : path.parse(source.file).name);
    const args =
      options.workflowArgs ?? (this.file.args === undefined ? undefined : source.textOf(source.value as object, 'args'));
    this.workflowArgs = args === '' ? undefined : args;
  }

  /** `notices` as lines for standard error. */
  get noticeTexts(): string[] {
    return this.notices.map(problemText);
  }

  get taskCount(): number {
    return this.#groups.reduce((sum, { rows }) => sum + rows.count, 0);
  }

  /** What a run would do, with the first commands. Throws WorkflowFileError for what only shows in the finished workflow. */
  plan(commands_max = 10): WorkflowPlan {
    const workflow = this.createWorkflow();
    const tasks = [...workflow.tasks];
    const first: PlannedTask[] = [];
    const groups: PlannedGroup[] = [];
    let begin = 0;
    try {
      graphOf(tasks);
      for (const { key, template, rows, level, needs } of this.#groups) {
        const {
          cluster,
          queue = null,
          requested: resources,
          resourceScales,
          fallbackQueues,
        } = workflow.resourcesOf(tasks[begin]!);
        groups.push({
          name: key,
          template: template.name,
          tasks: rows.count,
          level,
          needs: needs.map(({ on, match, edges }) => ({ task: on, match, edges })),
          cluster,
          queue,
          resources,
          scales: resourceScales,
          fallback_queues: fallbackQueues,
          max_attempts: workflow.maxAttemptsOf(tasks[begin]!),
        });
        const shown = tasks.slice(begin, begin + Math.min(rows.count, commands_max - first.length));
        first.push(...shown.map(({ name, command }) => ({ name, task: key, resources, command })));
        begin += rows.count;
      }
    } catch (error) {
      throw this.located(error);
    }
    return {
      tool: this.file.tool,
      name: this.name,
      args: this.workflowArgs ?? null,
      tasks: tasks.length,
      edges: groups.reduce((sum, { needs }) => needs.reduce((all, { edges }) => all + edges, sum), 0),
      levels: groups.reduce((most, { level }) => Math.max(most, level), 0),
      groups,
      first_commands: first,
    };
  }

  /** The file as a workflow, not bound yet. `connection` is found by itself when absent, at the first call that needs it. */
  createWorkflow(connection?: Connection): Workflow {
    const { file, source } = this;
    const tool = new Tool(file.tool, { connection });
    const attributes = Object.keys(file.attributes ?? {}).map((name) => [name, source.textOf(file.attributes!, name)] as const);
    const workflow = tool.createWorkflow({
      name: this.name,
      workflowArgs: this.workflowArgs,
      description: file.description,
      workflowAttributes: Object.fromEntries(attributes),
      maxConcurrentlyRunning: file.limit,
      priority: file.priority,
    });
    const templates = new Map<string, ReturnType<typeof createTemplate>>();
    const tasksOf = new Map<string, Task[]>();
    for (const group of this.#groups) {
      const template = templates.get(group.template.name) ?? createTemplate(tool, group.template);
      templates.set(group.template.name, template);
      if (group.template.limit !== undefined) workflow.setTaskTemplateMaxConcurrencyLimit(template.name, group.template.limit);
      const array = arrayOf(group.settings);
      const upstreamsOf = group.needs.map(({ on, upstreamsOf: rowsOf }) => {
        const tasks = tasksOf.get(on)!;
        return (row: number) => rowsOf(row).map((at) => tasks[at]!);
      });
      const made: Task[] = [];
      for (let row = 0; row < group.rows.count; row++) {
        const values = template.names.map((name) => group.valueOf(row, name));
        const task = new Task(template, values, { name: group.nameOf(row), attributes: group.attributes }, array);
        for (const upstreams of upstreamsOf) task.addUpstreams(upstreams(row));
        made.push(workflow.addTask(task));
      }
      tasksOf.set(group.key, made);
    }
    return workflow;
  }

  /** An error about tasks of this workflow, as a problem at the place where they are described; any other error as it is. */
  located(error: unknown): unknown {
    if (!(error instanceof JobmonError) || error instanceof WorkflowFileError) return error;
    const { rule, tasks } = (error.details ?? {}) as Partial<BrokenRule>;
    const name = tasks?.[0];
    const group = name === undefined ? undefined : this.#groups.find((one) => hasTask(one, name));
    if (group === undefined) return error;
    const at = rule === 'unknown_cluster' ? this.#placeOfCluster(group) : this.source.positionOf(['tasks', group.key], 'key');
    return new WorkflowFileError([{ ...at, message: error.message }]);
  }

  /** Where the cluster of a group is named: the nearest giver. */
  #placeOfCluster({ key, template }: Group): Position {
    const { tasks, templates } = this.file;
    if (tasks[key]?.cluster !== undefined) return this.source.positionOf(['tasks', key, 'cluster']);
    if (templates?.[template.name]?.cluster !== undefined) return this.source.positionOf(['templates', template.name, 'cluster']);
    return this.source.positionOf(['cluster']);
  }
}

function hasTask(group: Group, name: string): boolean {
  for (let row = 0; row < group.rows.count; row++) if (group.nameOf(row) === name) return true;
  return false;
}

/** The settings of a group, which all its tasks share. */
function arrayOf({ cluster, queue, requested, scales, fallbackQueues, maxAttempts }: Settings): TaskArray {
  const computeResources = queue === undefined ? requested : { ...requested, queue };
  const settings = { clusterName: cluster, computeResources, resourceScales: scales, fallbackQueues, maxAttempts };
  return { settings: keptSettings(settings), maxConcurrentlyRunning: undefined };
}

function createTemplate(tool: Tool, { name, command, nodeArgs, taskArgs, opArgs }: UsedTemplate) {
  return tool.getTaskTemplate(name, command as string, { nodeArgs, taskArgs, opArgs });
}
