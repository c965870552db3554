/** Requests of a small workflow as the SDK would send them, with hashes that only need to differ. For specs. */
import { createHash } from 'node:crypto';
import type { Served } from './serve';
import { call, type Json } from './serve';

/** Decimal digits of a hash of the parts. */
export function digits(...parts: unknown[]): string {
  return BigInt(`0x${createHash('sha256').update(JSON.stringify(parts)).digest('hex')}`).toString();
}

export interface Template {
  tool_version_id: number;
  task_template_version_id: number;
}

export async function ok(served: Served, method: string, path: string, body?: unknown): Promise<Json> {
  const answered = await call(served, method, path, body);
  if (answered.status !== 200) throw new Error(`${method} ${path} answered ${answered.status}: ${answered.text.slice(0, 500)}`);
  return answered.json;
}

/** A tool with a template that has the node argument `n` and the task argument `t`. */
export async function makeTemplate(served: Served, name: string): Promise<Template> {
  const { tool_version_id } = await ok(served, 'POST', '/api/v4/tools', { name });
  const { task_template_version_id } = await ok(served, 'POST', '/api/v4/task_templates', {
    tool_version_id,
    name: 'echo',
    command_template: 'echo {n} {t}',
    node_args: ['n'],
    task_args: ['t'],
    op_args: [],
    arg_mapping_hash: '17',
  });
  return { tool_version_id, task_template_version_id };
}

export function workflowRequest(
  template: Template,
  name: string,
  changes: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    tool_version_id: template.tool_version_id,
    name,
    workflow_args: name,
    workflow_args_hash: digits('args', name),
    task_hash: digits('tasks', name),
    dag_hash: digits('dag', name),
    ...changes,
  };
}

export function taskRequest(
  template: Template,
  position: number,
  changes: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    task_template_version_id: template.task_template_version_id,
    node_args: { n: String(position) },
    node_args_hash: digits('node', position),
    task_args: { t: 'x' },
    task_args_hash: digits('task', 'x'),
    name: `echo_${position}`,
    command: `echo ${position} x`,
    max_attempts: 3,
    resources: 0,
    ...changes,
  };
}

export const SEQUENTIAL = { cluster: 'sequential', requested: { cores: 1 } };

export interface Bound {
  workflow_id: number;
  /** In the order of the positions. */
  task_ids: number[];
  node_ids: number[];
}

/** A workflow with tasks and edges, ready to be submitted. `upstreams` answers positions. */
export async function makeWorkflow(
  served: Served,
  template: Template,
  name: string,
  count: number,
  upstreams: (position: number) => number[] = () => [],
): Promise<Bound> {
  const { workflow_id } = await ok(served, 'POST', '/api/v4/workflows', workflowRequest(template, name));
  const { tasks } = await ok(served, 'POST', `/api/v4/workflows/${workflow_id}/tasks`, {
    resources: [SEQUENTIAL],
    tasks: Array.from({ length: count }, (_, position) => taskRequest(template, position)),
  });
  const bound = {
    workflow_id,
    task_ids: (tasks as [number, number][]).map(([task_id]) => task_id),
    node_ids: (tasks as [number, number][]).map(([, node_id]) => node_id),
  };
  await ok(served, 'POST', `/api/v4/workflows/${workflow_id}/edges`, { nodes: edgesOf(bound, upstreams) });
  return bound;
}

export function edgesOf({ node_ids }: Bound, upstreams: (position: number) => number[]): [number, number[], number[]][] {
  const downs = node_ids.map((): number[] => []);
  node_ids.forEach((id, position) => upstreams(position).forEach((up) => downs[up]?.push(id)));
  return node_ids.map((id, position) => [
    id,
    upstreams(position).map((up) => node_ids[up] as number),
    downs[position] as number[],
  ]);
}
