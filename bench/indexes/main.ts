/**
 * What each index of `task` and `task_instance` costs: rows inserted and status updates a second, in batches of 1,000 as the
 * write path sends them, with that index alone, with all of ours, and with all of the Python system's; on MariaDB. The best
 * of several rounds, in turns, so that a busy machine touches all alike. docs/schema.md cites the figures.
 */
import { TABLES } from '../../libs/entities/src/migrations/0001-schema';
import { databases, insertWorkflow, runSql, type InsertedWorkflow, type TestDatabase } from '@jobmon/testkit';

const ROUNDS = Number(process.argv[2] ?? 3);
const BATCH = 1_000;
const ROWS = 20_000;

interface Case {
  readonly name: string;
  readonly indexes: readonly string[];
}

/** Indexes of the Python system that are dropped, beside ours (spec/data-model.md section 2). */
const DROPPED: Readonly<Record<string, readonly string[]>> = {
  task: ['workflow_id', 'workflow_id, status_date', 'status', 'task_resources_id', 'name', 'status_date', 'task_args_hash'],
  task_instance: [
    'array_id',
    'status',
    'task_resources_id',
    'workflow_run_id',
    'array_id, array_batch_num, array_step_id',
    'status, status_date',
    'array_batch_num',
    'array_step_id',
    'distributor_id',
  ],
};
/** Kept ones that the Python system has as well. */
const SHARED: Readonly<Record<string, readonly string[]>> = {
  task: ['array_id', 'node_id'],
  task_instance: ['task_id'],
};

async function main(): Promise<void> {
  const mariadb = databases().find((kind) => kind.name === 'mariadb');
  if (mariadb === undefined) throw new Error('no MariaDB to measure on');
  const database = await mariadb.open();
  try {
    const made = await insertWorkflow(database, { tasks: ROWS, instance_status: 'Q' });
    for (const table of ['task', 'task_instance']) {
      const ours = TABLES.find((shape) => shape.name === table)!.indexes.map((index) => index.columns.join(', '));
      const cases: Case[] = [
        { name: 'primary key alone', indexes: [] },
        ...ours.map((columns) => ({ name: `(${columns})`, indexes: [columns] })),
        ...DROPPED[table]!.map((columns) => ({ name: `dropped: (${columns})`, indexes: [columns] })),
        { name: 'all of ours', indexes: ours },
        { name: "all of the Python system's", indexes: [...SHARED[table]!, ...DROPPED[table]!] },
      ];
      const best = new Map<string, { inserts: number; updates: number }>();
      for (let round = 0; round < ROUNDS; round += 1) {
        for (const one of cases) {
          const now = await measure(database, table, one.indexes, made);
          const before = best.get(one.name) ?? { inserts: 0, updates: 0 };
          best.set(one.name, { inserts: Math.max(now.inserts, before.inserts), updates: Math.max(now.updates, before.updates) });
        }
      }
      console.log(`\n| index of ${table} | inserts/s | status updates/s |\n| --- | ---: | ---: |`);
      for (const [name, { inserts, updates }] of best) console.log(`| ${name} | ${thousands(inserts)} | ${thousands(updates)} |`);
    }
  } finally {
    await database.drop();
  }
}

function thousands(n: number): string {
  return `${Math.round(n / 1000)}k`;
}

/** Copies the rows into a table with these indexes, batch by batch, then moves each row twice. */
async function measure(
  database: TestDatabase,
  table: string,
  indexes: readonly string[],
  made: InsertedWorkflow,
): Promise<{ inserts: number; updates: number }> {
  const copy = `${table}_copy`;
  const keys = indexes.map((columns, at) => `ADD INDEX ix_${at} (${columns})`);
  await runSql(database.url, [
    `DROP TABLE IF EXISTS ${copy}`,
    `CREATE TABLE ${copy} LIKE ${table}`,
    ...(await secondaryIndexes(database, table)).map((name) => `ALTER TABLE ${copy} DROP INDEX ${name}`),
    ...(keys.length === 0 ? [] : [`ALTER TABLE ${copy} ${keys.join(', ')}`]),
  ]);
  const ids = table === 'task' ? made.task_ids : made.task_instance_ids;
  const batches = Array.from({ length: ids.length / BATCH }, (_, at) => ids.slice(at * BATCH, (at + 1) * BATCH));

  const inserts = await rate(database, batches, (batch) => [
    `INSERT INTO ${copy} SELECT * FROM ${table} WHERE id BETWEEN ? AND ? ORDER BY id`,
    [batch[0]!, batch.at(-1)!],
  ]);
  const given = database.dialect.jsonRows('given', { id: 'int' });
  const steps = ['I', 'R'].flatMap((to) => batches.map((batch) => ({ to, batch })));
  const updates = await rate(database, steps, ({ to, batch }) => [
    `UPDATE ${given} STRAIGHT_JOIN ${copy} ON ${copy}.id = given.id
        SET status = '${to}', status_date = ${database.dialect.nowPlusSeconds} WHERE ${copy}.status <> '${to}'`,
    [JSON.stringify(batch.map((id) => ({ id }))), to === 'I' ? 1 : 2],
  ]);
  return { inserts, updates };
}

async function secondaryIndexes(database: TestDatabase, table: string): Promise<string[]> {
  const rows = await database.read<{ name: string }>(
    `SELECT DISTINCT INDEX_NAME AS name FROM information_schema.STATISTICS
      WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND INDEX_NAME <> 'PRIMARY'`,
    [table],
  );
  return rows.map((row) => row.name);
}

/** Rows a second over all pieces, each a transaction of one statement. */
async function rate<Piece>(
  database: TestDatabase,
  pieces: readonly Piece[],
  statement: (piece: Piece) => [string, (string | number)[]],
): Promise<number> {
  const began = performance.now();
  for (const piece of pieces) {
    const [sql, params] = statement(piece);
    const affected = await database.write({ label: 'bench' }, function* () {
      return (yield { sql, params }).affected;
    });
    if (affected !== BATCH) throw new Error(`${affected} rows instead of ${BATCH}: ${sql}`);
  }
  return (pieces.length * BATCH * 1000) / (performance.now() - began);
}

void main();
