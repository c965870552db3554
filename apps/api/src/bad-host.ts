/**
 * Bad hosts. A machine on which no command starts (a file system that is not mounted, a missing interpreter, a full disk) fails
 * each task at once, takes the next, and eats a workflow up. Its agent is set aside: it is leased nothing any more, keeps what runs, and
 * shows with the reason, until somebody restores it or starts it anew.
 *
 * The rule: the agent's last five attempts, of at least two tasks, failed at their start (could not be started at all, or ended at once
 * with exit status 126 or 127, which a shell gives for a command that it can't run), none has started since, and other agents have
 * started attempts of the same template in the same run. Without the last condition one workflow with a misspelt command
 * would set every agent aside, one after the other; and an only agent never is: who would tell what is wrong, if not its tasks?
 */
import type { TaskInstanceStatus } from '@jobmon/contracts';
import { idList, type Database, type Procedure } from '@jobmon/entities';
import type { Room } from './context';

/** So many in a row, of so many tasks. */
const FAILED_STARTS_MIN = 5;
const TASKS_MIN = 2;
/** Newest attempts of a template that are looked at for those of other agents. */
const WITNESSES_MAX = 200;
/** Characters of a reason that is stored with an agent. */
export const REASON_CHARACTERS_MAX = 1_000;

interface FailedStart {
  readonly id: number;
  readonly task_id: number;
  readonly workflow_run_id: number;
  readonly array_id: number;
  readonly status: TaskInstanceStatus;
  readonly description: string | null;
}

/**
 * Sets an agent aside when what it says of itself proves its host bad. `failed_starts` are the instances, oldest first, that failed at
 * their start there since its last command that started. Those that could not be started at all (W) no longer count as attempts of
 * their tasks, if the tasks have not ended: they say nothing about them.
 */
export async function setAsideBadHost(room: Room, agent_id: number, failed_starts: readonly number[]): Promise<void> {
  if (failed_starts.length < FAILED_STARTS_MIN) return;
  const { database, log } = room;
  const failed = await readFailedStarts(database, agent_id, failed_starts);
  const tasks = new Set(failed.map(({ task_id }) => task_id));
  if (failed.length < FAILED_STARTS_MIN || tasks.size < TASKS_MIN) return;
  if (!(await areStartedElsewhere(database, agent_id, failed))) return;
  const last = failed.at(-1)?.description ?? 'no reason was given';
  const reason =
    `${failed.length} attempts in a row of ${tasks.size} tasks failed at their start, and other agents start such tasks; ` +
    `the last one: ${last}`;
  const { dialect } = database;
  const voided = [...new Set(failed.filter(({ status }) => status === 'W').map(({ task_id }) => task_id))].sort((a, b) => a - b);
  const isNew = await database.write({ label: 'agent.set_aside' }, function* (): Procedure<boolean> {
    const { affected } = yield {
      sql: `UPDATE agent SET set_aside_date = ${dialect.now}, set_aside_reason = ? WHERE id = ? AND ended_date IS NULL AND set_aside_date IS NULL`,
      params: [reason.slice(0, REASON_CHARACTERS_MAX), agent_id],
    };
    if (affected === 0) return false;
    const list = idList(voided);
    yield {
      sql: `UPDATE task SET num_attempts = num_attempts - 1 WHERE id IN ${list.sql} AND num_attempts > 0 AND status NOT IN ('D', 'F')`,
      params: list.params,
    };
    return true;
  });
  if (isNew) log.warn({ agent_id, reason }, 'an agent was set aside: its host starts no commands');
}

/** Those of the instances that are this agent's and stand as failed starts, oldest first. */
async function readFailedStarts(database: Database, agent_id: number, ids: readonly number[]): Promise<FailedStart[]> {
  const list = idList(ids);
  const rows = await database.read<FailedStart>(
    `SELECT ti.id AS id, ti.task_id AS task_id, ti.workflow_run_id AS workflow_run_id, ti.array_id AS array_id, ti.status AS status,
            (SELECT e.description FROM task_instance_error_log AS e WHERE e.task_instance_id = ti.id ORDER BY e.id DESC LIMIT 1) AS description
       FROM task_instance AS ti
      WHERE ti.id IN ${list.sql} AND ti.agent_id = ? AND (ti.status = 'W' OR (ti.status = 'E' AND ti.exit_code IN (126, 127)))`,
    [...list.params, agent_id],
  );
  const at = new Map(ids.map((id, place) => [id, place]));
  return rows.sort((a, b) => (at.get(a.id) ?? 0) - (at.get(b.id) ?? 0));
}

/** Whether another agent has started one of the same array (a template's tasks in a workflow) in the same run. */
async function areStartedElsewhere(database: Database, agent_id: number, failed: readonly FailedStart[]): Promise<boolean> {
  const kinds = new Map(
    failed.map(({ workflow_run_id, array_id }) => [`${workflow_run_id} ${array_id}`, [workflow_run_id, array_id]]),
  );
  const branches = [...kinds.values()].flatMap((kind) => (['R', 'D'] as const).map((status) => ({ kind, status })));
  const rows = await database.read(
    branches
      .map(
        ({ status }, at) =>
          `SELECT * FROM (SELECT agent_id FROM task_instance WHERE workflow_run_id = ? AND status = '${status}' AND array_id = ? ` +
          `ORDER BY id DESC LIMIT ${WITNESSES_MAX}) AS kind_${at} WHERE agent_id <> ${Number(agent_id)}`,
      )
      .join(' UNION ALL ')
      .concat(' LIMIT 1'),
    branches.flatMap(({ kind }) => kind),
  );
  return rows.length > 0;
}
