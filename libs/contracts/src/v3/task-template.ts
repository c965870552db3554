/** Task templates and their versions: E31 to E34. */
import { z } from 'zod';
import { HashNumber, Id } from '../id';
import { operation, type Operation } from '../operation';

/** E31. NOT_FOUND for an unknown tool version; a repeat answers the same id. */
export const bindTaskTemplate = operation({
  protocol: 'E31',
  name: 'task_template.bind',
  owner: 'api',
  summary: 'Find or make a task template.',
  http: { method: 'POST', path: '/api/v3/task_template' },
  request: z.object({ tool_version_id: Id, task_template_name: z.string().max(255) }),
  reply: z.object({ task_template_id: z.number().int() }),
});

/** `[id, command template, [node args], [task args], [op args], {argument's name: its id}, task_template_id]`. */
export const TaskTemplateVersionArray = z.tuple([
  z.number().int(),
  z.string(),
  z.array(z.string()),
  z.array(z.string()),
  z.array(z.string()),
  z.record(z.string(), z.number().int()),
  z.number().int(),
]);
export type TaskTemplateVersionArray = z.output<typeof TaskTemplateVersionArray>;

/** E32. Ascending by id. NOT_FOUND for an unknown template. */
export const listTaskTemplateVersions = operation({
  protocol: 'E32',
  name: 'task_template.list_versions',
  owner: 'api',
  summary: 'All versions of a task template with their arguments.',
  http: { method: 'GET', path: '/api/v3/task_template/{task_template_id}/versions' },
  request: z.object({ task_template_id: Id }),
  reply: z.object({ task_template_versions: z.array(TaskTemplateVersionArray) }),
});

/** Names of arguments of one kind; a name may stand in two kinds. 255 is the width of `arg.name`. */
const ArgNames = z.array(z.string().max(255)).max(1_000);

/**
 * E33. Sent once for each template by every run of a script, often by many at one time: found by template, command and mapping hash, or
 * made. NOT_FOUND for an unknown template; MALFORMED for a command of more than 65,535 bytes.
 */
export const bindTaskTemplateVersion = operation({
  protocol: 'E33',
  name: 'task_template_version.bind',
  owner: 'api',
  summary: 'Find or make a version of a task template.',
  http: { method: 'POST', path: '/api/v3/task_template/{task_template_id}/add_version', lossless: true },
  request: z.object({
    task_template_id: Id,
    /** Outer blanks are dropped. */
    command_template: z.string(),
    arg_mapping_hash: HashNumber,
    node_args: ArgNames,
    task_args: ArgNames,
    op_args: ArgNames,
  }),
  reply: z.object({ task_template_version: TaskTemplateVersionArray }),
});

/** E34. NOT_FOUND for an unknown version. */
export const getTemplateOfVersion = operation({
  protocol: 'E34',
  name: 'task_template_version.get_template',
  owner: 'api',
  summary: 'The task template of a version.',
  http: {
    method: 'GET',
    path: '/api/v3/task_template/id/{task_template_version_id}',
    toWire: (reply: { task_template_id: number }) => reply.task_template_id,
    wire: z.number().int(),
  },
  request: z.object({ task_template_version_id: Id }),
  reply: z.object({ task_template_id: z.number().int() }),
});

export const TASK_TEMPLATE_OPERATIONS: readonly Operation[] = [
  bindTaskTemplate,
  listTaskTemplateVersions,
  bindTaskTemplateVersion,
  getTemplateOfVersion,
];
