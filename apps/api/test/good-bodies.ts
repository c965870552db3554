/** A body for each operation of `/api/v4` that takes one, which it accepts but for the ids in it. For specs that go through all of them. */
import { SEQUENTIAL, taskRequest, workflowRequest, type Template } from './definitions';

export const UNKNOWN_ID = 2_000_000_000;

export function goodBodies(template: Template): Record<string, Record<string, unknown>> {
  return {
    'api_token.create': { name: 'x', role: 'reader', expires_in_seconds: 60 },
    'api_token.revoke': {},
    'tool.register': { name: 'x' },
    'tool.add_version': {},
    'task_template.usage': {},
    'task_template.register': {
      tool_version_id: template.tool_version_id,
      name: 'x',
      command_template: 'x',
      node_args: [],
      task_args: [],
      op_args: [],
      arg_mapping_hash: '1',
    },
    'workflow.register': workflowRequest(template, 'x', { description: 'x', max_concurrently_running: 1, attributes: {} }),
    'task.register': { resources: [SEQUENTIAL], tasks: [taskRequest(template, 0)] },
    'dag.register_edges': { nodes: [] },
    'workflow.submit': { user: 'x', working_directory: '/', client_version: 'x' },
    'agent.register': {
      hostname: 'x',
      user: 'x',
      any_user: true,
      clusters: ['dummy'],
      state_directory: 'x',
      process_id: 1,
      version: 'x',
      cores: 1,
      memory_gib: 1,
    },
    'agent.lease': { wanted: { dummy: { slots: 1, cores: 1, memory_gib: 1 } }, wait_seconds: 0 },
    'agent.orders': { killing: [], is_draining: false, wait_seconds: 0 },
    'agent.leave': {},
    'agent.drain': { user: 'x' },
    'agent.restore': { user: 'x' },
    'agent.report': { reports: [{ task_instance_id: UNKNOWN_ID, status: 'D' }] },
    'agent.beat': { running: [] },
    'workflow.pause': { user: 'x', reason: 'x' },
    'workflow.drain': { user: 'x', reason: 'x' },
    'workflow.cancel': { user: 'x', reason: 'x' },
    'workflow.resume': {
      user: 'x',
      reason: 'x',
      mode: 'hot',
      resources: [{ task_template: 'x', times: { memory: 2 }, set: { cores: 1, cluster: 'dummy', queue: 'null.q' } }],
      working_directory: '/x',
      client_version: 'x',
    },
    'workflow.retry': {
      user: 'x',
      reason: 'x',
      task_ids: [UNKNOWN_ID],
      with_downstream: true,
      working_directory: '/x',
      client_version: 'x',
    },
    'workflow.start_over': { user: 'x', reason: 'x', keep_done: true },
    'workflow.set_limits': { user: 'x', reason: 'x', max_concurrently_running: 1, task_templates: { x: 1 } },
    'workflow.set_priority': { user: 'x', reason: 'x', priority: 1 },
  };
}
