/** Arrays: the tasks of one workflow that were made from one template version, with a limit of their own. */
import { Entity, Index } from 'typeorm';
import { DateTime, Id, Int, Varchar } from './columns';

@Entity('array')
@Index('uc_task_template_version_id_workflow_id', ['task_template_version_id', 'workflow_id'], { unique: true })
@Index('ix_array_name', ['name'])
@Index('ix_array_workflow_id', ['workflow_id'])
export class ArrayRow {
  @Id() id: number;
  @Varchar(255) name: string;
  @Int({ nullable: true }) task_template_version_id: number | null;
  @Int({ nullable: true }) workflow_id: number | null;
  @Int() max_concurrently_running: number;
  @DateTime({ nullable: true }) created_date: string | null;
}
