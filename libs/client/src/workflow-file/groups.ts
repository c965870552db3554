/** All groups of a file: checked each in itself and then against each other, with the needs between them, in the order in which they could start. */
import { clusterMeant } from '../executor-name';
import { check } from './check';
import { groupOf, usedTemplate, type Group, type Surroundings, type UsedTemplate } from './group';
import { readIncludes } from './include';
import { needsOf, orderOf, type Need } from './needs';
import { didYouMean, type Problems } from './problem';
import { SETTINGS, WorkflowDescription, X_KEY } from './schema';
import type { Path, Source } from './source';

/** Tasks of one file. */
const TASKS_MAX = 1_000_000;

export interface WorkflowFileOptions {
  /** In place of the file's `args`. */
  workflowArgs?: string;
  /** All tasks run there, whatever the file says. */
  clusterName?: string;
  /** Values of arguments, in place of those under `args` of all tasks that have them. */
  values?: Readonly<Record<string, string>>;
}

/** A group with its place in the graph. */
export interface ReadyGroup extends Group {
  readonly level: number;
  readonly needs: readonly Need[];
}

/** The file's values, checked by the schema; what is wrong has been told, and is left out. */
export function described(source: Source, problems: Problems): WorkflowDescription {
  const root = source.value;
  const isMap = typeof root === 'object' && root !== null && !Array.isArray(root);
  const known = isMap ? Object.fromEntries(Object.entries(root).filter(([key]) => !X_KEY.test(key))) : root;
  const wrong = check(WorkflowDescription, known, source, problems);
  if (wrong.length === 0) return known as WorkflowDescription;
  const right = (isMap ? known : {}) as Record<string, Record<string, unknown> | undefined>;
  const kept = (kind: 'templates' | 'tasks'): Record<string, unknown> => {
    const ofKind = wrong.filter((at) => at[0] === kind);
    if (ofKind.some((at) => at.length === 1)) return {};
    const bad = new Set(ofKind.filter((at) => !APART.includes(String(at[2]))).map((at) => at[1]));
    const entries = Object.entries(right[kind] ?? {}).filter(([name]) => !bad.has(name));
    return Object.fromEntries(entries.map(([name, value]) => [name, without(value, ofKind, name)]));
  };
  // What is right is looked at all the same: one reading tells all there is to tell.
  const others = Object.entries(right).filter(([key]) => !wrong.some((at) => at[0] === key));
  return { tool: '', ...Object.fromEntries(others), templates: kept('templates'), tasks: kept('tasks') } as WorkflowDescription;
}

/** Keys of templates and tasks that nothing else in the file depends on: when one is wrong, the others are looked at without it. */
const APART: readonly string[] = [...Object.keys(SETTINGS), 'attributes', 'limit', 'name', 'needs'];

function without(value: unknown, wrong: readonly Path[], name: string): unknown {
  const keys = wrong.filter((at) => at[1] === name).map((at) => at[2]);
  if (keys.length === 0) return value;
  return Object.fromEntries(Object.entries(value as object).filter(([key]) => !keys.includes(key)));
}

/** The groups of a file, each behind those that it waits for. What is wrong has been told, and is left out. */
export function groupsOf(
  file: WorkflowDescription,
  source: Source,
  problems: Problems,
  options: WorkflowFileOptions,
): ReadyGroup[] {
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
