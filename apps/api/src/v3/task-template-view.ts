/** Task templates as command line and screens read them: C11 to C18 and L3. Facts: spec/http-api-inspection.md section 3. */
import {
  findInstanceErrors,
  findTaskTemplateVersions,
  findTemplateErrors,
  getMostPopularQueue,
  getRequestedCores,
  getResourceUsage,
  getTaskTemplateDetails,
  getTemplateStatuses,
  ID_MAX,
  JobmonError,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import type { Register, Room } from '../context';
import { countTasks } from '../task-count';
import { answerInstanceErrors, answerTemplateErrors } from './error-log';
import { findResourceUsage, requestedResources } from './resource-usage';
import { BAR_LABELS, LABEL_OF_TASK_STATUS } from './task-bar';
import { taskRanges, type ArrayOfTasks } from './task-range';
import { numberIn, resourcesIn } from './wire-value';
import { requireWorkflow, templatesOf, type WorkflowTemplate } from './workflow-template';

export function registerTaskTemplateView(answer: Register): void {
  answer(getTaskTemplateDetails, answerDetails);
  answer(findTaskTemplateVersions, answerVersions);
  answer(getRequestedCores, answerCores);
  answer(getMostPopularQueue, answerQueues);
  answer(getResourceUsage, findResourceUsage);
  answer(getTemplateStatuses, answerStatuses);
  answer(findTemplateErrors, answerTemplateErrors);
  answer(findInstanceErrors, answerInstanceErrors);
}

/** C11. */
async function answerDetails(
  { database }: Room,
  { workflow_id, task_template_id }: RequestOf<typeof getTaskTemplateDetails>,
): Promise<ReplyOf<typeof getTaskTemplateDetails>> {
  const templates = await templatesOf(database, workflow_id);
  const found = templates.find((template) => template.task_template_id === task_template_id);
  if (found === undefined) {
    throw new JobmonError('NOT_FOUND', `workflow ${workflow_id} has no task of task template ${task_template_id}`);
  }
  const { name, task_template_version_id } = found;
  return { task_template_id, task_template_name: name, task_template_version_id };
}

/** C12. Ascending. */
async function answerVersions(
  { database }: Room,
  { task_id, workflow_id }: RequestOf<typeof findTaskTemplateVersions>,
): Promise<ReplyOf<typeof findTaskTemplateVersions>> {
  if (task_id !== undefined) {
    const versions = await database.read<{ id: number; name: string }>(
      `SELECT v.id AS id, tt.name AS name FROM task t JOIN node n ON n.id = t.node_id
         JOIN task_template_version v ON v.id = n.task_template_version_id JOIN task_template tt ON tt.id = v.task_template_id
        WHERE t.id = ?`,
      [task_id],
    );
    return { task_template_version_ids: versions };
  }
  const templates = workflow_id === undefined ? [] : await templatesOf(database, workflow_id);
  const names = new Map(templates.map(({ task_template_version_id, name }) => [task_template_version_id, name]));
  return { task_template_version_ids: [...names].map(([id, name]) => ({ id, name })).reverse() };
}

/** `(12,13)`, `[12, 13]`, `12,13` and the key repeated, in any mixture; distinct and ascending. */
export function versionsIn(texts: readonly string[] | undefined): number[] {
  const refuse = (): JobmonError =>
    new JobmonError('MALFORMED', 'task_template_version_ids: ids of versions are due, as in (12,13)', { rule: 'ids' });
  if (texts === undefined) throw refuse();
  const ids = texts.flatMap((text) => {
    const inner = /^\s*(?:\(([^()]*)\)|\[([^[\]]*)\]|([^()[\]]*))\s*$/.exec(text);
    if (inner === null) throw refuse();
    const parts = (inner[1] ?? inner[2] ?? inner[3] ?? '').split(',').map((part) => part.trim());
    // A tuple of one ends in a comma, and an empty one holds nothing.
    if (parts.at(-1) === '' && inner[3] === undefined) parts.pop();
    return parts.map((part) => {
      const id = /^[0-9]{1,10}$/.test(part) ? Number(part) : 0;
      if (id < 1 || id > ID_MAX) throw refuse();
      return id;
    });
  });
  return [...new Set(ids)].sort((a, b) => a - b);
}

interface ArrayOfVersion extends ArrayOfTasks {
  readonly version: number;
}

/** Versions looked up in one statement. */
const VERSIONS_AT_ONCE = 5_000;

async function arraysOfVersions(database: Database, versions: readonly number[]): Promise<ArrayOfVersion[]> {
  const { dialect } = database;
  const arrays: ArrayOfVersion[] = [];
  for (let from = 0; from < versions.length; from += VERSIONS_AT_ONCE) {
    const given = versions.slice(from, from + VERSIONS_AT_ONCE).map((id) => ({ id }));
    const rows = await database.read<ArrayOfVersion>(
      `SELECT a.id AS id, a.workflow_id AS workflow_id, given.id AS version FROM ${dialect.jsonRows('given', { id: 'int' })}
         ${dialect.joinInOrder} array a ON a.task_template_version_id = given.id WHERE a.workflow_id IS NOT NULL ORDER BY a.id DESC`,
      [JSON.stringify(given)],
    );
    arrays.push(...rows);
  }
  return arrays;
}

/** Tasks or instances looked at of all versions together, the newest workflows first. */
const COUNTED_MAX = 500_000;

interface ResourcesOfArray {
  readonly array_id: number;
  readonly task_resources_id: number;
  readonly n: number;
  /** The lowest id of those counted. */
  readonly lowest: number;
}

/** How many of the tasks, or of their instances, of each array ask for which resources. */
async function countResources(
  database: Database,
  arrays: readonly ArrayOfTasks[],
  of: 'task' | 'task_instance',
): Promise<ResourcesOfArray[]> {
  const from = of === 'task' ? 'task t' : `task t ${database.dialect.joinInOrder} task_instance ti ON ti.task_id = t.id`;
  const counted = of === 'task' ? 't' : 'ti';
  const counts: ResourcesOfArray[] = [];
  let total = 0;
  for await (const { where, params } of taskRanges(database, arrays)) {
    const rows = await database.read<Record<keyof ResourcesOfArray, number | string>>(
      `SELECT t.array_id AS array_id, ${counted}.task_resources_id AS task_resources_id, COUNT(*) AS n, MIN(${counted}.id) AS lowest
         FROM ${from} WHERE ${where} AND ${counted}.task_resources_id IS NOT NULL GROUP BY t.array_id, ${counted}.task_resources_id`,
      params,
    );
    for (const { array_id, task_resources_id, n, lowest } of rows) {
      counts.push({
        array_id: Number(array_id),
        task_resources_id: Number(task_resources_id),
        n: Number(n),
        lowest: Number(lowest),
      });
      total += Number(n);
    }
    if (total >= COUNTED_MAX) break;
  }
  return counts;
}

/** C13. A version without tasks is left out. */
async function answerCores(
  { database }: Room,
  { task_template_version_ids }: RequestOf<typeof getRequestedCores>,
): Promise<ReplyOf<typeof getRequestedCores>> {
  const versions = versionsIn(task_template_version_ids);
  const arrays = await arraysOfVersions(database, versions);
  const versionOf = new Map(arrays.map(({ id, version }) => [id, version]));
  const counts = await countResources(database, arrays, 'task');
  const resources = await requestedResources(
    database,
    counts.map((count) => count.task_resources_id),
  );
  const totals = new Map<number, { min: number; max: number; cores: number; tasks: number }>();
  for (const { array_id, task_resources_id, n } of counts) {
    const asked = resourcesIn(resources.get(task_resources_id) ?? null);
    const cores = Math.round(numberIn(asked.cores) ?? numberIn(asked.num_cores) ?? 1);
    const version = versionOf.get(array_id)!;
    const total = totals.get(version) ?? { min: cores, max: cores, cores: 0, tasks: 0 };
    totals.set(version, {
      min: Math.min(total.min, cores),
      max: Math.max(total.max, cores),
      cores: total.cores + cores * n,
      tasks: total.tasks + n,
    });
  }
  const core_info = versions.flatMap((id) => {
    const total = totals.get(id);
    return total === undefined ? [] : [{ id, min: total.min, max: total.max, avg: Math.round(total.cores / total.tasks) }];
  });
  return { core_info };
}

/** C14. */
async function answerQueues(
  { database }: Room,
  { task_template_version_ids }: RequestOf<typeof getMostPopularQueue>,
): Promise<ReplyOf<typeof getMostPopularQueue>> {
  const versions = versionsIn(task_template_version_ids);
  const arrays = await arraysOfVersions(database, versions);
  const versionOf = new Map(arrays.map(({ id, version }) => [id, version]));
  const counts = await countResources(database, arrays, 'task_instance');
  const queues = await queuesOf(
    database,
    counts.map((count) => count.task_resources_id),
  );
  const totals = new Map<number, Map<number, { name: string; n: number; lowest: number }>>();
  for (const { array_id, task_resources_id, n, lowest } of counts) {
    const queue = queues.get(task_resources_id);
    if (queue === undefined) continue;
    const version = versionOf.get(array_id)!;
    const ofVersion = totals.get(version) ?? new Map<number, { name: string; n: number; lowest: number }>();
    const total = ofVersion.get(queue.id) ?? { name: queue.name, n: 0, lowest };
    totals.set(version, ofVersion.set(queue.id, { ...total, n: total.n + n, lowest: Math.min(total.lowest, lowest) }));
  }
  const queue_info = versions.flatMap((id) => {
    const ranked = [...(totals.get(id) ?? [])].sort(([, a], [, b]) => b.n - a.n || a.lowest - b.lowest);
    return ranked.slice(0, 1).map(([queue_id, { name }]) => ({ id, queue: name, queue_id }));
  });
  return { queue_info };
}

async function queuesOf(
  database: Database,
  task_resources_ids: readonly number[],
): Promise<Map<number, { id: number; name: string }>> {
  const { dialect } = database;
  const ids = [...new Set(task_resources_ids)];
  const queues = new Map<number, { id: number; name: string }>();
  for (let from = 0; from < ids.length; from += VERSIONS_AT_ONCE) {
    const rows = await database.read<{ task_resources_id: number; id: number; name: string }>(
      `SELECT tr.id AS task_resources_id, q.id AS id, q.name AS name FROM ${dialect.jsonRows('given', { id: 'int' })}
         ${dialect.joinInOrder} task_resources tr ON tr.id = given.id JOIN queue q ON q.id = tr.queue_id`,
      [JSON.stringify(ids.slice(from, from + VERSIONS_AT_ONCE).map((id) => ({ id })))],
    );
    for (const { task_resources_id, id, name } of rows) queues.set(task_resources_id, { id, name });
  }
  return queues;
}

type TemplateBar = ReplyOf<typeof getTemplateStatuses>['task_templates'][number];

/** C16. */
async function answerStatuses(
  { database }: Room,
  { workflow_id }: RequestOf<typeof getTemplateStatuses>,
): Promise<ReplyOf<typeof getTemplateStatuses>> {
  await requireWorkflow(database, workflow_id);
  const templates = await templatesOf(database, workflow_id);
  const bars = new Map<number, TemplateBar & { attempts: number }>();
  for (const row of await countTasks(database, workflow_id)) {
    const isOwn = ({ array_id, task_template_version_id }: WorkflowTemplate): boolean =>
      row.array_id === null ? array_id === null && task_template_version_id === row.version : array_id === row.array_id;
    const template = templates.find(isOwn);
    if (template === undefined) continue;
    const bar = bars.get(template.task_template_id) ?? emptyBar(templates.find(isSameTemplate(template))!);
    const label = LABEL_OF_TASK_STATUS[row.status] ?? 'PENDING';
    bar.tasks += row.n;
    bar[label] += row.n;
    bar.num_attempts_min = Math.min(bar.num_attempts_min, row.attempts_min);
    bar.num_attempts_max = Math.max(bar.num_attempts_max, row.attempts_max);
    bar.attempts += row.attempts;
    bars.set(template.task_template_id, bar);
  }
  const task_templates = [...bars.values()]
    .sort((a, b) => a.id - b.id)
    .map(({ attempts, ...bar }) => ({ ...bar, num_attempts_avg: attempts / bar.tasks }));
  return { task_templates };
}

/** Of several versions of one template the newest, which comes first, names the bar; the tasks of all of them are in it. */
function isSameTemplate({ task_template_id }: WorkflowTemplate): (other: WorkflowTemplate) => boolean {
  return (other) => other.task_template_id === task_template_id;
}

function emptyBar(template: WorkflowTemplate): TemplateBar & { attempts: number } {
  const labels = Object.fromEntries(BAR_LABELS.map((label) => [label, 0])) as Record<(typeof BAR_LABELS)[number], number>;
  return {
    id: template.task_template_id,
    name: template.name,
    tasks: 0,
    ...labels,
    MAXC: template.max_concurrently_running ?? 'NA',
    num_attempts_min: Infinity,
    num_attempts_max: 0,
    num_attempts_avg: 0,
    task_template_version_id: template.task_template_version_id,
    attempts: 0,
  };
}
