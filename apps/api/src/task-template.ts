/** Task templates and their versions: found, or made with the names of their arguments. */
import { createHash } from 'node:crypto';
import { JobmonError, registerTaskTemplate, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Dialect, Procedure } from '@jobmon/entities';
import type { Call, Room } from './context';
import { idsOfNames } from './named-row';
import { checkText } from './column-limit';
import { recordPerson } from './person';

type Request = RequestOf<typeof registerTaskTemplate>;
type Reply = ReplyOf<typeof registerTaskTemplate>;

/** Ids of `arg_type`, which are fixed (spec/data-model.md section 3). */
export const ArgType = { NODE: 1, TASK: 2, OP: 3 } as const;

/**
 * Finds or makes the template and the version with exactly this command and these arguments.
 *
 * @throws JobmonError NOT_FOUND for an unknown tool version, MALFORMED for an argument that is named twice.
 */
export async function findOrMakeTaskTemplate({ database }: Room, request: Request, call: Call): Promise<Reply> {
  const { dialect } = database;
  const command = request.command_template.trim();
  checkText('command_template', command);
  const kinds = [
    ...request.node_args.map((name) => ({ name, arg_type_id: ArgType.NODE })),
    ...request.task_args.map((name) => ({ name, arg_type_id: ArgType.TASK })),
    ...request.op_args.map((name) => ({ name, arg_type_id: ArgType.OP })),
  ];
  const names = kinds.map((kind) => kind.name);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined)
    throw new JobmonError('MALFORMED', `the argument '${twice}' is named twice`, { rule: 'argument_twice' });

  return database.write({ label: 'task_template.register' }, function* (): Procedure<Reply> {
    const { rows: versions } = yield { sql: 'SELECT id FROM tool_version WHERE id = ?', params: [request.tool_version_id] };
    if (versions.length === 0) throw new JobmonError('NOT_FOUND', `there is no tool version ${request.tool_version_id}`);
    const task_template_id = yield* templateId(dialect, request);
    const ids = yield* idsOfNames(dialect, 'arg', names);
    const newest = yield {
      sql: 'SELECT MAX(id) AS id FROM task_template_version WHERE task_template_id = ?',
      params: [task_template_id],
    };
    const task_template_version_id = yield* versionId(dialect, task_template_id, command, request.arg_mapping_hash);
    if (task_template_version_id > Number((newest.rows[0] as { id: number | null }).id ?? 0)) {
      yield* recordPerson(dialect, call, registerTaskTemplate.name, task_template_version_id);
    }
    yield* mapArgs(
      dialect,
      task_template_version_id,
      kinds.map(({ name, arg_type_id }) => ({ arg_id: ids.get(name) as number, arg_type_id })),
    );
    return { task_template_id, task_template_version_id, arg_ids: Object.fromEntries(ids) };
  });
}

/** Notes which arguments a version has, and of which type each is. */
export function* mapArgs(
  dialect: Dialect,
  task_template_version_id: number,
  args: readonly { arg_id: number; arg_type_id: number }[],
): Procedure<void> {
  if (args.length === 0) return;
  const given = dialect.jsonRows('given', { arg_id: 'int', arg_type_id: 'int' });
  yield {
    sql: `${dialect.insertIgnore} INTO template_arg_map (task_template_version_id, arg_id, arg_type_id)
          SELECT ?, given.arg_id, given.arg_type_id FROM ${given}`,
    params: [task_template_version_id, JSON.stringify(args)],
  };
}

function* templateId(dialect: Dialect, { tool_version_id, name }: Request): Procedure<number> {
  const find = function* (): Procedure<number | undefined> {
    const sql = 'SELECT id, name FROM task_template WHERE tool_version_id = ? AND name = ?';
    const { rows } = yield { sql, params: [tool_version_id, name] };
    return (rows as { id: number; name: string }[]).find((row) => row.name === name)?.id;
  };
  const found = yield* find();
  if (found !== undefined) return found;
  yield {
    sql: `${dialect.insertIgnore} INTO task_template (tool_version_id, name) VALUES (?, ?)`,
    params: [tool_version_id, name],
  };
  const made = yield* find();
  if (made !== undefined) return made;
  throw new JobmonError('CONFLICT', `the database cannot tell the template name '${name}' from another that is stored already`);
}

/**
 * How the mapping hash of a version may be stored. The unique key of a version holds only the first 617 characters of its command
 * (spec/data-model.md section 6), so a longer command can be refused for another that begins alike. Its hash is then stored with a mark made
 * from the whole command behind it; the command itself is always compared whole.
 */
export function storedHashes(command: string, hash: string): [string, string] {
  return [hash, `${hash}-${createHash('sha256').update(command).digest('hex').slice(0, 16)}`];
}

/** Finds or makes the version with exactly this command. */
export function* versionId(dialect: Dialect, task_template_id: number, command: string, hash: string): Procedure<number> {
  const hashes = storedHashes(command, hash);
  const find = function* (): Procedure<number | undefined> {
    const { rows } = yield {
      sql: `SELECT id, command_template FROM task_template_version
             WHERE task_template_id = ? AND command_template = ? AND arg_mapping_hash IN (?, ?) ORDER BY id`,
      params: [task_template_id, command, ...hashes],
    };
    return (rows as { id: number; command_template: string }[]).find((row) => row.command_template === command)?.id;
  };
  const found = yield* find();
  if (found !== undefined) return found;
  for (const candidate of hashes) {
    yield {
      sql: `${dialect.insertIgnore} INTO task_template_version (task_template_id, command_template, arg_mapping_hash) VALUES (?, ?, ?)`,
      params: [task_template_id, command, candidate],
    };
    const made = yield* find();
    if (made !== undefined) return made;
  }
  throw new JobmonError('CONFLICT', 'the database cannot tell this command template from another that is stored already');
}
