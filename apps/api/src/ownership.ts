/**
 * Whose something is. A workflow is its user's who bound it with login on; one that was bound before, or by a Python client, is the
 * user's of its first run. An agent is its user's. Neither changes ever, so that it is remembered.
 */
import type { Owned } from '@jobmon/contracts';
import type { Database, Procedure, Statement } from '@jobmon/entities';
import { LoginRefusal, type Principal } from './principal';

const REMEMBERED_MAX = 10_000;

/** The owner of a row as `owner`: NULL when it has none, no row when there is no such thing. `is_written`: the row says it itself. */
export const OWNER: Readonly<Record<Owned, (id: number) => Statement & { params: number[] }>> = {
  workflow: (id) => ({
    sql: `SELECT COALESCE(w.user, (SELECT r.user FROM workflow_run r WHERE r.workflow_id = w.id ORDER BY r.id LIMIT 1)) AS owner,
                 CASE WHEN w.user IS NULL THEN 0 ELSE 1 END AS is_written
            FROM workflow w WHERE w.id = ?`,
    params: [id],
  }),
  agent: (id) => ({ sql: 'SELECT user AS owner, 1 AS is_written FROM agent WHERE id = ?', params: [id] }),
};

export class Ownership {
  private readonly owners = new Map<string, string>();

  constructor(private readonly database: Database) {}

  /**
   * Passes for an admin, for the owner, and for what does not exist (its handler says so). From then on the row of a workflow says whose it is, so that
   * a run that is linked for it by an admin is the owner's too.
   *
   * @throws JobmonError FORBIDDEN naming the owner.
   */
  async require(owned: Owned, id: number, principal: Principal): Promise<void> {
    const key = `${owned} ${id}`;
    const known = this.owners.get(key);
    if (known !== undefined) return refuseOthers(owned, id, known, principal);
    const { sql, params } = OWNER[owned](id);
    const [row] = await this.database.read<{ owner: string | null; is_written: number }>(sql, params);
    if (row === undefined) return;
    const { owner } = row;
    refuseOthers(owned, id, owner, principal);
    if (owner === null) return;
    if (row.is_written === 0) {
      await this.database.write({ label: 'workflow.own' }, function* (): Procedure<void> {
        yield { sql: 'UPDATE workflow SET user = ? WHERE id = ? AND user IS NULL', params: [owner, id] };
      });
    }
    if (this.owners.size >= REMEMBERED_MAX) this.owners.clear();
    this.owners.set(key, owner);
  }
}

/** @throws JobmonError FORBIDDEN unless the principal is the owner or an admin. */
export function refuseOthers(owned: Owned, id: number, owner: string | null, { user, role }: Principal): void {
  if (role === 'admin' || owner === user) return;
  const whose = owner === null ? 'has no owner yet' : `belongs to ${owner}`;
  throw new LoginRefusal(
    'owner',
    'FORBIDDEN',
    `${owned} ${id} ${whose}: ${user} may look at it, and only an admin may change it besides its owner`,
    {
      rule: 'not_the_owner',
      owner,
    },
  );
}
