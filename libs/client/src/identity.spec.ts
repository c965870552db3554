import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { isLosslessNumber, parse } from 'lossless-json';
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

type Sent = Record<string, unknown>;

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

/**
 * Everything that recorded clients sent when they bound a workflow, session after session, computed again from the arguments that they sent
 * beside it: the identity of their workflows is ours.
 */
describe('the recordings', () => {
  const TRAFFIC = path.join(__dirname, '../../../apps/api/test/traffic');
  /** In the order in which they were recorded; a graph that stood already was sent in an earlier one. */
  const SESSIONS = ['sequential-workflow', 'multiprocess-workflow', 'failing-workflow', 'resume', 'client-3.3.0-multiprocess'];
  /** Hashes are numbers of up to 78 digits: as text. */
  const read = (text: string): Sent => parse(text, (_, value) => (isLosslessNumber(value) ? value.value : value)) as Sent;
  const lines = SESSIONS.flatMap((session) =>
    readFileSync(path.join(TRAFFIC, `${session}.jsonl`), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => ({ session, ...(JSON.parse(line) as Record<'path' | 'body' | 'answer', string> & { status: number }) })),
  );
  const sent = (session: string, end: string): { body: Sent; answer: Sent }[] =>
    lines
      .filter((line) => line.session === session && line.status === 200 && line.body !== '' && line.path.endsWith(end))
      .map(({ body, answer }) => ({ body: read(body), answer: read(answer) }));
  const edgesOfDag = new Map(
    SESSIONS.flatMap((session) =>
      sent(session, '/edges').map(({ body }): [string, Sent[]] => [
        sent(session, '/v3/dag')[0]!.answer.dag_id as string,
        body.edges_to_add as Sent[],
      ]),
    ),
  );

  test.each(SESSIONS)('%s: every hash of templates, nodes, tasks, graph and workflow', (session) => {
    for (const { body } of sent(session, '/add_version')) {
      const names = (kind: string): string[] => body[`${kind}_args`] as string[];
      expect(argMappingHash(names('node'), names('task'), names('op'))).toBe(body.arg_mapping_hash);
    }
    const [nodes, dag, workflow, bound, args] = [
      sent(session, '/nodes'),
      sent(session, '/v3/dag'),
      sent(session, '/v3/workflow'),
      sent(session, '/bind_tasks_no_args'),
      sent(session, '/bind_task_args'),
    ].map((all) => all[0]!);
    // Clients before 3.4.0 joined node arguments without a separator, as task arguments are joined still.
    const hashNodeArgs = session.startsWith('client-3.3') ? taskArgsHash : nodeArgsHash;
    const hashOfNode = new Map<string, bigint>();
    for (const node of nodes!.body.nodes as Sent[]) {
      const version = node.task_template_version_id as string;
      const hash = node.node_args_hash as string;
      expect(hashNodeArgs(...byId(node.node_args as Record<string, string>))).toBe(hash);
      const id = (nodes!.answer.nodes as Record<string, string>)[`${version}:${hash}`]!;
      hashOfNode.set(id, nodeHash(hash, Number(version)));
    }
    const valuesOf = new Map<string, Record<string, string>>();
    for (const [task_id, arg_id, value] of args!.body.task_args as string[][]) {
      valuesOf.set(task_id!, { ...valuesOf.get(task_id!), [arg_id!]: value! });
    }
    const tasks: bigint[] = [];
    for (const [key, [node_id, task_args_hash]] of Object.entries(bound!.body.tasks as Record<string, string[]>)) {
      const [task_id] = (bound!.answer.tasks as Record<string, string[]>)[key]!;
      expect(taskArgsHash(...byId(valuesOf.get(task_id!)!))).toBe(task_args_hash);
      tasks.push(taskHash(hashOfNode.get(node_id!)!, task_args_hash!));
      expect(tasks.at(-1)!.toString()).toBe(key);
    }
    expect(tasks).toHaveLength(5);
    const ids = [...hashOfNode.keys()];
    const edges = new Map(edgesOfDag.get(dag!.answer.dag_id as string)!.map((edge) => [edge.node_id as string, edge]));
    const downstreams = ids.map((id) =>
      (edges.get(id)!.downstream_node_ids as string[]).map((downstream) => ids.indexOf(downstream)),
    );
    expect(
      dagHash(
        BigUint64Array.from(ids, (id) => hashOfNode.get(id)!),
        graphOf(downstreams),
      ),
    ).toBe(dag!.body.dag_hash);
    expect(workflowTaskHash(BigUint64Array.from(tasks))).toBe(workflow!.body.task_hash);
    expect(workflowArgsHash(workflow!.body.workflow_args as string)).toBe(workflow!.body.workflow_args_hash);
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
