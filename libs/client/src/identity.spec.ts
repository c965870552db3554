import { createHash } from 'node:crypto';
import {
  argMappingHash,
  dagHash,
  nodeArgsHash,
  nodeHash,
  taskArgsHash,
  taskHash,
  workflowArgsHash,
  workflowTaskHash,
  type Graph,
} from './identity';
import recorded from './identity.fixture.json';

/** Argument ids ascending, and the values in that order. */
function byId(values: Record<string, string | undefined>): [number[], string[]] {
  const ids = Object.keys(values)
    .map(Number)
    .sort((a, b) => a - b);
  return [ids, ids.map((id) => values[id]!)];
}

/** Compressed rows of a list of downstream lists. */
function graphOf(downstreams: readonly (readonly number[])[]): Graph {
  const offsets = new Uint32Array(downstreams.length + 1);
  downstreams.forEach((targets, node) => (offsets[node + 1] = offsets[node]! + targets.length));
  return { offsets, targets: Uint32Array.from(downstreams.flat()) };
}

test.each(recorded.templates)('arguments of recorded template version $task_template_version_id', (template) => {
  expect(argMappingHash(template.node_args, template.task_args, template.op_args)).toBe(template.arg_mapping_hash);
});

describe.each(recorded.workflows)('what another client sent: $recorded', (workflow) => {
  test('arguments, nodes and tasks', () => {
    for (const task of workflow.tasks) {
      // Clients before 3.4.0 joined node arguments without a separator, as task arguments are joined still.
      const hashNodeArgs = workflow.joins_node_args_with === '_' ? nodeArgsHash : taskArgsHash;
      expect(hashNodeArgs(...byId(task.node_args))).toBe(task.node_args_hash);
      expect(taskArgsHash(...byId(task.task_args))).toBe(task.task_args_hash);
      const node = nodeHash(task.node_args_hash, task.task_template_version_id);
      expect(taskHash(node, task.task_args_hash).toString()).toBe(task.task_hash);
    }
  });

  test('graph, tasks and workflow arguments', () => {
    const nodes = workflow.tasks.map((task) => nodeHash(task.node_args_hash, task.task_template_version_id));
    const downstreams = workflow.tasks.map((upstream) =>
      workflow.tasks.flatMap((task, index) => ((task.upstream_node_ids as number[]).includes(upstream.node_id) ? [index] : [])),
    );
    expect(dagHash(BigUint64Array.from(nodes), graphOf(downstreams))).toBe(workflow.dag_hash);
    const tasks = BigUint64Array.from(workflow.tasks, (task) => BigInt(task.task_hash));
    expect(workflowTaskHash(tasks)).toBe(workflow.task_hash);
    expect(workflowArgsHash(workflow.workflow_args)).toBe(workflow.workflow_args_hash);
  });
});

test('names are sorted inside their kind, ids are numbers and not text', () => {
  expect(argMappingHash(['b', 'a'], ['d', 'c'], [])).toBe(argMappingHash(['a', 'b'], ['c', 'd'], []));
  expect(argMappingHash(['a'], ['b'], [])).not.toBe(argMappingHash(['b'], ['a'], []));
  expect(nodeArgsHash([2, 10], ['x', 'y'])).toBe(BigInt(`0x${createHash('sha256').update('2_10_x_y').digest('hex')}`).toString());
});

test('the graph’s hash follows its definition for many downstreams and does not depend on the order of tasks', () => {
  const count = 2_000;
  const hashes = Array.from({ length: count }, (_, i) => nodeHash(String(i), 1));
  const downstreams = hashes.map((_, i) => Array.from({ length: i % 7 }, (__, k) => (i * 31 + k * 17 + 1) % count));
  const sorted = (list: bigint[]) => [...list].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const indexOf = new Map(hashes.map((hash, index) => [hash, index]));
  const text = sorted(hashes)
    .map((hash) => `${hash}${sorted(downstreams[indexOf.get(hash)!]!.map((i) => hashes[i]!)).join('')}`)
    .join('');
  const expected = BigInt(`0x${createHash('sha256').update(text).digest('hex')}`) % (2n ** 61n - 1n);
  expect(dagHash(BigUint64Array.from(hashes), graphOf(downstreams))).toBe(expected.toString());
  const reversed = downstreams.map((_, i) => downstreams[count - 1 - i]!.map((k) => count - 1 - k));
  expect(dagHash(BigUint64Array.from([...hashes].reverse()), graphOf(reversed))).toBe(expected.toString());
});

test('no tasks and no nodes hash the empty text', () => {
  expect(workflowTaskHash(new BigUint64Array(0))).toBe(workflowArgsHash(''));
  expect(dagHash(new BigUint64Array(0), graphOf([]))).toMatch(/^\d{1,19}$/);
});
