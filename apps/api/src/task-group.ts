/** Rows that tasks share: the array of each template version in a workflow, and the resources that tasks ask for. */
import { LIMIT_NONE, type ResourcesToRegister } from '@jobmon/contracts';
import { canonicalJson, idsOfResources, updateRows, type Dialect, type Procedure } from '@jobmon/entities';
import { checkText } from './column-limit';
import type { Templates } from './task-check';

/** Characters of an array's name; the Python client cuts there too. */
const ARRAY_NAME_MAX = 254;

/**
 * Finds or makes the workflow's array of each template version, in one to three statements; one more where arrays that stand are given
 * another limit. `limits` by template version.
 */
export function* arrayIds(
  dialect: Dialect,
  workflow_id: number,
  templates: Templates,
  limits: ReadonlyMap<number, number>,
): Procedure<Map<number, number>> {
  const ids = new Map<number, number>();
  const look = function* (): Procedure<void> {
    const { rows } = yield {
      sql: 'SELECT id, task_template_version_id AS version FROM `array` WHERE workflow_id = ?',
      params: [workflow_id],
    };
    for (const { id, version } of rows as { id: number; version: number | null }[]) if (version !== null) ids.set(version, id);
  };
  yield* look();
  if (limits.size > 0) yield* limitArrays(dialect, ids, limits);
  const missing = [...templates].filter(([version]) => !ids.has(version));
  if (missing.length === 0) return ids;
  yield {
    sql: `${dialect.insertIgnore} INTO \`array\` (name, task_template_version_id, workflow_id, max_concurrently_running, created_date)
          SELECT given.name, given.version, ?, given.most, ${dialect.now}
            FROM ${dialect.jsonRows('given', { version: 'int', name: 'text', most: 'int' })}`,
    params: [
      workflow_id,
      JSON.stringify(
        missing.map(([version, { name }]) => ({
          version,
          name: name.slice(0, ARRAY_NAME_MAX),
          most: limits.get(version) ?? LIMIT_NONE,
        })),
      ),
    ],
  };
  yield* look();
  return ids;
}

/** Gives standing arrays the limits of their template versions. */
function* limitArrays(
  dialect: Dialect,
  arrays: ReadonlyMap<number, number>,
  limits: ReadonlyMap<number, number>,
): Procedure<void> {
  const rows = [...limits].flatMap(([version, most]) =>
    arrays.has(version) ? [{ id: arrays.get(version) as number, most }] : [],
  );
  if (rows.length === 0) return;
  yield updateRows(dialect, {
    table: 'array',
    given: { id: 'int', most: 'int' },
    rows: rows.sort((a, b) => a.id - b.id),
    set: { max_concurrently_running: 'given.most' },
    where: 'array.max_concurrently_running <> given.most',
  });
}

/** Finds or makes the row of each request of resources, in the order of the requests, in one to three statements. */
export function* resourcesIds(
  dialect: Dialect,
  resources: readonly ResourcesToRegister[],
  queues: readonly number[],
): Procedure<number[]> {
  const wanted = resources.map(({ requested }, at) => {
    const text = canonicalJson(requested);
    checkText(`resources[${at}].requested`, text);
    return { queue_id: queues[at] as number, type: 'O', text } as const;
  });
  return yield* idsOfResources(dialect, wanted);
}
