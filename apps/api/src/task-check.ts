/** What can be wrong with the tasks of one request, looked for before anything is written. */
import { JobmonError, type ErrorCode, type TaskToRegister } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { textFault } from './column-limit';
import { ArgType } from './task-template';

/** A template version with the names of its arguments. */
export interface Template {
  readonly name: string;
  readonly node_args: ReadonlySet<string>;
  readonly task_args: ReadonlySet<string>;
  readonly arg_ids: ReadonlyMap<string, number>;
}

/** By the id of the template version. */
export type Templates = ReadonlyMap<number, Template>;

/** Tasks named in one refusal. */
const NAMED_MAX = 10;

/** Throws one error that names a rule and the tasks that break it. */
export function refuse(code: ErrorCode, rule: string, names: readonly string[], sentence: string): never {
  const tasks = names.slice(0, NAMED_MAX);
  const others = names.length > tasks.length ? ` and ${names.length - tasks.length} more` : '';
  throw new JobmonError(code, `${sentence}: ${tasks.join(', ')}${others}`, { rule, tasks, count: names.length });
}

/** @throws JobmonError NOT_FOUND naming the tasks of a version that does not exist. */
export async function readTemplates(database: Database, tasks: readonly TaskToRegister[]): Promise<Templates> {
  const versions = [...new Set(tasks.map((task) => task.task_template_version_id))];
  const rows = await database.read<{
    version: number | null;
    template: string;
    arg_id: number | null;
    arg: string;
    arg_type_id: number;
  }>(
    `SELECT v.id AS version, tt.name AS template, a.id AS arg_id, a.name AS arg, m.arg_type_id AS arg_type_id
       FROM ${database.dialect.jsonRows('given', { id: 'int' })}
       LEFT JOIN task_template_version v ON v.id = given.id
       LEFT JOIN task_template tt ON tt.id = v.task_template_id
       LEFT JOIN template_arg_map m ON m.task_template_version_id = v.id
       LEFT JOIN arg a ON a.id = m.arg_id`,
    [JSON.stringify(versions.map((id) => ({ id })))],
  );
  const templates = new Map<
    number,
    { name: string; node_args: Set<string>; task_args: Set<string>; arg_ids: Map<string, number> }
  >();
  for (const row of rows) {
    if (row.version === null) continue;
    const template = templates.get(row.version) ?? {
      name: row.template,
      node_args: new Set<string>(),
      task_args: new Set<string>(),
      arg_ids: new Map<string, number>(),
    };
    templates.set(row.version, template);
    if (row.arg_id === null) continue;
    template.arg_ids.set(row.arg, row.arg_id);
    if (row.arg_type_id === ArgType.NODE) template.node_args.add(row.arg);
    if (row.arg_type_id === ArgType.TASK) template.task_args.add(row.arg);
  }
  const [unknown] = versions.filter((id) => !templates.has(id));
  if (unknown !== undefined) {
    const names = tasks.filter((task) => task.task_template_version_id === unknown).map((task) => task.name);
    refuse('NOT_FOUND', 'unknown_template_version', names, `there is no task template version ${unknown}; asked for by`);
  }
  return templates;
}

/** @throws JobmonError MALFORMED naming the rule and up to ten tasks that break it. */
export function checkTasks(tasks: readonly TaskToRegister[], templates: Templates, resources_count: number): void {
  const seen = new Map<string, string>();
  const twice: string[] = [];
  for (const task of tasks) {
    const key = `${task.task_template_version_id} ${task.node_args_hash}`;
    const first = seen.get(key);
    if (first === undefined) seen.set(key, task.name);
    else twice.push(first, task.name);
    const template = templates.get(task.task_template_version_id) as Template;
    checkArgs(task, 'node', task.node_args, template.node_args);
    checkArgs(task, 'task', task.task_args, template.task_args);
    if (task.resources >= resources_count) {
      const sentence = `position ${task.resources} is asked for, and only ${resources_count} resources are given; asked for by`;
      refuse('MALFORMED', 'unknown_resources', [task.name], sentence);
    }
    checkTexts(task);
  }
  if (twice.length > 0) {
    refuse('MALFORMED', 'node_args_twice', [...new Set(twice)], 'tasks of one template need different node arguments');
  }
}

function checkArgs(
  task: TaskToRegister,
  kind: string,
  values: Readonly<Record<string, string>>,
  names: ReadonlySet<string>,
): void {
  const given = Object.keys(values);
  const unknown = given.find((name) => !names.has(name));
  if (unknown !== undefined) {
    refuse('MALFORMED', 'unknown_argument', [task.name], `'${unknown}' is no ${kind} argument of the template of`);
  }
  if (given.length === names.size) return;
  const missing = [...names].find((name) => !(name in values));
  refuse('MALFORMED', 'missing_argument', [task.name], `the ${kind} argument '${missing ?? ''}' has no value in`);
}

function checkTexts(task: TaskToRegister): void {
  const check = (what: string, text: string): void => {
    const fault = textFault(text);
    if (fault !== undefined) refuse('MALFORMED', 'column_limit', [task.name.replaceAll('\0', '')], `${what} ${fault}; in task`);
  };
  check('the command', task.command);
  check('the name', task.name);
  for (const values of [task.node_args, task.task_args, task.attributes ?? {}]) {
    for (const [name, value] of Object.entries(values)) {
      if (name.includes('\0') || value.includes('\0')) check(`'${name.replaceAll('\0', '')}'`, '\0');
    }
  }
}
