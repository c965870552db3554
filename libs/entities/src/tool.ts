/** Tools: what a workflow belongs to. */
import { Entity, Index } from 'typeorm';
import { Id, Int, Varchar } from './columns';

@Entity('tool')
@Index('uc_tool_name', ['name'], { unique: true })
export class Tool {
  @Id() id: number;
  /** The only identity of a tool. */
  @Varchar(255) name: string;
}

/** A version is just a fresh id. */
@Entity('tool_version')
@Index('fkidx_tool_version_tool_id', ['tool_id'])
export class ToolVersion {
  @Id() id: number;
  @Int() tool_id: number;
}
