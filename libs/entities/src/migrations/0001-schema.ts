/**
 * The first migration: makes every table in an empty database, and brings a database of the Python system (3.x) to the same
 * shape without touching its rows. Each step looks at what is there and adds what is missing, so that a migration that was
 * cut off on MariaDB, where a change of the schema can't be rolled back, is finished by running it again.
 *
 * Written with TypeORM's table API, so that one file serves both databases; the few statements in SQL stand in
 * `existing.ts` beside it. Never edited after a release: a later change is a new file.
 */
import { Table, type MigrationInterface, type QueryRunner, type TableColumnOptions } from 'typeorm';
import { adaptExistingTable, existingTables } from './existing';
import { createIndex, isSqlite, type ColumnShape, type IndexShape, type TableShape } from './shape';
import { seed } from './seeds';

const id: ColumnShape = { name: 'id', type: 'int', key: 'increment' };
const intKey = (name: string): ColumnShape => ({ name, type: 'int', key: 'part' });
const int = (name: string): ColumnShape => ({ name, type: 'int' });
const smallint = (name: string): ColumnShape => ({ name, type: 'smallint' });
const varchar = (name: string, length: number): ColumnShape => ({ name, type: 'varchar', length });
const varcharKey = (name: string, length: number): ColumnShape => ({ name, type: 'varchar', length, key: 'part' });
const text = (name: string): ColumnShape => ({ name, type: 'text' });
const datetime = (name: string): ColumnShape => ({ name, type: 'datetime' });
const nullable = (column: ColumnShape): ColumnShape => ({ ...column, nullable: true });
const unique = (name: string, ...columns: string[]): IndexShape => ({ name, columns, unique: true });
const index = (name: string, ...columns: string[]): IndexShape => ({ name, columns });
const table = (name: string, columns: readonly ColumnShape[], indexes: readonly IndexShape[] = []): TableShape => ({
  name,
  columns,
  indexes,
});
const status = (name: string): TableShape =>
  table(name, [varcharKey('id', 1), varchar('label', 150), varchar('description', 150)]);
/** A name table: id and a unique name. */
const names = (name: string, ...more: ColumnShape[]): TableShape =>
  table(name, [id, varchar('name', 255), ...more], [unique(`uc_${name}_name`, 'name')]);

/** All tables as they stand after this migration. Facts: spec/data-model.md section 2; indexes: docs/schema.md. */
export const TABLES: readonly TableShape[] = [
  names('tool'),
  table('tool_version', [id, int('tool_id')], [index('fkidx_tool_version_tool_id', 'tool_id')]),
  table(
    'task_template',
    [id, int('tool_version_id'), varchar('name', 255)],
    [unique('uc_tool_version_id_name', 'tool_version_id', 'name')],
  ),
  table(
    'task_template_version',
    [id, int('task_template_id'), text('command_template'), varchar('arg_mapping_hash', 150)],
    [
      {
        ...unique('uc_ttv_composite_pk', 'task_template_id', 'command_template', 'arg_mapping_hash'),
        // 4 + 617 * 4 + 150 * 4 = 3072 bytes, InnoDB's limit of a key under utf8mb4 (spec/data-model.md section 6).
        prefix: { command_template: 617 },
      },
    ],
  ),
  table(
    'template_arg_map',
    [intKey('task_template_version_id'), intKey('arg_id'), intKey('arg_type_id')],
    [index('fkidx_template_arg_map_arg_id', 'arg_id'), index('fkidx_template_arg_map_arg_type_id', 'arg_type_id')],
  ),
  names('arg'),
  names('arg_type'),
  table('dag', [id, varchar('hash', 150), nullable(datetime('created_date'))], [unique('uc_dag_hash', 'hash')]),
  table(
    'node',
    [id, int('task_template_version_id'), varchar('node_args_hash', 150)],
    [unique('uc_task_template_version_id_node_args_hash', 'task_template_version_id', 'node_args_hash')],
  ),
  table('edge', [
    intKey('dag_id'),
    intKey('node_id'),
    { name: 'upstream_node_ids', type: 'json', nullable: true },
    { name: 'downstream_node_ids', type: 'json', nullable: true },
  ]),
  table('node_arg', [intKey('node_id'), intKey('arg_id'), varchar('val', 2048)]),
  table(
    'workflow',
    [
      id,
      nullable(int('tool_version_id')),
      int('dag_id'),
      varchar('workflow_args_hash', 150),
      varchar('task_hash', 150),
      nullable(text('description')),
      nullable(varchar('name', 255)),
      nullable(text('workflow_args')),
      int('max_concurrently_running'),
      nullable(datetime('created_date')),
      nullable(datetime('status_date')),
      varchar('status', 1),
      nullable(varchar('identity', 64)),
    ],
    [
      unique('uc_workflow_identity', 'identity'),
      index('fkidx_workflow_dag_id', 'dag_id'),
      index('fkidx_workflow_status', 'status'),
      index('fkidx_workflow_tool_version_id', 'tool_version_id'),
      index('ix_workflow_task_hash', 'task_hash'),
      index('ix_workflow_workflow_args_hash', 'workflow_args_hash'),
    ],
  ),
  table(
    'workflow_attribute',
    [intKey('workflow_id'), intKey('workflow_attribute_type_id'), nullable(varchar('value', 255))],
    [index('fkidx_workflow_attribute_workflow_attribute_type_id', 'workflow_attribute_type_id')],
  ),
  names('workflow_attribute_type'),
  table(
    'workflow_run',
    [
      id,
      int('workflow_id'),
      nullable(varchar('user', 150)),
      nullable(varchar('jobmon_version', 150)),
      nullable(varchar('jobmon_server_version', 150)),
      varchar('status', 1),
      nullable(datetime('created_date')),
      nullable(datetime('status_date')),
      nullable(datetime('heartbeat_date')),
      nullable(varchar('driver', 8)),
      nullable(varchar('working_directory', 2048)),
    ],
    [
      index('fkidx_workflow_run_workflow_id', 'workflow_id'),
      index('ix_workflow_run_status_heartbeat_date', 'status', 'heartbeat_date'),
    ],
  ),
  table(
    'array',
    [
      id,
      varchar('name', 255),
      nullable(int('task_template_version_id')),
      nullable(int('workflow_id')),
      int('max_concurrently_running'),
      nullable(datetime('created_date')),
    ],
    [
      unique('uc_task_template_version_id_workflow_id', 'task_template_version_id', 'workflow_id'),
      index('ix_array_name', 'name'),
      index('ix_array_workflow_id', 'workflow_id'),
    ],
  ),
  table(
    'task',
    [
      id,
      nullable(int('workflow_id')),
      nullable(int('node_id')),
      varchar('task_args_hash', 150),
      nullable(int('array_id')),
      varchar('name', 255),
      text('command'),
      nullable(int('task_resources_id')),
      int('num_attempts'),
      int('max_attempts'),
      nullable(varchar('resource_scales', 1000)),
      nullable(varchar('fallback_queues', 1000)),
      varchar('status', 1),
      nullable(datetime('status_date')),
      nullable(int('current_task_instance_id')),
      nullable(varchar('identity', 64)),
    ],
    [
      unique('uc_task_identity', 'identity'),
      index(
        'ix_task_workflow_id_status_date_status_num_attempts_array_id',
        'workflow_id',
        'status_date',
        'status',
        'num_attempts',
        'array_id',
      ),
      index('fkidx_task_array_id', 'array_id'),
      index('fkidx_task_node_id', 'node_id'),
    ],
  ),
  table('task_arg', [intKey('task_id'), intKey('arg_id'), varchar('val', 2048)]),
  table(
    'task_attribute',
    [intKey('task_id'), intKey('task_attribute_type_id'), nullable(varchar('value', 255))],
    [index('fkidx_task_attribute_task_attribute_type_id', 'task_attribute_type_id')],
  ),
  names('task_attribute_type'),
  table(
    'task_resources',
    [
      id,
      nullable(int('queue_id')),
      varchar('task_resources_type_id', 1),
      text('requested_resources'),
      nullable(varchar('identity', 64)),
    ],
    [
      unique('uc_task_resources_identity', 'identity'),
      index('fkidx_task_resources_queue_id', 'queue_id'),
      index('fkidx_task_resources_task_resources_type_id', 'task_resources_type_id'),
    ],
  ),
  table(
    'task_instance',
    [
      id,
      int('workflow_run_id'),
      int('array_id'),
      int('task_id'),
      nullable(varchar('distributor_id', 20)),
      int('task_resources_id'),
      int('array_batch_num'),
      int('array_step_id'),
      nullable(varchar('nodename', 150)),
      nullable(int('process_group_id')),
      nullable(varchar('usage_str', 250)),
      nullable(varchar('wallclock', 50)),
      nullable(varchar('maxrss', 50)),
      nullable(varchar('maxpss', 50)),
      nullable(varchar('cpu', 50)),
      nullable(varchar('io', 50)),
      nullable(varchar('stdout', 2048)),
      nullable(varchar('stderr', 2048)),
      nullable(text('stdout_log')),
      nullable(text('stderr_log')),
      varchar('status', 1),
      nullable(datetime('submitted_date')),
      nullable(datetime('status_date')),
      nullable(datetime('report_by_date')),
      { name: 'agent_id', type: 'bigint', nullable: true },
      nullable(int('history_sequence')),
      nullable(int('exit_code')),
      { ...int('twin'), default: 0 },
    ],
    [
      unique('uc_task_instance_array_batch_step', 'array_id', 'array_batch_num', 'array_step_id', 'twin'),
      index('ix_task_instance_workflow_run_id_status_array_id', 'workflow_run_id', 'status', 'array_id'),
      index('fkidx_task_instance_task_id', 'task_id'),
    ],
  ),
  table(
    'task_instance_error_log',
    [id, int('task_instance_id'), nullable(datetime('error_time')), text('description')],
    [index('fkidx_task_instance_error_log_task_instance_id', 'task_instance_id')],
  ),
  names('cluster_type', nullable(varchar('logfile_templates', 500))),
  table(
    'cluster',
    [id, varchar('name', 255), int('cluster_type_id'), nullable(varchar('connection_parameters', 2500))],
    [unique('uc_cluster_name', 'name'), index('fkidx_cluster_cluster_type_id', 'cluster_type_id')],
  ),
  table(
    'queue',
    [id, varchar('name', 255), int('cluster_id'), varchar('parameters', 2500)],
    [unique('uc_name_cluster_id', 'name', 'cluster_id'), index('fkidx_queue_cluster_id', 'cluster_id')],
  ),
  status('task_status'),
  status('task_instance_status'),
  status('workflow_status'),
  status('workflow_run_status'),
  table('task_resources_type', [varcharKey('id', 1), varchar('label', 150)]),
  table('task_instance_history', [
    intKey('task_instance_id'),
    intKey('sequence'),
    nullable(varchar('from_status', 1)),
    varchar('to_status', 1),
    datetime('date'),
    varchar('actor', 1),
    smallint('reason'),
  ]),
  table('task_status_count', [
    intKey('workflow_id'),
    intKey('array_id'),
    varcharKey('status', 1),
    varcharKey('writer', 64),
    int('n'),
  ]),
  table(
    'agent',
    [
      { ...id, type: 'bigint' },
      varchar('hostname', 150),
      varchar('user', 150),
      smallint('any_user'),
      text('clusters'),
      varchar('state_directory', 2048),
      int('process_id'),
      varchar('version', 150),
      datetime('registered_date'),
      datetime('lease_until_date'),
      nullable(datetime('ended_date')),
    ],
    [index('ix_agent_ended_date_lease_until_date', 'ended_date', 'lease_until_date')],
  ),
];

export class Schema1763800000001 implements MigrationInterface {
  readonly name = 'Schema1763800000001';

  async up(runner: QueryRunner): Promise<void> {
    const existing = await existingTables(runner);
    for (const shape of TABLES) {
      const found = existing.get(shape.name);
      if (found === undefined) await createTable(runner, shape);
      else await adaptExistingTable(runner, shape, found);
    }
    await countTasks(runner);
    await seed(runner);
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}

/**
 * Gives the tasks that stand in the database their counts for display. Run again after a cut it changes nothing, since nobody
 * writes before the migration has ended.
 */
async function countTasks(runner: QueryRunner): Promise<void> {
  await runner.query(
    `INSERT ${isSqlite(runner) ? 'OR IGNORE' : 'IGNORE'} INTO task_status_count (workflow_id, array_id, status, writer, n)
     SELECT workflow_id, COALESCE(array_id, 0), status, 'migration', COUNT(*) FROM task
      WHERE workflow_id IS NOT NULL GROUP BY workflow_id, COALESCE(array_id, 0), status`,
  );
}

async function createTable(runner: QueryRunner, shape: TableShape): Promise<void> {
  const sqlite = isSqlite(runner);
  const plain = shape.indexes.filter((i) => i.prefix === undefined);
  await runner.createTable(
    new Table({
      name: shape.name,
      columns: shape.columns.map((column) => columnOptions(column, sqlite)),
      indices: plain.map((i) => ({ name: i.name, columnNames: [...i.columns], isUnique: i.unique === true })),
      checks: sqlite ? lengthChecks(shape) : [],
      ...(sqlite ? {} : { engine: 'InnoDB' }),
    }),
  );
  for (const i of shape.indexes) if (i.prefix !== undefined) await createIndex(runner, shape.name, i);
}

function columnOptions(column: ColumnShape, sqlite: boolean): TableColumnOptions {
  const isText = column.type === 'varchar' || column.type === 'text';
  return {
    name: column.name,
    type: sqlite && (column.type === 'int' || column.type === 'bigint') ? 'integer' : column.type,
    ...(column.length === undefined ? {} : { length: String(column.length) }),
    isNullable: column.nullable === true,
    isPrimary: column.key !== undefined,
    ...(column.key === 'increment' ? { isGenerated: true, generationStrategy: 'increment' as const } : {}),
    ...(column.default === undefined ? {} : { default: column.default }),
    // Byte order: hashes, names and argument names differ by case, as they do on SQLite.
    ...(isText && !sqlite ? { charset: 'utf8mb4', collation: 'utf8mb4_bin' } : {}),
  };
}

function lengthChecks(shape: TableShape): { name: string; expression: string }[] {
  return shape.columns
    .filter((column) => column.type === 'varchar')
    .map((column) => ({
      name: `ck_${shape.name}_${column.name}_length`,
      expression: `length("${column.name}") <= ${column.length}`,
    }));
}
