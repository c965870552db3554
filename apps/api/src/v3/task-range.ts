/**
 * The tasks of arrays in ranges of a few thousand, so that a question about a hundred thousand tasks is asked in steps: on SQLite a
 * read stops the event loop, and on MariaDB a statement has five seconds (design, section 4). A range is a condition for the next
 * statement, which joins and sums in SQL; ids are found by (array_id) alone, whose index ends in the primary key.
 */
import { idList, type Database, type SqlValue } from '@jobmon/entities';

/** Tasks of one range. */
export const RANGE_TASKS = 5_000;
/** Small arrays that share a range, and arrays whose kept counts are read at once. */
const ARRAYS_AT_ONCE = 200;

export interface ArrayOfTasks {
  readonly id: number;
  readonly workflow_id: number;
}

/** `t.array_id …` with its parameters: true for the tasks `t` of one range. */
export interface TaskRange {
  readonly where: string;
  readonly params: readonly SqlValue[];
}

/** Ranges that together hold every task of the arrays once, in the order of the arrays. */
export async function* taskRanges(database: Database, arrays: readonly ArrayOfTasks[]): AsyncGenerator<TaskRange> {
  for (let from = 0; from < arrays.length; from += ARRAYS_AT_ONCE) {
    const some = arrays.slice(from, from + ARRAYS_AT_ONCE);
    const sizes = some.length === 1 ? new Map<number, number>() : await keptSizes(database, some);
    let group: number[] = [];
    let tasks = 0;
    for (const { id } of some) {
      const size = sizes.get(id) ?? 0;
      // Kept counts only tell which arrays go together; one that has none may be of any size.
      if (size > 0 && size < RANGE_TASKS) {
        if (tasks + size > RANGE_TASKS) {
          yield wholeArrays(group);
          [group, tasks] = [[], 0];
        }
        group.push(id);
        tasks += size;
      } else {
        if (group.length > 0) yield wholeArrays(group);
        [group, tasks] = [[], 0];
        yield* rangesOfArray(database, id);
      }
    }
    if (group.length > 0) yield wholeArrays(group);
  }
}

async function keptSizes(database: Database, arrays: readonly ArrayOfTasks[]): Promise<Map<number, number>> {
  const rows = await database.read<{ id: number; n: number | string }>(
    `SELECT given.id AS id, SUM(c.n) AS n FROM ${database.dialect.jsonRows('given', { id: 'int', workflow_id: 'int' })}
       ${database.dialect.joinInOrder} task_status_count c ON c.workflow_id = given.workflow_id AND c.array_id = given.id GROUP BY given.id`,
    [JSON.stringify(arrays.map(({ id, workflow_id }) => ({ id, workflow_id })))],
  );
  return new Map(rows.map(({ id, n }) => [id, Number(n)]));
}

function wholeArrays(array_ids: readonly number[]): TaskRange {
  return { where: `t.array_id IN (${array_ids.map(() => '?').join(', ')})`, params: array_ids };
}

async function* rangesOfArray(database: Database, array_id: number): AsyncGenerator<TaskRange> {
  for (let after = 0; ;) {
    const [last] = await database.read<{ id: number }>(
      `SELECT id FROM task WHERE array_id = ? AND id > ? ORDER BY id LIMIT 1 OFFSET ${RANGE_TASKS - 1}`,
      [array_id, after],
    );
    if (last === undefined) return yield { where: 't.array_id = ? AND t.id > ?', params: [array_id, after] };
    yield { where: 't.array_id = ? AND t.id > ? AND t.id <= ?', params: [array_id, after, last.id] };
    after = last.id;
  }
}

/** Whether older programs left tasks of the workflow without an array. Where there are none at all, an index tells it at once. */
export async function hasStrays(database: Database, workflow_id: number): Promise<boolean> {
  const [any] = await database.read('SELECT id FROM task WHERE array_id IS NULL LIMIT 1');
  if (any === undefined) return false;
  const [own] = await database.read('SELECT id FROM task WHERE workflow_id = ? AND array_id IS NULL LIMIT 1', [workflow_id]);
  return own !== undefined;
}

/** As `taskRanges`, of a workflow's tasks without an array: those whose nodes are of the template versions given, or all. */
export async function* strayRanges(
  database: Database,
  workflow_id: number,
  versions?: readonly number[],
): AsyncGenerator<TaskRange> {
  if (!(await hasStrays(database, workflow_id))) return;
  const marks = (versions ?? []).map(() => '?').join(', ');
  const ofVersions = `AND EXISTS (SELECT 1 FROM node n WHERE n.id = t.node_id AND n.task_template_version_id IN (${marks}))`;
  const rows = await database.read<{ id: number }>(
    `SELECT t.id AS id FROM task t WHERE t.workflow_id = ? AND t.array_id IS NULL ${versions === undefined ? '' : ofVersions}`,
    [workflow_id, ...(versions ?? [])],
  );
  for (let from = 0; from < rows.length; from += RANGE_TASKS) {
    const { sql, params } = idList(rows.slice(from, from + RANGE_TASKS).map(({ id }) => id));
    yield { where: `t.id IN ${sql}`, params };
  }
}
