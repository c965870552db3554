/**
 * Errors of a task template in a workflow (C17) and of one instance (C18), one by one or in groups of alike ones. All that is needed
 * to count and to cut a page are ids, which indexes hold; texts are read for what is shown, and for groups the ends of them.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { JobmonError, type findInstanceErrors, type findTemplateErrors, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Database, Dialect } from '@jobmon/entities';
import type { Room } from '../context';
import { ErrorGroups, scoreOf, type ErrorGroup } from './error-group';
import { strayRanges, taskRanges, type ArrayOfTasks, type TaskRange } from './task-range';
import { isoDate } from './wire-value';
import { requireWorkflow, templatesOf } from './workflow-template';

type Query = RequestOf<typeof findTemplateErrors>;
type Reply = ReplyOf<typeof findTemplateErrors>;
type Item = Reply['error_logs'][number];

/** Errors that are grouped: the newest. */
export const GROUPED_MAX = 10_000;
/** Characters of a text that groups are made from: its end, where the exception stands. */
const TAIL_CHARACTERS = 2_000;
/** Rows of one statement that reads such ends, and of one that reads whole texts of 64 KiB. */
const TAILS_AT_ONCE = 500;
const TEXTS_AT_ONCE = 250;
/** Ids looked up in one statement. */
const IDS_AT_ONCE = 5_000;

/** An error with whose it is. */
export interface ErrorIds {
  readonly id: number;
  readonly task_instance_id: number;
  readonly task_id: number;
}

/** C17. */
export async function answerTemplateErrors({ database }: Room, query: Query): Promise<Reply> {
  const { wf_id, tt_id } = query;
  await requireTemplate(database, wf_id, tt_id);
  const templates = await templatesOf(database, wf_id);
  const arrays = templates.flatMap(({ task_template_id, array_id }): ArrayOfTasks[] =>
    task_template_id === tt_id && array_id !== null ? [{ id: array_id, workflow_id: wf_id }] : [],
  );
  const strays = templates.flatMap(({ task_template_id, array_id, task_template_version_id }) =>
    task_template_id === tt_id && array_id === null ? [task_template_version_id] : [],
  );
  const errors: ErrorIds[] = [];
  const addErrors = async ({ where, params }: TaskRange): Promise<void> => {
    const rows = await database.read<ErrorIds>(
      `SELECT e.id AS id, ti.id AS task_instance_id, t.id AS task_id
         FROM task t ${database.dialect.joinInOrder} task_instance ti ON ti.task_id = t.id
         ${database.dialect.joinInOrder} task_instance_error_log e ON e.task_instance_id = ti.id WHERE ${where}`,
      params,
    );
    for (const row of rows) errors.push(row);
  };
  for await (const range of taskRanges(database, arrays)) await addErrors(range);
  if (strays.length > 0) for await (const range of strayRanges(database, wf_id, strays)) await addErrors(range);
  return answerErrors(database, query, errors);
}

/** C18. */
export async function answerInstanceErrors(
  { database }: Room,
  query: RequestOf<typeof findInstanceErrors>,
): Promise<ReplyOf<typeof findInstanceErrors>> {
  await requireTemplate(database, query.wf_id, query.tt_id);
  const [instance] = await database.read('SELECT id FROM task_instance WHERE id = ?', [query.ti_id]);
  if (instance === undefined) throw new JobmonError('NOT_FOUND', `there is no task instance ${query.ti_id}`);
  const errors = await database.read<ErrorIds>(
    `SELECT e.id AS id, ti.id AS task_instance_id, ti.task_id AS task_id
       FROM task_instance ti JOIN task_instance_error_log e ON e.task_instance_id = ti.id WHERE ti.id = ?`,
    [query.ti_id],
  );
  return answerErrors(database, query, errors, query.ti_id);
}

async function requireTemplate(database: Database, workflow_id: number, task_template_id: number): Promise<void> {
  await requireWorkflow(database, workflow_id);
  const [template] = await database.read('SELECT id FROM task_template WHERE id = ?', [task_template_id]);
  if (template === undefined) throw new JobmonError('NOT_FOUND', `there is no task template ${task_template_id}`);
}

/** The page that is asked for; with `ti_id` a missing text stays null, without it says `None`, as Python's screens expect. */
async function answerErrors(database: Database, query: Query, all: ErrorIds[], ti_id?: number): Promise<Reply> {
  const { wf_id, page, page_size } = query;
  const errors = query.just_recent_errors ? await recentOf(database, wf_id, all) : all;
  errors.sort((a, b) => a.id - b.id);
  const from = (page - 1) * page_size;
  if (query.cluster_errors) {
    const grouped = errors.slice(-GROUPED_MAX);
    const { groups, tails } = await readGroups(database, grouped);
    const error_logs = await groupItems(database, groups.slice(from, from + page_size), grouped, tails);
    return { error_logs, total_count: groups.length, page, page_size };
  }
  const shown = errors.slice(from, from + page_size);
  const texts = await readTexts(database, shown);
  const missing = ti_id === undefined ? 'None' : null;
  const error_logs = shown.flatMap(({ id, task_id, task_instance_id }): Item[] => {
    const text = texts.get(id);
    if (text === undefined) return [];
    return [
      {
        ...NOTHING,
        task_id,
        task_instance_id,
        task_instance_err_id: id,
        error_time: isoDate(text.error_time),
        error: text.description ?? missing,
        task_instance_stderr_log: text.stderr_log ?? missing,
        workflow_run_id: text.workflow_run_id,
        workflow_id: text.workflow_id,
      },
    ];
  });
  return { error_logs, total_count: errors.length, page, page_size };
}

/** Of the latest run, and of each task its newest. */
async function recentOf(database: Database, workflow_id: number, errors: readonly ErrorIds[]): Promise<ErrorIds[]> {
  const [run] = await database.read<{ id: number | null }>('SELECT MAX(id) AS id FROM workflow_run WHERE workflow_id = ?', [
    workflow_id,
  ]);
  const ids = [...new Set(errors.map(({ task_instance_id }) => task_instance_id))];
  const { dialect } = database;
  const isRecent = new Set<number>();
  for (let from = 0; from < ids.length; from += IDS_AT_ONCE) {
    const rows = await database.read<{ id: number }>(
      `SELECT ti.id AS id FROM ${dialect.jsonRows('given', { id: 'int' })}
         ${dialect.joinInOrder} task_instance ti ON ti.id = given.id WHERE ti.workflow_run_id = ?`,
      [JSON.stringify(ids.slice(from, from + IDS_AT_ONCE).map((id) => ({ id }))), run?.id ?? 0],
    );
    for (const { id } of rows) isRecent.add(id);
  }
  const newest = new Map<number, ErrorIds>();
  for (const error of errors) {
    if (isRecent.has(error.task_instance_id) && error.id > (newest.get(error.task_id)?.id ?? 0)) newest.set(error.task_id, error);
  }
  return [...newest.values()];
}

/** What is read of an error with the end of its text. */
export interface Tail {
  readonly error_time: string | null;
  readonly nodename: string | null;
}

/** Groups of errors, of which the oldest comes first; `tails` tells when and where each happened, by its id. */
export async function readGroups(
  database: Database,
  errors: readonly ErrorIds[],
): Promise<{ groups: ErrorGroup[]; tails: ReadonlyMap<number, Tail> }> {
  const { dialect } = database;
  const tail = (column: string): string => tailOf(dialect, column, TAIL_CHARACTERS);
  const tails = new Map<number, Tail>();
  const groups = new ErrorGroups();
  for (let from = 0; from < errors.length; from += TAILS_AT_ONCE) {
    const piece = errors.slice(from, from + TAILS_AT_ONCE);
    const rows = await database.read<Tail & { id: number; text: string }>(
      `SELECT e.id AS id, e.error_time AS error_time, ti.nodename AS nodename,
              CASE WHEN COALESCE(ti.stderr_log, '') = '' THEN ${tail('e.description')} ELSE ${tail('ti.stderr_log')} END AS text
         FROM ${dialect.jsonRows('given', { id: 'int' })}
         ${dialect.joinInOrder} task_instance_error_log e ON e.id = given.id
         ${dialect.joinInOrder} task_instance ti ON ti.id = e.task_instance_id`,
      [JSON.stringify(piece.map(({ id }) => ({ id })))],
    );
    const found = new Map(rows.map((row) => [row.id, row]));
    for (const { id } of piece) {
      const row = found.get(id);
      if (row !== undefined) tails.set(id, { error_time: row.error_time, nodename: row.nodename });
      groups.add({ text: row?.text ?? '', host: row?.nodename ?? null });
    }
    await nextTurn();
  }
  return { groups: groups.sorted(), tails };
}

async function groupItems(
  database: Database,
  groups: readonly ErrorGroup[],
  errors: readonly ErrorIds[],
  tails: ReadonlyMap<number, Tail>,
): Promise<Item[]> {
  const firsts = groups.map(({ members }) => errors[members[0]!]!);
  const texts = await readTexts(database, firsts);
  return groups.flatMap(({ cluster_id, exception_class, members }, nth): Item[] => {
    const first = firsts[nth]!;
    const text = texts.get(first.id);
    if (text === undefined) return [];
    const own = members.map((position) => errors[position]!);
    const times = own.flatMap(({ id }) => tails.get(id)?.error_time ?? []);
    const hosts = own.flatMap(({ id }) => tails.get(id)?.nodename ?? []);
    return [
      {
        ...NOTHING,
        workflow_run_id: text.workflow_run_id,
        workflow_id: text.workflow_id,
        error_score: scoreOf(cluster_id),
        group_instance_count: members.length,
        task_instance_ids: [...new Set(own.map(({ task_instance_id }) => task_instance_id))],
        task_ids: [...new Set(own.map(({ task_id }) => task_id))],
        sample_error: text.stderr_log || text.description,
        first_error_time: isoDate(times[0] ?? null),
        last_error_time: isoDate(times.at(-1) ?? null),
        cluster_id,
        exception_class,
        sample_task_instance_id: first.task_instance_id,
        hosts: [...new Set(hosts)].sort(),
      },
    ];
  });
}

interface Text {
  readonly error_time: string | null;
  readonly description: string | null;
  readonly stderr_log: string | null;
  readonly workflow_run_id: number;
  readonly workflow_id: number;
}

/** SQL of a text's end. Each database has one of the two that counts from the end and is not confused by a shorter text. */
export function tailOf({ name }: Dialect, column: string, characters: number): string {
  return name === 'sqlite' ? `SUBSTR(${column}, -${characters})` : `RIGHT(${column}, ${characters})`;
}

/** Whole texts by error id. */
export async function readTexts(database: Database, errors: readonly ErrorIds[]): Promise<Map<number, Text>> {
  const { dialect } = database;
  const texts = new Map<number, Text>();
  for (let from = 0; from < errors.length; from += TEXTS_AT_ONCE) {
    const rows = await database.read<Text & { id: number }>(
      `SELECT e.id AS id, e.error_time AS error_time, e.description AS description, ti.stderr_log AS stderr_log,
              ti.workflow_run_id AS workflow_run_id, wr.workflow_id AS workflow_id
         FROM ${dialect.jsonRows('given', { id: 'int' })}
         ${dialect.joinInOrder} task_instance_error_log e ON e.id = given.id
         ${dialect.joinInOrder} task_instance ti ON ti.id = e.task_instance_id
         ${dialect.joinInOrder} workflow_run wr ON wr.id = ti.workflow_run_id`,
      [JSON.stringify(errors.slice(from, from + TEXTS_AT_ONCE).map(({ id }) => ({ id })))],
    );
    for (const { id, ...text } of rows) texts.set(id, text);
  }
  return texts;
}

const NOTHING: Omit<Item, 'workflow_run_id' | 'workflow_id'> = {
  task_id: null,
  task_instance_id: null,
  task_instance_err_id: null,
  error_time: null,
  error: null,
  task_instance_stderr_log: null,
  error_score: null,
  group_instance_count: null,
  task_instance_ids: null,
  task_ids: null,
  sample_error: null,
  first_error_time: null,
  last_error_time: null,
  cluster_id: null,
  exception_class: null,
  sample_task_instance_id: null,
  hosts: null,
};
