/**
 * The thirteenth migration: the index of a run's attempts by status and array goes on with what they ask for, so that a long line is
 * passed kind by kind. The former index was its beginning and goes. Run again after a cut it changes nothing.
 */
import { TableIndex, type MigrationInterface, type QueryRunner } from 'typeorm';

const TABLE = 'task_instance';
const FORMER = 'ix_task_instance_workflow_run_id_status_array_id';
const INDEX = 'ix_task_instance_run_status_array_resources';

export class TaskInstanceKind1763900000013 implements MigrationInterface {
  readonly name = 'TaskInstanceKind1763900000013';

  async up(runner: QueryRunner): Promise<void> {
    const standing = (await runner.getTable(TABLE))?.indices.map(({ name }) => name);
    if (standing?.includes(INDEX) !== true) {
      const columnNames = ['workflow_run_id', 'status', 'array_id', 'task_resources_id'];
      await runner.createIndex(TABLE, new TableIndex({ name: INDEX, columnNames }));
    }
    if (standing?.includes(FORMER) === true) await runner.dropIndex(TABLE, FORMER);
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}
