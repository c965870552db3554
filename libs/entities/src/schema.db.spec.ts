import { taskInstanceMachine, taskMachine, workflowMachine, workflowRunMachine } from '@jobmon/contracts';
import { describeOnDatabaseKinds, describeOnDatabases, insertWorkflow, makePythonDatabase, runSql } from '@jobmon/testkit';
import { pino } from 'pino';
import { isDuplicateKey, openDatabase, type Database } from './index';
import { ENTITIES, SHARED_ENTITIES, SQLITE_ENTITIES } from './entities';
import { MIGRATIONS } from './schema';

const log = pino({ level: 'silent' });

describeOnDatabases('the schema', (database) => {
  it('is what the entities say: the schema builder has nothing left to do', async () => {
    const { upQueries } = await database().dataSource.driver.createSchemaBuilder().log();
    expect(upQueries.map((query) => query.query)).toEqual([]);
  });

  it('has the 31 shared tables and ours, and every status of the machines in its table', async () => {
    expect(SHARED_ENTITIES).toHaveLength(31);
    const entities = database().dialect.name === 'sqlite' ? SQLITE_ENTITIES : ENTITIES;
    for (const entity of entities) await database().dataSource.getRepository(entity).find({ take: 1 });
    for (const machine of [taskMachine, taskInstanceMachine, workflowMachine, workflowRunMachine]) {
      const rows = await database().read(`SELECT id, label, description FROM ${machine.name}_status ORDER BY id`);
      const states = Object.entries(machine.states).sort(([a], [b]) => (a < b ? -1 : 1));
      expect(rows).toEqual(states.map(([id, { label, meaning }]) => ({ id, label, description: meaning })));
    }
  });

  it('is seeded with ids that other programs depend on, and queue parameters that are JSON and Python at once', async () => {
    expect(await database().read('SELECT id, name FROM arg_type ORDER BY id')).toEqual([
      { id: 1, name: 'NODE_ARG' },
      { id: 2, name: 'TASK_ARG' },
      { id: 3, name: 'OP_ARG' },
    ]);
    const queues = await database().read<{ parameters: string }>(
      `SELECT c.id AS id, c.name AS cluster, t.name AS type, q.name AS queue, q.parameters AS parameters
         FROM queue q JOIN cluster c ON c.id = q.cluster_id JOIN cluster_type t ON t.id = c.cluster_type_id ORDER BY c.id`,
    );
    expect(queues.map((row) => ({ ...row, parameters: JSON.parse(row.parameters) }))).toEqual([
      { id: 1, cluster: 'dummy', type: 'dummy', queue: 'null.q', parameters: {} },
      { id: 2, cluster: 'sequential', type: 'sequential', queue: 'null.q', parameters: {} },
      { id: 3, cluster: 'multiprocess', type: 'multiprocess', queue: 'null.q', parameters: { cores: [1, 20] } },
    ]);
    for (const { parameters } of queues) expect(parameters).not.toMatch(/true|false|null/);
  });

  it('tells names apart by case, and refuses values that are too long', async () => {
    const insert = (name: string): Promise<void> =>
      database().write({ label: 'test' }, function* () {
        yield { sql: 'INSERT INTO arg (name) VALUES (?)', params: [name] };
      });
    await insert('r');
    await insert('R');
    await insert('😀'.repeat(255));
    await expect(insert('x'.repeat(256))).rejects.toMatchObject({ code: expect.stringMatching(/CHECK|TOO_LONG/) });
    expect(await insert('r').then(() => false, isDuplicateKey)).toBe(true);
  });

  it('takes plain inserts of programs that know nothing of our columns', async () => {
    const made = await insertWorkflow(database(), { tasks: 1 });
    await runSql(database().url, [
      `INSERT INTO task (workflow_id, node_id, task_args_hash, name, command, num_attempts, max_attempts, status)
       VALUES (${made.workflow_id}, ${made.node_ids[0]}, '0', 'a', 'b', 0, 3, 'G')`,
      `INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status)
       VALUES (${made.workflow_run_id}, ${made.array_id}, ${made.task_ids[0]}, 1, 900, 0, 'Q')`,
      `INSERT INTO workflow (dag_id, workflow_args_hash, task_hash, max_concurrently_running, status) VALUES (1, '1', '2', 3, 'G')`,
      `INSERT INTO workflow_run (workflow_id, status) VALUES (${made.workflow_id}, 'G')`,
      `INSERT INTO task_resources (task_resources_type_id, requested_resources) VALUES ('O', '{}')`,
    ]);
    const [instance] = await database().read('SELECT twin, agent_id FROM task_instance WHERE array_batch_num = 900');
    expect(instance).toEqual({ twin: 0, agent_id: null });
  });
});

describeOnDatabaseKinds('a database of the Python server', (kind) => {
  let place: { url: string; remove: () => Promise<void> };
  let database: Database | undefined;
  beforeEach(async () => {
    place = await kind.place();
    database = undefined;
  });
  afterEach(async () => {
    await database?.close();
    await place.remove();
  });

  const TABLES_WITH_ROWS = ['workflow', 'workflow_run', 'task', 'task_instance', 'edge', 'queue', 'task_instance_status', 'arg'];
  const rowsOf = (url: string): Promise<Record<string, unknown>[][]> =>
    runSql(
      url,
      TABLES_WITH_ROWS.map((table) => `SELECT * FROM ${table} ORDER BY 1, 2`),
    );

  it('opens, twins and all: rows stay, seeds are not doubled, keys and indexes are ours', async () => {
    await makePythonDatabase(place.url);
    const before = await rowsOf(place.url);
    database = await openDatabase({ url: place.url, log });
    const after = await rowsOf(place.url);
    before.forEach((rows, table) => {
      expect(after[table]).toEqual(rows.map((row) => expect.objectContaining(row)));
      expect(after[table]).toHaveLength(rows.length);
    });
    expect(await database.read('SELECT id, twin FROM task_instance WHERE twin > 0 ORDER BY id')).toEqual([
      { id: 6, twin: 1 },
      { id: 7, twin: 2 },
    ]);
    expect(await database.read('SELECT version_num FROM alembic_version')).toHaveLength(1);
    const counted = 'SELECT workflow_id, array_id, status, n FROM task_status_count ORDER BY workflow_id, array_id, status';
    const recounted =
      'SELECT workflow_id, array_id, status, COUNT(*) AS n FROM task GROUP BY workflow_id, array_id, status ORDER BY 1, 2, 3';
    expect(await database.read(counted)).toEqual(await database.read(recounted));
    expect(await database.read(counted)).not.toHaveLength(0);

    const fresh = await kind.open();
    try {
      const ours = await indexesOf(fresh);
      const migrated = await indexesOf(database);
      for (const index of ours) expect(migrated).toContain(index);
      const left = migrated.filter((index) => index.startsWith('task ') || index.startsWith('task_instance '));
      expect(left.sort()).toEqual(ours.filter((index) => index.startsWith('task ') || index.startsWith('task_instance ')).sort());
    } finally {
      await fresh.drop();
    }
  });

  it('works afterwards: new workflows beside the old ones, no second row for a place in a batch', async () => {
    await makePythonDatabase(place.url);
    database = await openDatabase({ url: place.url, log });
    const made = await insertWorkflow(database, { tasks: 10, instance_status: 'R', cluster: 'multiprocess' });
    expect(made.task_ids[0]).toBeGreaterThan(6);
    const twin = runSql(place.url, [
      `INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status)
         VALUES (1, 1, 2, 1, 2, 0, 'Q')`,
    ]);
    expect(await twin.then(() => false, isDuplicateKey)).toBe(true);
    const edges = await database.dataSource.getRepository('edge').find({ where: { dag_id: 1 } });
    expect(edges).toHaveLength(3);
  });

  it('is opened again without another migration', async () => {
    await makePythonDatabase(place.url);
    await (await openDatabase({ url: place.url, log })).close();
    database = await openDatabase({ url: place.url, log });
    expect(await database.read('SELECT COUNT(*) AS n FROM migrations')).toEqual([{ n: MIGRATIONS.length }]);
  });

  if (kind.name === 'mariadb') {
    it('of a narrow character set takes every character after its migration', async () => {
      await makePythonDatabase(place.url, 'latin1');
      database = await openDatabase({ url: place.url, log });
      await database.write({ label: 'test' }, function* () {
        yield { sql: 'UPDATE task_instance SET stdout_log = ?, nodename = ? WHERE id = 1', params: ['😀 ж', '節點'] };
        yield { sql: 'INSERT INTO arg (name) VALUES (?)', params: ['R'] };
      });
      expect(await database.read('SELECT stdout_log, nodename FROM task_instance WHERE id IN (1, 2) ORDER BY id')).toEqual([
        { stdout_log: '😀 ж', nodename: '節點' },
        { stdout_log: 'Übung', nodename: 'node7' },
      ]);
    });

    it('is finished by the next start when its migration was cut off', async () => {
      await makePythonDatabase(place.url);
      await (await openDatabase({ url: place.url, log })).close();
      // As if the server had stopped after some of the statements: those cannot be rolled back.
      await runSql(place.url, [
        'DELETE FROM migrations',
        'ALTER TABLE task_instance DROP INDEX uc_task_instance_array_batch_step, DROP COLUMN twin',
        'DROP TABLE agent',
        'ALTER TABLE task DROP COLUMN identity',
      ]);
      database = await openDatabase({ url: place.url, log });
      expect(await database.read('SELECT id FROM task_instance WHERE twin > 0')).toHaveLength(2);
      await insertWorkflow(database);
    });
  }

  if (kind.name === 'sqlite') {
    it('is copied beside itself first, under the date and the version that it had', async () => {
      const { readdirSync } = await import('node:fs');
      const { dirname } = await import('node:path');
      await makePythonDatabase(place.url);
      const before = await rowsOf(place.url);
      const file = place.url.slice('sqlite:'.length);
      database = await openDatabase({ url: place.url, log });
      const backups = readdirSync(dirname(file)).filter((name) => name.includes('backup'));
      expect(backups).toHaveLength(1);
      expect(backups[0]).toMatch(/^jobmon\.sqlite\.\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.schema-0\.backup$/);
      expect(await rowsOf(`sqlite:${dirname(file)}/${backups[0]}`)).toEqual(before);
    });
  }
});

describeOnDatabaseKinds('migrating', (kind) => {
  it('an older schema with twins where it had no unique key leaves them and goes on', async () => {
    const place = await kind.place();
    try {
      await makePythonDatabase(place.url);
      await runSql(place.url, [
        `DROP TABLE task_attribute_type`,
        `CREATE TABLE task_attribute_type (id INTEGER PRIMARY KEY, name VARCHAR(255) NOT NULL)`,
        `INSERT INTO task_attribute_type VALUES (1, 'a'), (2, 'a')`,
      ]);
      const database = await openDatabase({ url: place.url, log });
      expect(await database.read('SELECT id FROM task_attribute_type')).toHaveLength(2);
      await database.close();
    } finally {
      await place.remove();
    }
  });
});

/** `table (columns) unique?` of every index, by what it is and not by its name. */
async function indexesOf(database: Database): Promise<string[]> {
  const rows = await database.read<{ tab: string; name: string; is_unique: number; col: string }>(
    database.dialect.name === 'sqlite'
      ? `SELECT m.name AS tab, l.name AS name, l."unique" AS is_unique, i.name AS col
           FROM sqlite_master m, pragma_index_list(m.name) l, pragma_index_info(l.name) i
          WHERE m.type = 'table' AND l.origin <> 'pk' ORDER BY 1, 2, i.seqno`
      : `SELECT TABLE_NAME AS tab, INDEX_NAME AS name, 1 - NON_UNIQUE AS is_unique, COLUMN_NAME AS col
           FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() AND INDEX_NAME <> 'PRIMARY'
          ORDER BY 1, 2, SEQ_IN_INDEX`,
  );
  const indexes = new Map<string, { head: string; columns: string[]; is_unique: number }>();
  for (const row of rows) {
    const key = `${row.tab} ${row.name}`;
    const found = indexes.get(key) ?? { head: row.tab, columns: [], is_unique: Number(row.is_unique) };
    found.columns.push(row.col);
    indexes.set(key, found);
  }
  return [...indexes.values()].map((index) => `${index.head} (${index.columns.join(', ')})${index.is_unique ? ' unique' : ''}`);
}
