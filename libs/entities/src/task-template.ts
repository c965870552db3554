/** Task templates: command lines with placeholders, their versions, and the names of their arguments. */
import { Entity, Index } from 'typeorm';
import { Id, Int, IntKey, Text, Varchar } from './columns';

@Entity('task_template')
@Index('uc_tool_version_id_name', ['tool_version_id', 'name'], { unique: true })
export class TaskTemplate {
  @Id() id: number;
  @Int() tool_version_id: number;
  @Varchar(255) name: string;
}

/**
 * The unique key holds the first 617 characters of the template on MariaDB and all of it on SQLite; TypeORM cannot say that, so
 * the migration makes the index and the schema comparison leaves it alone.
 */
@Entity('task_template_version')
@Index('uc_ttv_composite_pk', { synchronize: false })
export class TaskTemplateVersion {
  @Id() id: number;
  @Int() task_template_id: number;
  @Text() command_template: string;
  @Varchar(150) arg_mapping_hash: string;
}

/** Which arguments a template version has, and of which type each is. */
@Entity('template_arg_map')
@Index('fkidx_template_arg_map_arg_id', ['arg_id'])
@Index('fkidx_template_arg_map_arg_type_id', ['arg_type_id'])
export class TemplateArgMap {
  @IntKey() task_template_version_id: number;
  @IntKey() arg_id: number;
  @IntKey() arg_type_id: number;
}

/** An argument's name, shared by all templates. Names differ by case: `r` and `R` are two. */
@Entity('arg')
@Index('uc_arg_name', ['name'], { unique: true })
export class Arg {
  @Id() id: number;
  @Varchar(255) name: string;
}

/** 1 NODE_ARG, 2 TASK_ARG, 3 OP_ARG: code depends on these ids. */
@Entity('arg_type')
@Index('uc_arg_type_name', ['name'], { unique: true })
export class ArgType {
  @Id() id: number;
  @Varchar(255) name: string;
}
