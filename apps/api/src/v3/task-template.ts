/** Task templates and their versions: E31 to E34. */
import {
  bindTaskTemplate,
  bindTaskTemplateVersion,
  getTemplateOfVersion,
  JobmonError,
  listTaskTemplateVersions,
  type ReplyOf,
  type RequestOf,
  type TaskTemplateVersionArray,
} from '@jobmon/contracts';
import type { Database, Procedure, SqlValue } from '@jobmon/entities';
import { checkText } from '../column-limit';
import type { Register, Room } from '../context';
import { findOrInsert, idsOfNames, rowNamed } from '../named-row';
import { ArgType, mapArgs, storedHashes, versionId } from '../task-template';

export function registerTaskTemplate(answer: Register): void {
  answer(bindTaskTemplate, findOrMakeTemplate);
  answer(listTaskTemplateVersions, findVersions);
  answer(bindTaskTemplateVersion, findOrMakeVersion);
  answer(getTemplateOfVersion, findTemplateOfVersion);
}

/** E31. */
async function findOrMakeTemplate(
  { database }: Room,
  { tool_version_id, task_template_name: name }: RequestOf<typeof bindTaskTemplate>,
): Promise<ReplyOf<typeof bindTaskTemplate>> {
  checkText('task_template_name', name);
  const rows = await findOrInsert<{ id: number; name: string }>(
    database,
    'task_template.bind',
    { sql: 'SELECT id, name FROM task_template WHERE tool_version_id = ? AND name = ?', params: [tool_version_id, name] },
    {
      sql: `${database.dialect.insertIgnore} INTO task_template (tool_version_id, name) SELECT id, ? FROM tool_version WHERE id = ?`,
      params: [name, tool_version_id],
    },
  );
  const template = rowNamed(rows, name);
  if (template === undefined) throw new JobmonError('NOT_FOUND', `there is no tool version ${tool_version_id}`);
  return { task_template_id: template.id };
}

/** E32. */
async function findVersions(
  { database }: Room,
  { task_template_id }: RequestOf<typeof listTaskTemplateVersions>,
): Promise<ReplyOf<typeof listTaskTemplateVersions>> {
  return { task_template_versions: await readVersions(database, task_template_id, '', []) };
}

/** E33. */
async function findOrMakeVersion(
  { database }: Room,
  request: RequestOf<typeof bindTaskTemplateVersion>,
): Promise<ReplyOf<typeof bindTaskTemplateVersion>> {
  const { dialect } = database;
  const { task_template_id, arg_mapping_hash } = request;
  const command = request.command_template.trim();
  checkText('command_template', command);
  const kinds = [
    ...typed(request.node_args, ArgType.NODE),
    ...typed(request.task_args, ArgType.TASK),
    ...typed(request.op_args, ArgType.OP),
  ];
  for (const { name } of kinds) checkArgName(name);
  const look = async (): Promise<TaskTemplateVersionArray | undefined> => {
    const sql = 'AND v.command_template = ? AND v.arg_mapping_hash IN (?, ?)';
    const params = [command, ...storedHashes(command, arg_mapping_hash)];
    const versions = await readVersions(database, task_template_id, sql, params);
    return versions.find(([, stored]) => stored === command);
  };
  const standing = await look();
  // Nearly always; a version without arguments that has some was left half done by another program.
  if (standing !== undefined && (kinds.length === 0 || Object.keys(standing[5]).length > 0)) {
    return { task_template_version: standing };
  }
  await database.write({ label: 'task_template_version.bind' }, function* (): Procedure<void> {
    const ids = yield* idsOfNames(dialect, 'arg', [...new Set(kinds.map(({ name }) => name))]);
    const version_id = yield* versionId(dialect, task_template_id, command, arg_mapping_hash);
    const args = kinds.map(({ name, arg_type_id }) => ({ arg_id: ids.get(name) as number, arg_type_id }));
    yield* mapArgs(dialect, version_id, args);
  });
  return { task_template_version: (await look()) as TaskTemplateVersionArray };
}

function typed(names: readonly string[], arg_type_id: number): { name: string; arg_type_id: number }[] {
  return [...new Set(names)].map((name) => ({ name, arg_type_id }));
}

/** MariaDB takes a name with blanks at its end for the one without them. */
function checkArgName(name: string): void {
  checkText('an argument', name);
  if (name.endsWith(' ')) throw new JobmonError('MALFORMED', `the argument '${name}' ends in a blank`, { rule: 'argument_name' });
}

/** Versions of a template, ascending by id, that a condition on `v` names. NOT_FOUND for an unknown template. */
async function readVersions(
  database: Database,
  task_template_id: number,
  condition: string,
  params: readonly SqlValue[],
): Promise<TaskTemplateVersionArray[]> {
  const rows = await database.read<{
    id: number | null;
    command_template: string;
    arg_id: number | null;
    name: string;
    arg_type_id: number;
  }>(
    `SELECT v.id AS id, v.command_template AS command_template, a.id AS arg_id, a.name AS name, m.arg_type_id AS arg_type_id
       FROM task_template t LEFT JOIN task_template_version v ON v.task_template_id = t.id ${condition}
       LEFT JOIN template_arg_map m ON m.task_template_version_id = v.id LEFT JOIN arg a ON a.id = m.arg_id
      WHERE t.id = ? ORDER BY v.id, a.id`,
    [...params, task_template_id],
  );
  if (rows.length === 0) throw new JobmonError('NOT_FOUND', `there is no task template ${task_template_id}`);
  const versions = new Map<number, { command: string; args: { name: string; id: number; arg_type_id: number }[] }>();
  for (const { id, command_template: command, arg_id, name, arg_type_id } of rows) {
    if (id === null) continue;
    const version = versions.get(id) ?? { command, args: [] };
    versions.set(id, version);
    if (arg_id !== null) version.args.push({ name, id: arg_id, arg_type_id });
  }
  return [...versions].map(([id, { command, args }]): TaskTemplateVersionArray => {
    const of = (type: number): string[] => args.filter((arg) => arg.arg_type_id === type).map(({ name }) => name);
    const ids = Object.fromEntries(args.map((arg) => [arg.name, arg.id]));
    return [id, command, of(ArgType.NODE), of(ArgType.TASK), of(ArgType.OP), ids, task_template_id];
  });
}

/** E34. */
async function findTemplateOfVersion(
  { database }: Room,
  { task_template_version_id }: RequestOf<typeof getTemplateOfVersion>,
): Promise<ReplyOf<typeof getTemplateOfVersion>> {
  const sql = 'SELECT task_template_id FROM task_template_version WHERE id = ?';
  const [version] = await database.read<{ task_template_id: number }>(sql, [task_template_version_id]);
  if (version === undefined) throw new JobmonError('NOT_FOUND', `there is no task template version ${task_template_version_id}`);
  return version;
}
