/** Tools and their versions: E36 to E40. */
import { z } from 'zod';
import { Id } from '../id';
import { operation, type Operation } from '../operation';

/** E36. The first request of every client. A name is a tool's only identity, and a repeat answers the same id. */
export const bindTool = operation({
  protocol: 'E36',
  name: 'tool.bind',
  owner: 'api',
  summary: 'Find or make a tool.',
  http: { method: 'POST', path: '/api/v3/tool' },
  request: z.object({ name: z.string().max(255) }),
  /** `[id, name]`. */
  reply: z.object({ tool: z.tuple([z.number().int(), z.string()]) }),
});

/**
 * E37. Ascending by id: clients take the last one for the newest. None for a tool that does not exist. Whoever is told that a tool has
 * none is expected to ask for one (E39), see there.
 */
export const listToolVersions = operation({
  protocol: 'E37',
  name: 'tool.list_versions',
  owner: 'api',
  summary: 'All versions of a tool.',
  http: { method: 'GET', path: '/api/v3/tool/{tool_id}/tool_versions' },
  request: z.object({ tool_id: Id }),
  /** `[id, tool_id]` each. */
  reply: z.object({ tool_versions: z.array(z.tuple([z.number().int(), z.number().int()])) }),
});

/**
 * E39. Each call makes another version, by contract; a repeat does no harm. But several callers that found no version (E37) within a
 * minute, each making the first one, are given the same: as many calls as were told so. NOT_FOUND for an unknown tool.
 */
export const addToolVersion = operation({
  protocol: 'E39',
  name: 'tool_version.add',
  owner: 'api',
  summary: 'Make a new version of a tool.',
  http: { method: 'POST', path: '/api/v3/tool_version' },
  request: z.object({ tool_id: Id }),
  /** `[id, tool_id]`. */
  reply: z.object({ tool_version: z.tuple([z.number().int(), z.number().int()]) }),
});

/** E40. NOT_FOUND for an unknown version. */
export const listTemplatesOfToolVersion = operation({
  protocol: 'E40',
  name: 'tool_version.list_task_templates',
  owner: 'api',
  summary: 'Task templates of a tool version.',
  http: { method: 'GET', path: '/api/v3/tool_version/{tool_version_id}/task_templates' },
  request: z.object({ tool_version_id: Id }),
  /** `[id, tool_version_id, name]` each. */
  reply: z.object({ task_templates: z.array(z.tuple([z.number().int(), z.number().int(), z.string()])) }),
});

/** One argument of the node of a done task, with what its attempt used. */
const ToolResourceUsage = z.object({
  ti_id: z.number().int(),
  /** Seconds, as the text that the usage integrator wrote. */
  ti_wallclock: z.string().nullable(),
  /** Bytes, likewise. */
  ti_maxrss: z.string().nullable(),
  node_arg_val: z.string(),
  /** JSON as stored. */
  ti_requested_resources: z.string(),
});

/**
 * E38. What done attempts of done tasks used, in workflows of the tool that were made between two days, both whole; nothing for a tool that
 * does not exist. Days are `YYYY-MM-DD`, at most seven apart: MALFORMED otherwise, as a bare sentence under `error`.
 */
export const listToolResourceUsage = operation({
  protocol: 'E38',
  name: 'tool.list_resource_usage',
  owner: 'api',
  summary: 'What the done tasks of a tool used within a week.',
  http: {
    method: 'GET',
    path: '/api/v3/tool/{tool_name}/tool_resource_usage',
    toWire: (reply: { usage: unknown }) => reply.usage,
    wire: z.array(ToolResourceUsage),
  },
  request: z.object({ tool_name: z.string(), start_date: z.string().optional(), end_date: z.string().optional() }),
  reply: z.object({ usage: z.array(ToolResourceUsage) }),
});

export const TOOL_OPERATIONS: readonly Operation[] = [
  bindTool,
  listToolVersions,
  addToolVersion,
  listTemplatesOfToolVersion,
  listToolResourceUsage,
];
