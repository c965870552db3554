/**
 * Seed rows (spec/data-model.md section 3). Labels and meanings of statuses come from the machines, so table and code can't
 * disagree. The clusters are the three plug-ins that need nothing outside this machine, each with one queue.
 */
import { taskInstanceMachine, taskMachine, workflowMachine, workflowRunMachine, type Machine } from '@jobmon/contracts';
import type { QueryRunner } from 'typeorm';
import { isSqlite } from './shape';

/** Ids are explicit: code of other programs depends on them. */
const ARG_TYPES = [
  [1, 'NODE_ARG'],
  [2, 'TASK_ARG'],
  [3, 'OP_ARG'],
] as const;

const TASK_RESOURCES_TYPES = [
  ['O', 'ORIGINAL'],
  ['V', 'VALIDATED'],
  ['A', 'ADJUSTED'],
] as const;

/** `dummy` first: other programs take cluster 1 for it. Parameters are JSON that is a Python literal too. */
const CLUSTERS = [
  [1, 'dummy', '{}'],
  [2, 'sequential', '{}'],
  [3, 'multiprocess', '{"cores": [1,20]}'],
] as const;

/** Fills the tables that were just made. A database that has its argument types already has been seeded, by us or by others. */
export async function seed(runner: QueryRunner): Promise<void> {
  const seeded: unknown[] = await runner.query('SELECT id FROM arg_type LIMIT 1');
  if (seeded.length > 0) return;
  const insert = async (table: string, columns: string, rows: readonly (readonly unknown[])[]): Promise<void> => {
    const row = `(${columns
      .split(', ')
      .map(() => '?')
      .join(', ')})`;
    await runner.query(`INSERT INTO ${table} (${columns}) VALUES ${rows.map(() => row).join(', ')}`, rows.flat());
  };
  // On SQLite the whole migration is one transaction already.
  if (!isSqlite(runner)) await runner.query('START TRANSACTION');
  await insert(
    'cluster_type',
    'id, name',
    CLUSTERS.map(([id, name]) => [id, name]),
  );
  await insert(
    'cluster',
    'id, name, cluster_type_id',
    CLUSTERS.map(([id, name]) => [id, name, id]),
  );
  await insert(
    'queue',
    'id, name, cluster_id, parameters',
    CLUSTERS.map(([id, , parameters]) => [id, 'null.q', id, parameters]),
  );
  await insert('task_resources_type', 'id, label', TASK_RESOURCES_TYPES);
  await insert('task_status', 'id, label, description', states(taskMachine));
  await insert('task_instance_status', 'id, label, description', states(taskInstanceMachine));
  await insert('workflow_status', 'id, label, description', states(workflowMachine));
  await insert('workflow_run_status', 'id, label, description', states(workflowRunMachine));
  await insert('arg_type', 'id, name', ARG_TYPES);
  if (!isSqlite(runner)) await runner.query('COMMIT');
}

function states(machine: Machine<string>): [string, string, string][] {
  return Object.entries(machine.states).map(([letter, { label, meaning }]) => [letter, label, meaning]);
}
