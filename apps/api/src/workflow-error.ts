/**
 * Errors of a workflow as views show them: the newest by pages, and alike ones together. Which they are is told by ids, which indexes hold;
 * texts are read for what is shown.
 */
import {
  JobmonError,
  LISTED_ERROR_CHARACTERS,
  STDERR_TAIL_CHARACTERS,
  type groupWorkflowErrors,
  type listWorkflowErrors,
  type ReplyOf,
  type RequestOf,
  type WorkflowError,
  type WorkflowErrorGroup,
} from '@jobmon/contracts';
import { instancesByStatus, type Database, type SqlValue } from '@jobmon/entities';
import type { Room } from './context';
import { GROUPED_MAX, readGroups, readTexts, tailOf, type ErrorIds } from './v3/error-log';
import { requireWorkflow, templatesOf } from './v3/workflow-template';

/** Statuses of attempts that may have an error; those that run or are done have none. */
const FAILED = ['E', 'F', 'K', 'T', 'U', 'W', 'X', 'Z'];
/** Errors of all workflows, the newest, that are looked through before those of one are gathered from its failed attempts. */
const SCANNED = 5_000;
const HOSTS_MAX = 10;
const TASK_IDS_MAX = 100;

/** A condition on tasks `t`. */
export interface TaskCondition {
  readonly where: string;
  readonly params: readonly SqlValue[];
}

const ALL: TaskCondition = { where: '1 = 1', params: [] };

/** @throws JobmonError NOT_FOUND for an unknown workflow */
export async function findWorkflowErrors(
  { database }: Room,
  { workflow_id, task_template, before, limit }: RequestOf<typeof listWorkflowErrors>,
): Promise<ReplyOf<typeof listWorkflowErrors>> {
  await requireWorkflow(database, workflow_id);
  const tasks = await tasksOfTemplate(database, workflow_id, task_template);
  const ids = await newestErrors(database, { workflow_id, tasks, before, limit: limit + 1 });
  const errors = await readErrors(database, ids.slice(0, limit), LISTED_ERROR_CHARACTERS);
  return { errors, next: ids.length > limit ? (ids[limit - 1] as ErrorIds).id : null };
}

/** @throws JobmonError NOT_FOUND for an unknown workflow */
export async function findErrorGroups(
  { database }: Room,
  { workflow_id, task_template, limit }: RequestOf<typeof groupWorkflowErrors>,
): Promise<ReplyOf<typeof groupWorkflowErrors>> {
  await requireWorkflow(database, workflow_id);
  const tasks = await tasksOfTemplate(database, workflow_id, task_template);
  const errors = (await newestErrors(database, { workflow_id, tasks, limit: GROUPED_MAX })).reverse();
  const { groups, tails } = await readGroups(database, errors);
  const shown = groups.slice(0, limit);
  const oldest = shown.map(({ members }) => errors[members[0]!]!);
  const texts = await readTexts(database, oldest);
  return {
    groups_total: groups.length,
    errors_total: errors.length,
    groups: shown.map(({ cluster_id, exception_class, members }, nth): WorkflowErrorGroup => {
      const own = members.map((position) => errors[position]!);
      const times = own.flatMap(({ id }) => tails.get(id)?.error_time ?? []);
      const task_ids = [...new Set(own.map(({ task_id }) => task_id))].sort((a, b) => a - b);
      const text = texts.get(oldest[nth]!.id);
      return {
        group_id: cluster_id,
        exception_class,
        errors: members.length,
        tasks: task_ids.length,
        first_error_time: times[0] ?? null,
        last_error_time: times.at(-1) ?? null,
        hosts: [...new Set(own.flatMap(({ id }) => tails.get(id)?.nodename ?? []))].sort().slice(0, HOSTS_MAX),
        task_ids: task_ids.slice(0, TASK_IDS_MAX),
        sample_error: (text?.description ?? '').slice(0, LISTED_ERROR_CHARACTERS),
        sample_stderr_tail: text?.stderr_log?.slice(-STDERR_TAIL_CHARACTERS) ?? null,
        sample_task_id: oldest[nth]!.task_id,
      };
    }),
  };
}

/**
 * The tasks `t` of a template of the workflow: those of its arrays, and those that older programs left without one, by their nodes.
 *
 * @throws JobmonError NOT_FOUND when the workflow has no such template; the message names those that it has
 */
export async function tasksOfTemplate(
  database: Database,
  workflow_id: number,
  task_template: string | undefined,
): Promise<TaskCondition> {
  if (task_template === undefined) return ALL;
  const templates = await templatesOf(database, workflow_id);
  const own = templates.filter(({ name }) => name === task_template);
  if (own.length === 0) {
    const names = [...new Set(templates.map(({ name }) => name))].sort();
    const known = names.length === 0 ? 'it has none' : `it has ${names.slice(0, 20).join(', ')}${names.length > 20 ? ', …' : ''}`;
    throw new JobmonError('NOT_FOUND', `workflow ${workflow_id} has no task template '${task_template}': ${known}`);
  }
  const arrays = own.flatMap(({ array_id }) => array_id ?? []);
  const versions = own.filter(({ array_id }) => array_id === null).map((template) => template.task_template_version_id);
  const marks = (values: readonly unknown[]): string => values.map(() => '?').join(', ');
  const ofArrays = arrays.length === 0 ? [] : [`t.array_id IN (${marks(arrays)})`];
  const ofNodes =
    versions.length === 0
      ? []
      : [
          `(t.array_id IS NULL AND EXISTS (SELECT 1 FROM node k WHERE k.id = t.node_id
             AND k.task_template_version_id IN (${marks(versions)})))`,
        ];
  return { where: `(${[...ofArrays, ...ofNodes].join(' OR ')})`, params: [...arrays, ...versions] };
}

interface Wanted {
  readonly workflow_id: number;
  readonly tasks?: TaskCondition;
  /** Only errors with a smaller id. */
  readonly before?: number | undefined;
  readonly limit: number;
}

/**
 * The newest errors, newest first. Ids of errors ascend with time, so first the newest of all workflows are looked through, by primary
 * key; only when too few of them are of this workflow its failed attempts are asked for theirs. The cost is that of what fails, not
 * that of what there is.
 */
export async function newestErrors(database: Database, wanted: Wanted): Promise<ErrorIds[]> {
  const { workflow_id, tasks = ALL, before, limit } = wanted;
  const below = before === undefined ? { where: '', params: [] } : { where: 'AND e.id < ?', params: [before] };
  const { joinInOrder } = database.dialect;
  const [first] = await database.read<{ id: number }>(
    `SELECT e.id AS id FROM task_instance_error_log e WHERE 1 = 1 ${below.where} ORDER BY e.id DESC LIMIT 1 OFFSET ${SCANNED - 1}`,
    below.params,
  );
  const scanned = await errorsSince(database, { ...wanted, after: (first?.id ?? 1) - 1 });
  if (first === undefined || scanned.length === limit) return scanned;
  const failed = instancesByStatus('failed', 'ti.id AS id, ti.task_id AS task_id', FAILED, {
    sql: 'wr.workflow_id = ?',
    params: [workflow_id],
  });
  return database.read<ErrorIds>(
    `SELECT e.id AS id, failed.id AS task_instance_id, failed.task_id AS task_id FROM ${failed.sql}
       ${joinInOrder} task_instance_error_log e ON e.task_instance_id = failed.id ${joinInOrder} task t ON t.id = failed.task_id
      WHERE ${tasks.where} ${below.where} ORDER BY e.id DESC LIMIT ${limit}`,
    [...failed.params, ...tasks.params, ...below.params],
  );
}

/** The newest errors with an id above `after`, newest first: what came since costs what came since, of all workflows. */
export async function errorsSince(
  database: Database,
  { workflow_id, tasks = ALL, after, before, limit }: Wanted & { readonly after: number },
): Promise<ErrorIds[]> {
  const { joinInOrder } = database.dialect;
  return database.read<ErrorIds>(
    `SELECT e.id AS id, ti.id AS task_instance_id, ti.task_id AS task_id FROM task_instance_error_log e
       ${joinInOrder} task_instance ti ON ti.id = e.task_instance_id
       ${joinInOrder} workflow_run wr ON wr.id = ti.workflow_run_id AND wr.workflow_id = ?
       ${joinInOrder} task t ON t.id = ti.task_id
      WHERE e.id > ? ${before === undefined ? '' : 'AND e.id < ?'} AND ${tasks.where} ORDER BY e.id DESC LIMIT ${limit}`,
    [workflow_id, after, ...(before === undefined ? [] : [before]), ...tasks.params],
  );
}

/** Errors with what is told of them, in the order of the ids, their texts cut to so many characters of their beginning or, of the output, its end. */
export async function readErrors(database: Database, ids: readonly ErrorIds[], characters: number): Promise<WorkflowError[]> {
  if (ids.length === 0) return [];
  const { dialect } = database;
  const { jsonRows, joinInOrder } = dialect;
  return database.read<WorkflowError>(
    `SELECT e.id AS error_id, e.error_time AS error_time, t.id AS task_id, t.name AS task_name, tt.name AS task_template,
            ti.id AS task_instance_id, ti.nodename AS nodename, ti.exit_code AS exit_code,
            SUBSTR(e.description, 1, ${characters}) AS description,
            ${tailOf(dialect, 'ti.stderr_log', Math.min(characters, STDERR_TAIL_CHARACTERS))} AS stderr_tail
       FROM ${jsonRows('given', { id: 'int' })} ${joinInOrder} task_instance_error_log e ON e.id = given.id
       ${joinInOrder} task_instance ti ON ti.id = e.task_instance_id ${joinInOrder} task t ON t.id = ti.task_id
       LEFT JOIN node n ON n.id = t.node_id
       LEFT JOIN task_template_version v ON v.id = n.task_template_version_id
       LEFT JOIN task_template tt ON tt.id = v.task_template_id ORDER BY e.id DESC`,
    [JSON.stringify(ids.map(({ id }) => ({ id })))],
  );
}
