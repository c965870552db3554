/** Ids that a request names must exist, and be of what it says: looked for before anything is written. */
import { JobmonError } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';

/** Ids looked for in one statement. */
const PIECE_IDS = 5_000;
/** Ids named in one refusal. */
const NAMED_MAX = 10;

/** Tables whose ids requests name. */
export type NamedById = 'arg' | 'array' | 'dag' | 'node' | 'task' | 'task_resources' | 'task_template_version' | 'workflow';

/**
 * One statement for each 5,000 distinct ids. With `workflow_id` the rows must be of that workflow.
 *
 * @throws JobmonError NOT_FOUND naming the table and up to ten ids.
 */
export async function requireRows(
  database: Database,
  table: NamedById,
  ids: Iterable<number>,
  workflow_id?: number,
): Promise<void> {
  const distinct = [...new Set(ids)];
  const isOwn = workflow_id === undefined ? '' : ' AND found.workflow_id = ?';
  const sql = `SELECT given.id AS id FROM ${database.dialect.jsonRows('given', { id: 'int' })}
                 LEFT JOIN \`${table}\` found ON found.id = given.id${isOwn}
                WHERE found.id IS NULL ORDER BY given.id LIMIT ${NAMED_MAX}`;
  for (let from = 0; from < distinct.length; from += PIECE_IDS) {
    const piece = JSON.stringify(distinct.slice(from, from + PIECE_IDS).map((id) => ({ id })));
    const missing = await database.read<{ id: number }>(sql, workflow_id === undefined ? [piece] : [piece, workflow_id]);
    if (missing.length === 0) continue;
    const where = workflow_id === undefined ? '' : ` in workflow ${workflow_id}`;
    const named = missing.map(({ id }) => id).join(', ');
    throw new JobmonError('NOT_FOUND', `there is no ${table.replaceAll('_', ' ')} ${named}${where}`);
  }
}
