/** Workflows as clients bind them: E41 to E43. */
import { z } from 'zod';
import { HashNumber, Id, Limit } from '../id';
import { operation, type Operation } from '../operation';

/** Name to value; null declares a name. 255 is the width of both columns. */
const Attributes = z.record(z.string().min(1).max(255), z.union([z.string().max(255), z.number().transform(String), z.null()]));

/** A limit; digits as text are taken too (spec/http-api-execution.md trap 15). */
const LimitNumber = z.union([
  Limit,
  z
    .string()
    .regex(/^[0-9]{1,10}$/, 'must be a whole number')
    .transform(Number)
    .pipe(Limit),
]);

/**
 * E42. Clients look for other workflows with their arguments before they bind one, and refuse by themselves to go on when tool
 * version and arguments are the same and tasks or graph are not. MALFORMED (400) when the path is no integer.
 */
export const listMatchingWorkflows = operation({
  protocol: 'E42',
  name: 'workflow.list_matching',
  owner: 'api',
  summary: 'Workflows with the same workflow arguments.',
  http: { method: 'GET', path: '/api/v3/workflow/{workflow_args_hash}' },
  // Any text: a hash that is no number is 400 here, where every other parameter of a path is 422.
  request: z.object({ workflow_args_hash: z.string() }),
  /** `[task_hash, tool_version_id, dag_hash]` each, hashes as digits: clients compare them as text. */
  reply: z.object({ matching_workflows: z.array(z.tuple([z.string(), z.number().int().nullable(), z.string()])) }),
});

/**
 * E41. A workflow is what it is made of: tool version, graph, arguments and tasks (spec/data-model.md section 4). Two callers at one time
 * are given the same one. A found one keeps its status; description, name and limit become the request's, attributes are set.
 * NOT_FOUND for an unknown tool version or graph; MALFORMED for a text beyond its column.
 */
export const bindWorkflow = operation({
  protocol: 'E41',
  name: 'workflow.bind',
  owner: 'api',
  summary: 'Find or make a workflow by its identity.',
  http: { method: 'POST', path: '/api/v3/workflow', lossless: true },
  request: z.object({
    tool_version_id: Id,
    dag_id: Id,
    workflow_args_hash: HashNumber,
    task_hash: HashNumber,
    /** At most 65,535 bytes, as are the arguments. */
    description: z.string().nullable(),
    name: z.string().max(255).nullable(),
    workflow_args: z.string().nullable(),
    max_concurrently_running: LimitNumber,
    workflow_attributes: Attributes,
  }),
  reply: z.object({ workflow_id: z.number().int(), status: z.string(), newly_created: z.boolean() }),
});

/** E43. NOT_FOUND for an unknown workflow. */
export const setWorkflowAttributes = operation({
  protocol: 'E43',
  name: 'workflow.set_attributes',
  owner: 'api',
  summary: 'Set attributes of a workflow.',
  http: { method: 'PUT', path: '/api/v3/workflow/{workflow_id}/workflow_attributes' },
  request: z.object({ workflow_id: Id, workflow_attributes: Attributes }),
  reply: z.object({}),
});

export const WORKFLOW_OPERATIONS: readonly Operation[] = [listMatchingWorkflows, bindWorkflow, setWorkflowAttributes];
