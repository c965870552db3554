/**
 * A database as the Python server 3.6 leaves it, built from the facts of spec/data-model.md (sections 2, 3 and 6): its 31 tables with
 * their own index names, `alembic_version` beside them, and the rows of two workflows, twins among them. For tests that such a
 * database opens, is migrated and works.
 */
import { parseDatabaseUrl } from '@jobmon/runtime';
import SqliteHandle from 'better-sqlite3';
import * as mysql from 'mysql2/promise';

/** A table's name at the margin, what it has below it, in the words of MySQL. */
const TABLES = `
tool
  id INT AUTO_INCREMENT NOT NULL
  name VARCHAR(255) NOT NULL
  PRIMARY KEY (id)
  UNIQUE name (name)
tool_version
  id INT AUTO_INCREMENT NOT NULL
  tool_id INT NOT NULL
  PRIMARY KEY (id)
  INDEX fkidx_tool_version_tool_id (tool_id)
task_template
  id INT AUTO_INCREMENT NOT NULL
  tool_version_id INT NOT NULL
  name VARCHAR(255) NOT NULL
  PRIMARY KEY (id)
  UNIQUE uc_tool_version_id_name (tool_version_id, name)
  INDEX fkidx_task_template_tool_version_id (tool_version_id)
task_template_version
  id INT AUTO_INCREMENT NOT NULL
  task_template_id INT NOT NULL
  command_template TEXT NOT NULL
  arg_mapping_hash VARCHAR(150) NOT NULL
  PRIMARY KEY (id)
  UNIQUE uc_ttv_composite_pk (task_template_id, command_template(617), arg_mapping_hash)
  INDEX fkidx_task_template_version_task_template_id (task_template_id)
  INDEX ix_task_template_id (task_template_id)
template_arg_map
  task_template_version_id INT NOT NULL
  arg_id INT NOT NULL
  arg_type_id INT NOT NULL
  PRIMARY KEY (task_template_version_id, arg_id, arg_type_id)
  INDEX fkidx_template_arg_map_arg_id (arg_id)
  INDEX fkidx_template_arg_map_arg_type_id (arg_type_id)
  INDEX fkidx_template_arg_map_task_template_version_id (task_template_version_id)
arg
  id INT AUTO_INCREMENT NOT NULL
  name VARCHAR(255) NOT NULL
  PRIMARY KEY (id)
  UNIQUE name (name)
arg_type
  id INT AUTO_INCREMENT NOT NULL
  name VARCHAR(255) NOT NULL
  PRIMARY KEY (id)
  UNIQUE name (name)
dag
  id INT AUTO_INCREMENT NOT NULL
  hash VARCHAR(150) NOT NULL
  created_date DATETIME NULL
  PRIMARY KEY (id)
  UNIQUE hash (hash)
node
  id INT AUTO_INCREMENT NOT NULL
  task_template_version_id INT NOT NULL
  node_args_hash VARCHAR(150) NOT NULL
  PRIMARY KEY (id)
  UNIQUE uc_task_template_version_id_node_args_hash (task_template_version_id, node_args_hash)
  INDEX ix_node_task_template_version_id (task_template_version_id)
edge
  dag_id INT NOT NULL
  node_id INT NOT NULL
  upstream_node_ids JSON NULL
  downstream_node_ids JSON NULL
  PRIMARY KEY (dag_id, node_id)
node_arg
  node_id INT NOT NULL
  arg_id INT NOT NULL
  val VARCHAR(2048) NOT NULL
  PRIMARY KEY (node_id, arg_id)
workflow
  id INT AUTO_INCREMENT NOT NULL
  tool_version_id INT NULL
  dag_id INT NOT NULL
  workflow_args_hash VARCHAR(150) NOT NULL
  task_hash VARCHAR(150) NOT NULL
  description TEXT NULL
  name VARCHAR(255) NULL
  workflow_args TEXT NULL
  max_concurrently_running INT NOT NULL
  created_date DATETIME NULL
  status_date DATETIME NULL
  status VARCHAR(1) NOT NULL
  PRIMARY KEY (id)
  INDEX fkidx_workflow_dag_id (dag_id)
  INDEX fkidx_workflow_status (status)
  INDEX fkidx_workflow_tool_version_id (tool_version_id)
  INDEX ix_workflow_task_hash (task_hash)
  INDEX ix_workflow_workflow_args_hash (workflow_args_hash)
workflow_attribute
  workflow_id INT NOT NULL
  workflow_attribute_type_id INT NOT NULL
  value VARCHAR(255) NULL
  PRIMARY KEY (workflow_id, workflow_attribute_type_id)
  INDEX fkidx_workflow_attribute_workflow_attribute_type_id (workflow_attribute_type_id)
  INDEX fkidx_workflow_attribute_workflow_id (workflow_id)
workflow_attribute_type
  id INT AUTO_INCREMENT NOT NULL
  name VARCHAR(255) NOT NULL
  PRIMARY KEY (id)
  UNIQUE name (name)
workflow_run
  id INT AUTO_INCREMENT NOT NULL
  workflow_id INT NOT NULL
  user VARCHAR(150) NULL
  jobmon_version VARCHAR(150) NULL
  jobmon_server_version VARCHAR(150) NULL
  status VARCHAR(1) NOT NULL
  created_date DATETIME NULL
  status_date DATETIME NULL
  heartbeat_date DATETIME NULL
  PRIMARY KEY (id)
  INDEX fkidx_workflow_run_status (status)
  INDEX fkidx_workflow_run_workflow_id (workflow_id)
  INDEX ix_status_version (status, jobmon_version, jobmon_server_version)
array
  id INT AUTO_INCREMENT NOT NULL
  name VARCHAR(255) NOT NULL
  task_template_version_id INT NULL
  workflow_id INT NULL
  max_concurrently_running INT NOT NULL
  created_date DATETIME NULL
  PRIMARY KEY (id)
  UNIQUE uc_task_template_version_id_workflow_id (task_template_version_id, workflow_id)
  INDEX ix_array_name (name)
  INDEX ix_array_task_template_version_id (task_template_version_id)
  INDEX ix_array_workflow_id (workflow_id)
task
  id INT AUTO_INCREMENT NOT NULL
  workflow_id INT NULL
  node_id INT NULL
  task_args_hash VARCHAR(150) NOT NULL
  array_id INT NULL
  name VARCHAR(255) NOT NULL
  command TEXT NOT NULL
  task_resources_id INT NULL
  num_attempts INT NOT NULL
  max_attempts INT NOT NULL
  resource_scales VARCHAR(1000) NULL
  fallback_queues VARCHAR(1000) NULL
  status VARCHAR(1) NOT NULL
  status_date DATETIME NULL
  PRIMARY KEY (id)
  INDEX fkidx_task_array_id (array_id)
  INDEX fkidx_task_node_id (node_id)
  INDEX fkidx_task_status (status)
  INDEX fkidx_task_task_resources_id (task_resources_id)
  INDEX fkidx_task_workflow_id (workflow_id)
  INDEX ix_task_name (name)
  INDEX ix_task_status_date (status_date)
  INDEX ix_task_task_args_hash (task_args_hash)
  INDEX ix_workflow_id_status_date (workflow_id, status_date)
task_arg
  task_id INT NOT NULL
  arg_id INT NOT NULL
  val VARCHAR(2048) NOT NULL
  PRIMARY KEY (task_id, arg_id)
task_attribute
  task_id INT NOT NULL
  task_attribute_type_id INT NOT NULL
  value VARCHAR(255) NULL
  PRIMARY KEY (task_id, task_attribute_type_id)
  INDEX fkidx_task_attribute_task_attribute_type_id (task_attribute_type_id)
  INDEX fkidx_task_attribute_task_id (task_id)
task_attribute_type
  id INT AUTO_INCREMENT NOT NULL
  name VARCHAR(255) NOT NULL
  PRIMARY KEY (id)
  UNIQUE name (name)
task_resources
  id INT AUTO_INCREMENT NOT NULL
  queue_id INT NULL
  task_resources_type_id VARCHAR(1) NOT NULL
  requested_resources TEXT NOT NULL
  PRIMARY KEY (id)
  INDEX fkidx_task_resources_queue_id (queue_id)
  INDEX fkidx_task_resources_task_resources_type_id (task_resources_type_id)
task_instance
  id INT AUTO_INCREMENT NOT NULL
  workflow_run_id INT NOT NULL
  array_id INT NOT NULL
  task_id INT NOT NULL
  distributor_id VARCHAR(20) NULL
  task_resources_id INT NOT NULL
  array_batch_num INT NOT NULL
  array_step_id INT NOT NULL
  nodename VARCHAR(150) NULL
  process_group_id INT NULL
  usage_str VARCHAR(250) NULL
  wallclock VARCHAR(50) NULL
  maxrss VARCHAR(50) NULL
  maxpss VARCHAR(50) NULL
  cpu VARCHAR(50) NULL
  io VARCHAR(50) NULL
  stdout VARCHAR(2048) NULL
  stderr VARCHAR(2048) NULL
  stdout_log TEXT NULL
  stderr_log TEXT NULL
  status VARCHAR(1) NOT NULL
  submitted_date DATETIME NULL
  status_date DATETIME NULL
  report_by_date DATETIME NULL
  PRIMARY KEY (id)
  INDEX fkidx_task_instance_array_id (array_id)
  INDEX fkidx_task_instance_status (status)
  INDEX fkidx_task_instance_task_id (task_id)
  INDEX fkidx_task_instance_task_resources_id (task_resources_id)
  INDEX fkidx_task_instance_workflow_run_id (workflow_run_id)
  INDEX ix_array_batch_index (array_id, array_batch_num, array_step_id)
  INDEX ix_status_status_date (status, status_date)
  INDEX ix_task_instance_array_batch_num (array_batch_num)
  INDEX ix_task_instance_array_step_id (array_step_id)
  INDEX ix_task_instance_distributor_id (distributor_id)
  INDEX ix_task_instance_task_resources_id (task_resources_id)
task_instance_error_log
  id INT AUTO_INCREMENT NOT NULL
  task_instance_id INT NOT NULL
  error_time DATETIME NULL
  description TEXT NOT NULL
  PRIMARY KEY (id)
  INDEX fkidx_task_instance_error_log_task_instance_id (task_instance_id)
cluster_type
  id INT AUTO_INCREMENT NOT NULL
  name VARCHAR(255) NOT NULL
  logfile_templates VARCHAR(500) NULL
  PRIMARY KEY (id)
  UNIQUE name (name)
cluster
  id INT AUTO_INCREMENT NOT NULL
  name VARCHAR(255) NOT NULL
  cluster_type_id INT NOT NULL
  connection_parameters VARCHAR(2500) NULL
  PRIMARY KEY (id)
  UNIQUE name (name)
  INDEX fkidx_cluster_cluster_type_id (cluster_type_id)
queue
  id INT AUTO_INCREMENT NOT NULL
  name VARCHAR(255) NOT NULL
  cluster_id INT NOT NULL
  parameters VARCHAR(2500) NOT NULL
  PRIMARY KEY (id)
  UNIQUE uc_name_cluster_id (name, cluster_id)
  INDEX fkidx_queue_cluster_id (cluster_id)
task_status
  id VARCHAR(1) NOT NULL
  label VARCHAR(150) NOT NULL
  description VARCHAR(150) NOT NULL
  PRIMARY KEY (id)
task_instance_status
  id VARCHAR(1) NOT NULL
  label VARCHAR(150) NOT NULL
  description VARCHAR(150) NOT NULL
  PRIMARY KEY (id)
workflow_status
  id VARCHAR(1) NOT NULL
  label VARCHAR(150) NOT NULL
  description VARCHAR(150) NOT NULL
  PRIMARY KEY (id)
workflow_run_status
  id VARCHAR(1) NOT NULL
  label VARCHAR(150) NOT NULL
  description VARCHAR(150) NOT NULL
  PRIMARY KEY (id)
task_resources_type
  id VARCHAR(1) NOT NULL
  label VARCHAR(150) NOT NULL
  PRIMARY KEY (id)
alembic_version
  version_num VARCHAR(32) NOT NULL
  PRIMARY KEY (version_num)
`;

/** Runs statements on the place that a URL names, one after another, as a program of its own. */
export async function runSql(url: string, statements: readonly string[]): Promise<Record<string, unknown>[][]> {
  const address = parseDatabaseUrl(url);
  if (address.kind === 'sqlite') {
    const handle = new SqliteHandle(address.file);
    try {
      return statements.map((sql) => {
        const statement = handle.prepare(sql);
        if (statement.reader) return statement.all() as Record<string, unknown>[];
        statement.run();
        return [];
      });
    } finally {
      handle.close();
    }
  }
  const { host, port, user, password, database } = address;
  const connection = await mysql.createConnection({
    host,
    port,
    user,
    password,
    database,
    charset: 'utf8mb4',
    dateStrings: true,
  });
  try {
    const results: Record<string, unknown>[][] = [];
    for (const sql of statements) {
      const [rows] = await connection.query(sql);
      results.push(Array.isArray(rows) ? (rows as Record<string, unknown>[]) : []);
    }
    return results;
  } finally {
    await connection.end();
  }
}

/** Makes the tables and rows in an empty place (`DatabaseKind.place`); on MariaDB with the charset that its tables had. */
export async function makePythonDatabase(url: string, charset: 'utf8mb4' | 'latin1' = 'utf8mb4'): Promise<void> {
  const isSqlite = parseDatabaseUrl(url).kind === 'sqlite';
  const tables = TABLES.trim()
    .split(/\n(?! )/)
    .flatMap((block) => tableSql(block, isSqlite, charset));
  await runSql(url, [...tables, ...ROWS]);
}

/** MariaDB declares indexes with the table; SQLite has them apart, counts a key up by its type, and CHECKs lengths. */
function tableSql(block: string, isSqlite: boolean, charset: string): string[] {
  const [name, ...lines] = block.split('\n').map((line) => line.trim());
  const parts: string[] = [];
  const indexes: string[] = [];
  for (const line of lines) {
    const [, kind, index, columns] = /^(UNIQUE|INDEX) (\w+) \((.*)\)$/.exec(line) ?? [];
    if (kind === undefined) {
      parts.push(...columnSql(name!, line, isSqlite));
    } else if (!isSqlite) {
      parts.push(`${kind} KEY ${index} (${columns})`.replace('INDEX KEY', 'KEY'));
    } else if (kind === 'UNIQUE') {
      parts.push(`CONSTRAINT ${index} UNIQUE (${columns!.replace(/\(\d+\)/g, '')})`);
    } else {
      indexes.push(`CREATE INDEX ${index} ON \`${name}\` (${columns})`);
    }
  }
  return [`CREATE TABLE \`${name}\` (${parts.join(', ')})${isSqlite ? '' : ` DEFAULT CHARSET = ${charset}`}`, ...indexes];
}

function columnSql(table: string, line: string, isSqlite: boolean): string[] {
  if (line.startsWith('PRIMARY KEY')) return [line];
  const [column] = line.split(' ');
  const quoted = line.replace(/^\w+/, `\`${column}\``);
  if (!isSqlite) return [quoted];
  const [, length] = /VARCHAR\((\d+)\)/.exec(line) ?? [];
  const check = length === undefined ? '' : ` CONSTRAINT ck_${table}_${column}_length CHECK (length(\`${column}\`) <= ${length})`;
  return [quoted.replace('INT AUTO_INCREMENT', 'INTEGER').replace(/\bINT\b/, 'INTEGER') + check];
}

/**
 * Workflow 1 has ended: a chain of three tasks, one of them tried twice. Workflow 2 is its twin (same identity) and stands
 * half done: two tasks are twins of each other, and two instances share their place in a batch. Edges are text inside JSON, once
 * and twice quoted, as old clients wrote them. Its seeds are the Python server's own: the label of O among
 * the instance statuses is wrong there, and stays so.
 */
const ROWS: readonly string[] = [
  `INSERT INTO alembic_version VALUES ('0123456789ab')`,
  `INSERT INTO arg_type VALUES (1, 'NODE_ARG'), (2, 'TASK_ARG'), (3, 'OP_ARG')`,
  `INSERT INTO cluster_type VALUES (1, 'dummy', NULL), (2, 'sequential', NULL), (3, 'multiprocess', NULL)`,
  `INSERT INTO cluster VALUES (1, 'dummy', 1, NULL), (2, 'sequential', 2, NULL), (3, 'multiprocess', 3, NULL)`,
  `INSERT INTO queue VALUES (1, 'null.q', 1, '{}'), (2, 'null.q', 2, '{}'), (3, 'null.q', 3, '{"cores": (1,20)}')`,
  `INSERT INTO task_resources_type VALUES ('O', 'ORIGINAL'), ('V', 'VALIDATED'), ('A', 'ADJUSTED')`,
  `INSERT INTO task_status VALUES ('G', 'REGISTERING', 'bound'), ('D', 'DONE', 'done'), ('F', 'ERROR_FATAL', 'failed')`,
  `INSERT INTO task_instance_status VALUES ('O', 'QUEUED', 'on the cluster'), ('D', 'DONE', 'done'), ('E', 'ERROR', 'failed')`,
  `INSERT INTO workflow_status VALUES ('D', 'DONE', 'done'), ('F', 'FAILED', 'failed')`,
  `INSERT INTO workflow_run_status VALUES ('D', 'DONE', 'done'), ('E', 'ERROR', 'failed')`,
  `INSERT INTO tool VALUES (1, 'pipeline')`,
  `INSERT INTO tool_version VALUES (1, 1)`,
  `INSERT INTO task_template VALUES (1, 1, 'step')`,
  `INSERT INTO task_template_version VALUES (1, 1, 'sleep {r} && echo {R}', '123456789')`,
  `INSERT INTO arg VALUES (1, 'r')`,
  `INSERT INTO template_arg_map VALUES (1, 1, 1)`,
  `INSERT INTO dag VALUES (1, '1234567890123456789', '2024-05-01 10:00:00')`,
  `INSERT INTO node VALUES (1, 1, '11'), (2, 1, '22'), (3, 1, '33')`,
  `INSERT INTO node_arg VALUES (1, 1, '1'), (2, 1, '2'), (3, 1, '3')`,
  `INSERT INTO edge VALUES (1, 1, 'null', '"[2]"'), (1, 2, json_quote('"[1]"'), '[3]'), (1, 3, '"[2]"', NULL)`,
  `INSERT INTO workflow_attribute_type VALUES (1, 'project')`,
  ...[1, 2].flatMap((id) => [
    `INSERT INTO workflow VALUES (${id}, 1, 1, '777', '888', 'about it', 'pipeline', 'v1', 2147483647,
      '2024-05-01 10:00:00', '2024-05-01 11:00:00', '${id === 1 ? 'D' : 'F'}')`,
    `INSERT INTO workflow_attribute VALUES (${id}, 1, 'census')`,
    `INSERT INTO workflow_run VALUES (${id}, ${id}, 'ada', '3.4.23', '3.6.0', '${id === 1 ? 'D' : 'E'}',
      '2024-05-01 10:00:00', '2024-05-01 11:00:00', '2024-05-01 11:01:00')`,
    `INSERT INTO array VALUES (${id}, 'step', 1, ${id}, 2147483647, '2024-05-01 10:00:00')`,
  ]),
  `INSERT INTO task_resources VALUES (1, 3, 'O', '{"memory": 1}'), (2, 3, 'O', '{"memory": 1}')`,
  ...[
    [1, 1, 1, 'D', 1],
    [2, 1, 2, 'D', 2],
    [3, 1, 3, 'D', 1],
    [4, 2, 1, 'F', 3],
    [5, 2, 2, 'G', 0],
    [6, 2, 2, 'G', 0],
  ].map(
    ([id, workflow, node, status, attempts]) =>
      `INSERT INTO task VALUES (${id}, ${workflow}, ${node}, '0', ${workflow}, 'step_${node}', 'sleep 1', 1, ${attempts}, 3,
        '{''memory'': 0.5}', '[]', '${status}', '2024-05-01 10:30:00')`,
  ),
  ...[
    [1, 1, 1, 1, 0, 'D'],
    [2, 1, 2, 1, 1, 'E'],
    [3, 1, 2, 2, 0, 'D'],
    [4, 1, 3, 3, 0, 'D'],
    [5, 2, 4, 1, 0, 'E'],
    [6, 2, 4, 1, 0, 'E'],
    [7, 2, 4, 1, 0, 'E'],
  ].map(
    ([id, run, task, batch, step, status]) =>
      `INSERT INTO task_instance (id, workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, nodename, stdout_log,
        status, status_date) VALUES (${id}, ${run}, ${run}, ${task}, 1, ${batch}, ${step}, 'node7', 'Übung', '${status}', '2024-05-01 10:30:00')`,
  ),
  `INSERT INTO task_instance_error_log VALUES (1, 2, '2024-05-01 10:20:00', 'exit code 1')`,
];
