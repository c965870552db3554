/**
 * A bind as the Python client does it, request by request in its order: nodes, graph, edges, workflow, array, resources, tasks, their
 * arguments and attributes; spec/http-api-execution.md section 6.3. Two layers, each task of the second waits for one of the first.
 */
import { createHash } from 'node:crypto';
import type { Caller } from './requests';

/** What the client sends in one request. */
const CHUNK = 500;

export interface Template {
  readonly tool_version_id: number;
  readonly task_template_version_id: number;
  readonly node_arg_id: number;
  readonly task_arg_id: number;
  readonly queue_id: number;
}

export interface Bound {
  readonly workflow_id: number;
  readonly dag_id: number;
  readonly array_id: number;
  readonly task_resources_id: number;
  readonly node_ids: number[];
  readonly task_ids: number[];
}

/** As many digits as Python's hashes have: up to 78 of 256 bits, 19 of 61. */
export function digits(bits: 256 | 61, ...parts: unknown[]): string {
  const hash = BigInt(`0x${createHash('sha256').update(JSON.stringify(parts)).digest('hex')}`);
  return (bits === 256 ? hash : hash >> 195n).toString();
}

export async function makeTemplate(caller: Caller): Promise<Template> {
  const { tool } = await caller.json<{ tool: [number, string] }>('POST', '/tool', { name: 'load' });
  const { tool_version } = await caller.json<{ tool_version: [number, number] }>('POST', '/tool_version', { tool_id: tool[0] });
  const { task_template_id } = await caller.json<{ task_template_id: number }>('POST', '/task_template', {
    tool_version_id: tool_version[0],
    task_template_name: 'fit',
  });
  const { task_template_version } = await caller.json<{
    task_template_version: [number, string, string[], string[], string[], Record<string, number>, number];
  }>(
    'POST',
    `/task_template/${task_template_id}/add_version`,
    `{"command_template":"fit --location {location} --draws {draws}","arg_mapping_hash":${digits(256, 'map')},` +
      '"node_args":["location"],"task_args":["draws"],"op_args":[]}',
  );
  const { cluster } = await caller.json<{ cluster: [number] }>('GET', '/cluster/dummy');
  const { queue } = await caller.json<{ queue: [number] }>('GET', `/cluster/${cluster[0]}/queue/null.q`);
  const args = task_template_version[5];
  return {
    tool_version_id: tool_version[0],
    task_template_version_id: task_template_version[0],
    node_arg_id: args['location'] as number,
    task_arg_id: args['draws'] as number,
    queue_id: queue[0],
  };
}

/** Binds a workflow with these arguments over the graph of `count` nodes. */
export async function bind(caller: Caller, template: Template, count: number, workflow_args: string): Promise<Bound> {
  const { task_template_version_id } = template;
  const hashes = Array.from({ length: count }, (_, position) => digits(256, 'node', position));
  const chunks = Array.from({ length: Math.ceil(count / CHUNK) }, (_, chunk) =>
    Array.from({ length: Math.min(CHUNK, count - chunk * CHUNK) }, (_, at) => chunk * CHUNK + at),
  );

  const node_ids: number[] = [];
  for (const positions of chunks) {
    const { nodes } = await caller.json<{ nodes: Record<string, number> }>('POST', '/nodes', {
      nodes: positions.map((position) => ({
        task_template_version_id,
        node_args_hash: hashes[position],
        node_args: { [template.node_arg_id]: String(position) },
      })),
    });
    for (const position of positions) node_ids.push(nodes[`${task_template_version_id}:${hashes[position]}`] as number);
  }

  const { dag_id, created_date } = await caller.json<{ dag_id: number; created_date: string | null }>(
    'POST',
    '/dag',
    `{"dag_hash":${digits(61, 'dag', count)}}`,
  );
  const half = count / 2;
  if (created_date === null) {
    for (const [nth, positions] of chunks.entries()) {
      await caller.json('POST', `/dag/${dag_id}/edges`, {
        edges_to_add: positions.map((position) => ({
          node_id: node_ids[position],
          upstream_node_ids: position < half ? [] : [node_ids[position - half]],
          downstream_node_ids: position < half ? [node_ids[position + half]] : [],
        })),
        mark_created: nth === chunks.length - 1,
      });
    }
  }

  const { workflow_id } = await caller.json<{ workflow_id: number }>(
    'POST',
    '/workflow',
    `{"tool_version_id":${template.tool_version_id},"dag_id":${dag_id},"workflow_args_hash":${digits(256, workflow_args)},` +
      `"task_hash":${digits(256, 'tasks', count)},"description":"","name":"load","workflow_args":${JSON.stringify(workflow_args)},` +
      '"max_concurrently_running":2147483647,"workflow_attributes":{"site":"bench"}}',
  );
  const task_resources_id = await caller.json<number>('POST', '/task/bind_resources', {
    queue_id: template.queue_id,
    task_resources_type_id: 'O',
    requested_resources: { cores: 1, memory: 1, runtime: 600 },
  });
  const { array_id } = await caller.json<{ array_id: number }>('POST', '/array', {
    workflow_id,
    task_template_version_id,
    max_concurrently_running: 2_147_483_647,
    name: 'fit',
  });

  const task_ids: number[] = [];
  for (const [nth, positions] of chunks.entries()) {
    const names = positions.map((position) => digits(61, 'task', position));
    const { tasks } = await caller.json<{ tasks: Record<string, [number, string]> }>('PUT', '/task/bind_tasks_no_args', {
      workflow_id,
      mark_created: nth === chunks.length - 1,
      tasks: Object.fromEntries(
        positions.map((position, at) => [
          names[at],
          [
            node_ids[position],
            digits(256, 'draws', position),
            array_id,
            task_resources_id,
            `fit_location-${position}`,
            `python -m a.package.with.a.long.name --location ${position} --output /a/folder/${position}.csv`,
            3,
            false,
            { memory: 0.5, runtime: 0.5 },
            [],
          ],
        ]),
      ),
    });
    const ids = names.map((name) => tasks[name]?.[0] as number);
    task_ids.push(...ids);
    await caller.json('PUT', '/task/bind_task_args', { task_args: ids.map((id) => [id, template.task_arg_id, '1000']) });
    await caller.json('PUT', '/task/bind_task_attributes', {
      task_attributes: Object.fromEntries(ids.map((id, at) => [id, { location: String(positions[at]), note: null }])),
    });
  }
  return { workflow_id, dag_id, array_id, task_resources_id, node_ids, task_ids };
}
