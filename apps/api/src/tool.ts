/** Tools and their versions: found or made. */
import {
  addVersionOfTool,
  JobmonError,
  type listVersionsOfTool,
  registerTool,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import type { Dialect, Procedure } from '@jobmon/entities';
import type { Call, Room } from './context';
import { recordPerson } from './person';

type Reply = ReplyOf<typeof registerTool>;

/** Finds or makes a tool and its newest version. Two callers at one time are given the same version. */
export async function findOrMakeTool({ database }: Room, { name }: RequestOf<typeof registerTool>, call: Call): Promise<Reply> {
  const { dialect } = database;
  return database.write({ label: 'tool.register' }, function* (): Procedure<Reply> {
    let tool_id = yield* findTool(dialect, name);
    if (tool_id === undefined) {
      yield { sql: `${dialect.insertIgnore} INTO tool (name) VALUES (?)`, params: [name] };
      tool_id = yield* findTool(dialect, name);
    }
    if (tool_id === undefined) {
      throw new JobmonError('CONFLICT', `the database cannot tell the tool name '${name}' from another that is stored already`);
    }
    const { rows } = yield { sql: 'SELECT MAX(id) AS id FROM tool_version WHERE tool_id = ?', params: [tool_id] };
    const newest = (rows[0] as { id: number | null }).id;
    if (newest !== null) return { tool_id, tool_version_id: newest };
    const { insert_id } = yield { sql: 'INSERT INTO tool_version (tool_id) VALUES (?)', params: [tool_id] };
    yield* recordPerson(dialect, call, registerTool.name, tool_id);
    return { tool_id, tool_version_id: insert_id };
  });
}

/** @throws JobmonError NOT_FOUND */
export async function addVersion(
  { database }: Room,
  { tool_id }: RequestOf<typeof addVersionOfTool>,
  call: Call,
): Promise<ReplyOf<typeof addVersionOfTool>> {
  const { dialect } = database;
  return database.write({ label: 'tool.add_version' }, function* (): Procedure<ReplyOf<typeof addVersionOfTool>> {
    const { rows } = yield { sql: `SELECT id FROM tool WHERE id = ?${dialect.forUpdate}`, params: [tool_id] };
    if (rows.length === 0) throw new JobmonError('NOT_FOUND', `there is no tool ${tool_id}`);
    const { insert_id } = yield { sql: 'INSERT INTO tool_version (tool_id) VALUES (?)', params: [tool_id] };
    yield* recordPerson(dialect, call, addVersionOfTool.name, insert_id);
    return { tool_version_id: insert_id };
  });
}

/** @throws JobmonError NOT_FOUND */
export async function findVersions(
  { database }: Room,
  { tool_id }: RequestOf<typeof listVersionsOfTool>,
): Promise<ReplyOf<typeof listVersionsOfTool>> {
  const rows = await database.read<{ id: number | null }>(
    'SELECT v.id AS id FROM tool t LEFT JOIN tool_version v ON v.tool_id = t.id WHERE t.id = ? ORDER BY v.id',
    [tool_id],
  );
  if (rows.length === 0) throw new JobmonError('NOT_FOUND', `there is no tool ${tool_id}`);
  return { tool_version_ids: rows.flatMap(({ id }) => (id === null ? [] : [id])) };
}

/** The tool's row is locked, so that its first version is made once. */
function* findTool(dialect: Dialect, name: string): Procedure<number | undefined> {
  const { rows } = yield { sql: `SELECT id, name FROM tool WHERE name = ?${dialect.forUpdate}`, params: [name] };
  return (rows as { id: number; name: string }[]).find((row) => row.name === name)?.id;
}
