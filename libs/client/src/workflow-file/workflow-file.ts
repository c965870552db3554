/**
 * A workflow file (docs/workflow-files.md): read and checked as a whole, without a server, then shown as a plan or made a workflow of this
 * SDK. Everything that is wrong is told at once, with file, line and column.
 */
import path from 'node:path';
import { JobmonError } from '@jobmon/contracts';
import { clusterMeant } from '../executor-name';
import { graphOf, type BrokenRule } from '../graph';
import type { Connection } from '../send';
import { keptSettings, Task, type TaskArray } from '../task';
import { Tool } from '../tool';
import type { Workflow } from '../workflow';
import { check } from './check';
import { groupOf, usedTemplate, type Group, type Surroundings, type UsedTemplate } from './group';
import { readIncludes } from './include';
import { needsOf, orderOf, type Need } from './needs';
import { didYouMean, problemText, Problems, WorkflowFileError, type Problem } from './problem';
import { WorkflowDescription, X_KEY } from './schema';
import type { Settings } from './settings';
import { Source } from './source';

/** Tasks of one file. */
export const TASKS_MAX = 1_000_000;

export interface WorkflowFileOptions {
  /** In place of the file's `args`. */
  workflowArgs?: string;
  /** All tasks run there, whatever the file says. */
  clusterName?: string;
  /** Values of arguments, in place of those under `args` of all tasks that have them. */
  values?: Readonly<Record<string, string>>;
}

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

interface ReadyGroup extends Group {
  readonly level: number;
  readonly needs: readonly Need[];
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

  /** What a run would do, with the first commands. Throws WorkflowFileError for what only shows in the finished graph. */
  plan(commands_max = 10): WorkflowPlan {
    const workflow = this.createWorkflow();
    const first: PlannedTask[] = [];
    for (const group of this.#groups) {
      for (let row = 0; row < group.rows.count && first.length < commands_max; row++) {
        first.push({
          name: group.nameOf(row),
          task: group.key,
          resources: group.settings.requested,
          command: group.commandOf(row),
        });
      }
    }
    try {
      graphOf([...workflow.tasks]);
    } catch (error) {
      throw this.located(error);
    }
    const groups = this.#groups.map(({ key, template, rows, level, needs, settings }) => ({
      name: key,
      template: template.name,
      tasks: rows.count,
      level,
      needs: needs.map(({ on, match, edges }) => ({ task: on, match, edges })),
      cluster: settings.cluster,
      queue: settings.queue ?? null,
      resources: settings.requested,
      max_attempts: settings.maxAttempts ?? MAX_ATTEMPTS_DEFAULT,
    }));
    return {
      tool: this.file.tool,
      name: this.name,
      args: this.workflowArgs ?? null,
      tasks: this.taskCount,
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
    const name = (error.details as Partial<BrokenRule> | undefined)?.tasks?.[0];
    const group = name === undefined ? undefined : this.#groups.find((one) => hasTask(one, name));
    if (group === undefined) return error;
    return new WorkflowFileError([{ ...this.source.positionOf(['tasks', group.key], 'key'), message: error.message }]);
  }
}

/** Attempts of a task for which nothing says a number: the SDK's. */
const MAX_ATTEMPTS_DEFAULT = 3;

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

/** The file's values, checked by the schema; what is wrong has been told, and is left out. */
function described(source: Source, problems: Problems): WorkflowDescription {
  const root = source.value;
  const isMap = typeof root === 'object' && root !== null && !Array.isArray(root);
  const known = isMap ? Object.fromEntries(Object.entries(root).filter(([key]) => !X_KEY.test(key))) : root;
  const wrong = check(WorkflowDescription, known, source, problems);
  if (wrong.length === 0) return known as WorkflowDescription;
  const right = (isMap ? known : {}) as Record<string, Record<string, unknown> | undefined>;
  const kept = (kind: 'templates' | 'tasks'): Record<string, unknown> => {
    if (wrong.some((at) => at[0] === kind && at.length === 1)) return {};
    const bad = new Set(wrong.filter((at) => at[0] === kind).map((at) => at[1]));
    return Object.fromEntries(Object.entries(right[kind] ?? {}).filter(([name]) => !bad.has(name)));
  };
  // What is right is looked at all the same: one reading tells all there is to tell.
  const others = Object.entries(right).filter(([key]) => !wrong.some((at) => at[0] === key));
  return { tool: '', ...Object.fromEntries(others), templates: kept('templates'), tasks: kept('tasks') } as WorkflowDescription;
}

function groupsOf(file: WorkflowDescription, source: Source, problems: Problems, options: WorkflowFileOptions): ReadyGroup[] {
  const includes = readIncludes(source, file.include, file.tool, problems);
  const templates = new Map<string, UsedTemplate>();
  for (const [name, template] of Object.entries(file.templates ?? {})) {
    const used = usedTemplate(name, template, source, problems);
    if (used !== undefined) templates.set(name, used);
  }
  const names = keysOf(source.value, 'tasks');
  if (names.length === 0 && problems.isEmpty) problems.add(source.positionOf(['tasks']), 'the workflow has no tasks');
  const around: Surroundings = {
    file,
    source,
    problems,
    includes,
    templates,
    templateNames: keysOf(source.value, 'templates'),
    clusterName: options.clusterName,
    values: new Map(Object.entries(options.values ?? {})),
    ...clusterTeller(source, problems),
  };
  tellStrayValues(around);
  const groups = Object.entries(file.tasks).flatMap(([key, given]) => groupOf(key, given, around) ?? []);
  if (!isCountRight(groups, source, problems)) return [];
  tellTwins(groups, source, problems);
  const waiting = groups.map(({ key, rows }) => ({ key, rows, needs: file.tasks[key]!.needs }));
  const needs = needsOf(waiting, names, source, problems);
  const byKey = new Map(groups.map((group) => [group.key, group]));
  const order = orderOf(new Map([...needs].map(([key, all]) => [key, all.map(({ on }) => on)])));
  return order.map(({ key, level }) => ({ ...byKey.get(key)!, level, needs: needs.get(key)! }));
}

/** What is said of clusters is said once, however many tasks it is true of. */
function clusterTeller(source: Source, problems: Problems): Pick<Surroundings, 'tellNoCluster' | 'clusterMeant'> {
  let isTold = Object.hasOwn(Object(source.value) as object, 'cluster');
  const told = new Set<string>();
  return {
    tellNoCluster: (key) => {
      const message = `task '${key}' has no cluster; write 'cluster: multiprocess' at the top of the file, or give --cluster`;
      if (!isTold) problems.add(source.positionOf(['tasks', key], 'key'), message);
      isTold = true;
    },
    clusterMeant: (name) => {
      const { cluster, notice } = clusterMeant(name);
      if (notice !== undefined && !told.has(name)) problems.notice(source.positionOf(['cluster']), notice);
      told.add(name);
      return cluster;
    },
  };
}

/** Values that were given beside the file and fit nowhere in it. */
function tellStrayValues({ file, source, problems, values }: Surroundings): void {
  if (values.size === 0) return;
  const args = new Set(Object.values(file.tasks).flatMap(({ args: given }) => Object.keys(given ?? {})));
  for (const name of values.keys()) {
    if (args.has(name)) continue;
    const cure =
      didYouMean(name, args) || `; ${args.size === 0 ? 'there are no args' : `there are ${[...args].slice(0, 10).join(', ')}`}`;
    problems.add(
      source.positionOf(['tasks'], 'key'),
      `no task has an argument '${name}' under 'args' that --set could replace${cure}`,
    );
  }
}

/** All names under `tasks` or `templates`, right or wrong. */
function keysOf(root: unknown, kind: 'tasks' | 'templates'): string[] {
  const map = typeof root === 'object' && root !== null ? (root as Record<string, unknown>)[kind] : undefined;
  return typeof map === 'object' && map !== null && !Array.isArray(map) ? Object.keys(map) : [];
}

function isCountRight(groups: readonly Group[], source: Source, problems: Problems): boolean {
  let total = 0;
  for (const { key, rows } of groups) {
    total += rows.count;
    if (total <= TASKS_MAX) continue;
    const many =
      rows.count > TASKS_MAX ? `the matrix makes ${rows.count} tasks` : `with this matrix the file makes ${total} tasks`;
    const message = `${many}, and at most ${TASKS_MAX} fit one workflow; split it into several, by --args`;
    problems.add(source.positionOf(['tasks', key, 'matrix'], 'key'), message);
    return false;
  }
  return true;
}

/** Tasks of one template must differ in a node argument. Looked at only where that is not certain already. */
function tellTwins(groups: readonly Group[], source: Source, problems: Problems): void {
  const users = new Map<string, Group[]>();
  for (const group of groups) {
    const others = users.get(group.template.name);
    if (others === undefined) users.set(group.template.name, [group]);
    else others.push(group);
  }
  for (const all of users.values()) {
    const isCertain = all.length === 1 && all[0]!.rows.args.every((arg) => all[0]!.template.nodeArgs.includes(arg));
    if (isCertain) continue;
    const seen = new Map<string, string>();
    for (const group of all) {
      const { nodeArgs, name } = group.template;
      for (let row = 0; row < group.rows.count; row++) {
        const values = JSON.stringify(nodeArgs.map((arg) => group.valueOf(row, arg)));
        const first = seen.get(values);
        if (first !== undefined) {
          const same = nodeArgs.map((arg) => `${arg} ${group.valueOf(row, arg)}`).join(', ') || 'there are none';
          const message = `'${group.nameOf(row)}' and '${first}' of template '${name}' have the same node arguments (${same}); tasks of a template must differ in one`;
          problems.add(source.positionOf(['tasks', group.key], 'key'), message);
          break;
        }
        seen.set(values, group.nameOf(row));
      }
    }
  }
}
