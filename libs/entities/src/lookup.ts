/**
 * The lookup tables: each letter of a status column with its label. Seeded from the machines of contracts; code decides by those,
 * these rows are for people and for other programs' joins.
 */
import { Entity } from 'typeorm';
import { Varchar, VarcharKey } from './columns';

@Entity('task_status')
export class TaskStatusRow {
  @VarcharKey(1) id: string;
  @Varchar(150) label: string;
  @Varchar(150) description: string;
}

@Entity('task_instance_status')
export class TaskInstanceStatusRow {
  @VarcharKey(1) id: string;
  @Varchar(150) label: string;
  @Varchar(150) description: string;
}

@Entity('workflow_status')
export class WorkflowStatusRow {
  @VarcharKey(1) id: string;
  @Varchar(150) label: string;
  @Varchar(150) description: string;
}

@Entity('workflow_run_status')
export class WorkflowRunStatusRow {
  @VarcharKey(1) id: string;
  @Varchar(150) label: string;
  @Varchar(150) description: string;
}

/** O ORIGINAL, V VALIDATED, A ADJUSTED. */
@Entity('task_resources_type')
export class TaskResourcesType {
  @VarcharKey(1) id: string;
  @Varchar(150) label: string;
}
