/** Rows of requested resources: shared by many tasks and attempts, found by what they say, and never changed. */
import type { Dialect, Procedure } from './database';
import { identityOf } from './identity';

/** A row of resources: its queue, its type (O original, A adjusted), and the request as canonical JSON. */
export interface ResourcesRow {
  readonly queue_id: number | null;
  readonly type: 'O' | 'A';
  readonly text: string;
}

/** Finds or makes rows of resources and answers their ids in the given order, in one to three statements. A row never changes. */
export function* idsOfResources(dialect: Dialect, rows: readonly ResourcesRow[]): Procedure<number[]> {
  const wanted = rows.map((row) => ({ ...row, identity: identityOf(row.queue_id ?? '', row.type, row.text) }));
  const ids = new Map<string, number>();
  const given = dialect.jsonRows('given', { queue_id: 'int', type: 'text', text: 'text', identity: 'text' });
  const missing = () => [
    ...new Map(wanted.filter(({ identity }) => !ids.has(identity)).map((row) => [row.identity, row])).values(),
  ];
  const look = function* (): Procedure<void> {
    const { rows: found } = yield {
      sql: `SELECT r.id AS id, r.identity AS identity FROM ${given} LEFT JOIN task_resources r ON r.identity = given.identity`,
      params: [JSON.stringify(missing().map(({ identity }) => ({ identity })))],
    };
    for (const { id, identity } of found as { id: number | null; identity: string }[]) if (id !== null) ids.set(identity, id);
  };
  yield* look();
  if (missing().length > 0) {
    yield {
      sql: `${dialect.insertIgnore} INTO task_resources (queue_id, task_resources_type_id, requested_resources, identity)
            SELECT given.queue_id, given.type, given.text, given.identity FROM ${given}`,
      params: [JSON.stringify(missing())],
    };
    yield* look();
  }
  return wanted.map(({ identity }) => ids.get(identity) as number);
}
