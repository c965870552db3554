/** Tools: what a workflow belongs to. */
import { Entity, Index } from 'typeorm';
import { DateTime, Id, Int, IntKey, Varchar } from './columns';

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

/**
 * Ours. A tool whose first version is being made: how many callers of the Python protocol were told that it has none (E37) and have not
 * asked for one since (E39). They are given one version together. No row is the rule.
 */
@Entity('tool_first_version')
export class ToolFirstVersion {
  @IntKey() tool_id: number;
  @Int() callers: number;
  /** When the last of them was told. */
  @DateTime() told_date: string;
}
