/**
 * What the driver alone takes for the rows of a task, beside the house's figures: the same tables, whole batches as multi-row
 * statements, one connection, no locks beforehand, nothing decided, nobody else at the database.
 */
import { openDatabase } from '@jobmon/entities';
import { createLogger } from '@jobmon/runtime';
import type { RawDatabase } from '../transitions/database';

/** Rows of one transaction. */
const BATCH = 1_000;
const NOW = 'CURRENT_TIMESTAMP';

export interface Raw {
  readonly bind_ms: number;
  readonly run_ms: number;
}

/** Milliseconds a task for writing its definition, and for moving it through Q, I, R and D. The database is empty before. */
export async function measureRaw(place: RawDatabase, tasks: number): Promise<Raw> {
  const house = await openDatabase({ url: place.url, log: createLogger({ service: 'bench', level: 'error' }) });
  await house.close();
  await place.open();
  const began = performance.now();
  await inBatches(place, tasks, bind);
  const bound = performance.now();
  await inBatches(place, tasks, run);
  return { bind_ms: (bound - began) / tasks, run_ms: (performance.now() - bound) / tasks };
}

async function inBatches(
  place: RawDatabase,
  tasks: number,
  write: (place: RawDatabase, ids: readonly number[]) => Promise<void>,
): Promise<void> {
  for (let first = 1; first <= tasks; first += BATCH) {
    await place.run('BEGIN');
    await write(
      place,
      Array.from({ length: Math.min(BATCH, tasks - first + 1) }, (_, nth) => first + nth),
    );
    await place.run('COMMIT');
  }
}

const values = (ids: readonly number[], row: (id: number) => string): string => ids.map((id) => `(${row(id)})`).join();

/** A node with one argument, its task, its row of edges. */
async function bind(place: RawDatabase, ids: readonly number[]): Promise<void> {
  await place.run(
    `INSERT INTO node (id, task_template_version_id, node_args_hash) VALUES ${values(ids, (id) => `${id},1,'${id}${HASH}'`)}`,
  );
  await place.run(`INSERT INTO node_arg (node_id, arg_id, val) VALUES ${values(ids, (id) => `${id},1,'${id}'`)}`);
  await place.run(
    'INSERT INTO task (id, workflow_id, node_id, task_args_hash, array_id, name, command, task_resources_id, num_attempts, max_attempts, status, status_date, identity) ' +
      `VALUES ${values(ids, (id) => `${id},1,${id},'${HASH}',1,'fit_location-${id}','fit --location ${id} --draws 1000',1,0,3,'G',${NOW},'${id}${HASH.slice(0, 50)}'`)}`,
  );
  await place.run(
    `INSERT INTO edge (dag_id, node_id, upstream_node_ids, downstream_node_ids) VALUES ${values(ids, (id) => `1,${id},'[]','[${id + 1}]'`)}`,
  );
}

const HASH = '1'.repeat(60);

/** An attempt that is queued, leased, started and done: its row, the task's, and a row of history at each step. */
async function run(place: RawDatabase, ids: readonly number[]): Promise<void> {
  await place.run(
    'INSERT INTO task_instance (id, workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status, status_date) ' +
      `VALUES ${values(ids, (id) => `${id},1,1,${id},1,1,${id},'Q',${NOW}`)}`,
  );
  const steps = ['Q', 'I', 'R', 'D'];
  for (const [nth, to] of steps.entries()) {
    const set = `SET status = '${to}', status_date = ${NOW}`;
    const from = steps[nth - 1];
    await place.run(`UPDATE task ${set} WHERE id IN (${ids.join()}) AND status = '${from ?? 'G'}'`);
    if (from !== undefined) await place.run(`UPDATE task_instance ${set} WHERE id IN (${ids.join()}) AND status = '${from}'`);
    await place.run(
      'INSERT INTO task_instance_history (task_instance_id, sequence, from_status, to_status, date, actor, reason) ' +
        `VALUES ${values(ids, (id) => `${id},${nth + 1},${from === undefined ? 'NULL' : `'${from}'`},'${to}',${NOW},'A',1`)}`,
    );
  }
}
