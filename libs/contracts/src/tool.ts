/** Tools, task templates, clusters: the definitions that workflows are made from. */
import { z } from 'zod';
import { HashDigits, Id } from './id';
import { operation } from './operation';

/** Finds or makes a tool and its newest version. */
export const registerTool = operation({
  name: 'tool.register',
  owner: 'api',
  summary: 'Find or make a tool and its newest version.',
  http: { method: 'POST', path: '/api/v4/tools' },
  request: z.object({ name: z.string().min(1).max(255) }),
  reply: z.object({ tool_id: z.number().int(), tool_version_id: z.number().int() }),
});

/** A new version of a tool, which is the newest from then on. Workflows of other versions stay what they are. */
export const addVersionOfTool = operation({
  name: 'tool.add_version',
  owner: 'api',
  summary: 'Make a new version of a tool.',
  http: { method: 'POST', path: '/api/v4/tools/{tool_id}/versions' },
  request: z.object({ tool_id: Id }),
  reply: z.object({ tool_version_id: z.number().int() }),
});

export const listVersionsOfTool = operation({
  name: 'tool.versions',
  owner: 'api',
  summary: 'Versions of a tool, oldest first.',
  http: { method: 'GET', path: '/api/v4/tools/{tool_id}/versions' },
  request: z.object({ tool_id: Id }),
  reply: z.object({ tool_version_ids: z.array(z.number().int()) }),
});

const ArgNames = z.array(z.string().min(1).max(255)).max(1_000);

/** Finds or makes a task template and the version with this command and these arguments. */
export const registerTaskTemplate = operation({
  name: 'task_template.register',
  owner: 'api',
  summary: 'Find or make a task template version.',
  http: { method: 'POST', path: '/api/v4/task_templates' },
  request: z.object({
    tool_version_id: Id,
    name: z.string().min(1).max(255),
    /** `{name}` placeholders; outer blanks are dropped. At most 64 KiB less one byte. */
    command_template: z.string().min(1),
    node_args: ArgNames,
    task_args: ArgNames,
    op_args: ArgNames,
    arg_mapping_hash: HashDigits,
  }),
  reply: z.object({
    task_template_id: z.number().int(),
    task_template_version_id: z.number().int(),
    /** Argument name to its id: the client hashes by id. */
    arg_ids: z.record(z.string(), z.number().int()),
  }),
});

export const ClusterView = z.object({
  cluster_id: z.number().int(),
  name: z.string(),
  /** Names the plug-in. */
  cluster_type: z.string(),
  queues: z.array(z.object({ queue_id: z.number().int(), name: z.string(), parameters: z.string() })),
});
export type ClusterView = z.output<typeof ClusterView>;

export const listClusters = operation({
  name: 'cluster.list',
  owner: 'api',
  summary: 'Clusters with their queues.',
  http: { method: 'GET', path: '/api/v4/clusters' },
  request: z.object({}),
  reply: z.object({ clusters: z.array(ClusterView) }),
});
