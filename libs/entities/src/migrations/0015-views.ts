/**
 * The fifteenth migration: views for people with a SQL program, with the names of statuses in place of their letters. No program of ours reads
 * them, so an older release works on; a later migration that changes a table makes its view anew. Run again after a cut it changes nothing, and
 * what somebody else has under such a name stays his. On MariaDB a view asks with the rights of whoever reads it, so nobody sees more by one than
 * without it. A row whose letter has no name is shown without one.
 */
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { isSqlite } from './shape';

/** Name and query of each; a text that both databases take. */
export const VIEWS: readonly (readonly [name: string, query: string])[] = [
  [
    'v_workflow',
    `SELECT w.id AS workflow_id, w.name, tool.name AS tool, s.label AS status, w.status_date, w.created_date,
       COALESCE(w.\`user\`, (SELECT r.\`user\` FROM workflow_run AS r WHERE r.workflow_id = w.id ORDER BY r.id LIMIT 1)) AS \`user\`,
       (SELECT SUM(c.n) FROM task_status_count AS c WHERE c.workflow_id = w.id) AS tasks,
       (SELECT SUM(c.n) FROM task_status_count AS c WHERE c.workflow_id = w.id AND c.status = 'D') AS tasks_done,
       (SELECT SUM(c.n) FROM task_status_count AS c WHERE c.workflow_id = w.id AND c.status = 'F') AS tasks_fatal,
       w.description, w.workflow_args
     FROM workflow AS w LEFT JOIN workflow_status AS s ON s.id = w.status
       LEFT JOIN tool_version AS version ON version.id = w.tool_version_id LEFT JOIN tool ON tool.id = version.tool_id`,
  ],
  [
    'v_workflow_run',
    `SELECT r.id AS workflow_run_id, r.workflow_id, s.label AS status, r.status_date, r.created_date, r.heartbeat_date, r.\`user\`,
       r.driver, r.jobmon_version, r.working_directory
     FROM workflow_run AS r LEFT JOIN workflow_run_status AS s ON s.id = r.status`,
  ],
  [
    'v_task',
    `SELECT t.id AS task_id, t.workflow_id, t.name, template.name AS task_template, s.label AS status, t.status_date,
       t.num_attempts, t.max_attempts, t.command
     FROM task AS t LEFT JOIN task_status AS s ON s.id = t.status
       LEFT JOIN node ON node.id = t.node_id
       LEFT JOIN task_template_version AS version ON version.id = node.task_template_version_id
       LEFT JOIN task_template AS template ON template.id = version.task_template_id`,
  ],
  [
    'v_task_instance',
    `SELECT ti.id AS task_instance_id, ti.task_id, ti.workflow_run_id, s.label AS status, ti.status_date, ti.submitted_date,
       ti.report_by_date, ti.distributor_id, ti.nodename, ti.exit_code, ti.wallclock, ti.maxrss, ti.stdout, ti.stderr
     FROM task_instance AS ti LEFT JOIN task_instance_status AS s ON s.id = ti.status`,
  ],
  [
    'v_task_error',
    `SELECT e.id AS error_id, e.error_time, t.workflow_id, ti.workflow_run_id, ti.task_id, t.name AS task, e.task_instance_id,
       attempt.label AS task_instance_status, ts.label AS task_status, ti.nodename, ti.exit_code, e.description, ti.stderr
     FROM task_instance_error_log AS e JOIN task_instance AS ti ON ti.id = e.task_instance_id JOIN task AS t ON t.id = ti.task_id
       LEFT JOIN task_instance_status AS attempt ON attempt.id = ti.status LEFT JOIN task_status AS ts ON ts.id = t.status`,
  ],
];

export class Views1763900000015 implements MigrationInterface {
  readonly name = 'Views1763900000015';

  async up(runner: QueryRunner): Promise<void> {
    const sqlite = isSqlite(runner);
    const standing: { name: string }[] = await runner.query(
      sqlite
        ? 'SELECT name FROM sqlite_master'
        : 'SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()',
    );
    const head = sqlite ? 'CREATE VIEW' : 'CREATE SQL SECURITY INVOKER VIEW';
    for (const [name, query] of VIEWS.filter(([view]) => !standing.some((one) => one.name === view)))
      await runner.query(`${head} \`${name}\` AS ${query}`);
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}
