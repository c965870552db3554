/** Graphs of the Python protocol: nodes, graphs and edges, as many clients store them at one time. */
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases } from '@jobmon/testkit';
import {
  digits,
  edgesOf,
  makeTemplate,
  ok,
  SEQUENTIAL,
  taskRequest,
  workflowRequest,
  type Template,
} from '../../test/definitions';
import { call, serve, type Json, type Served } from '../../test/serve';

describeOnDatabases('graphs of the Python protocol', (database) => {
  let served: Served;
  let template: Template;
  /** The template's node argument. */
  let arg_id: number;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
    template = await makeTemplate(served, 'graphs');
    const [row] = await database().read<{ id: number }>("SELECT id FROM arg WHERE name = 'n'");
    arg_id = row!.id;
  });
  afterAll(() => served.close());

  const bindNodes = (nodes: unknown) => call(served, 'POST', '/api/v3/nodes?client_jobmon_version=3.6.0', { nodes });
  const node = (hash: string, value: unknown = 'x', version = template.task_template_version_id) => ({
    task_template_version_id: version,
    node_args_hash: hash,
    node_args: { [arg_id]: value },
  });
  const keyOf = (hash: string, version = template.task_template_version_id) => `${version}:${hash}`;
  /** The hash is a number of the body's text. */
  const bindDag = (hash: string) => call(served, 'POST', '/api/v3/dag?client_jobmon_version=3.6.0', `{"dag_hash": ${hash}}`);
  const addEdges = (dag_id: number | string, edges_to_add: unknown, mark_created: unknown = false) =>
    call(served, 'POST', `/api/v3/dag/${dag_id}/edges?client_jobmon_version=3.6.0`, { edges_to_add, mark_created });
  let made = 0;
  const newDag = async (): Promise<number> => {
    made += 1;
    return (await bindDag(String(made + 1_000_000))).json.dag_id as number;
  };
  /** Ascending ids. */
  const newNodes = async (mark: string, count: number): Promise<number[]> => {
    const hashes = Array.from({ length: count }, (_, n) => digits(mark, n));
    const { nodes } = (await bindNodes(hashes.map((hash) => node(hash)))).json;
    return hashes.map((hash) => nodes[keyOf(hash)] as number).sort((x, y) => x - y);
  };
  const edges = (dag_id: number) =>
    database().read(
      'SELECT node_id, upstream_node_ids AS up, downstream_node_ids AS down FROM edge WHERE dag_id = ? ORDER BY node_id',
      [dag_id],
    );
  const lists = async (dag_id: number) =>
    (await edges(dag_id)).map(({ node_id, up, down }) =>
      [node_id, up, down].map((v) => (typeof v === 'string' ? JSON.parse(v) : v)),
    );

  it('E11 makes nodes with their arguments and finds them again, keyed by version and hash', async () => {
    const [one, other] = [digits('one'), digits('other')];
    const wanted = [node(one, '3'), node(other, 'ü\u{1F40D}'), { ...node(digits('bare')), node_args: {} }];
    const { status, json } = await bindNodes(wanted);
    const ids = json.nodes;
    expect([status, Object.keys(ids)]).toEqual([200, [keyOf(one), keyOf(other), keyOf(digits('bare'))]]);
    expect(new Set(Object.values(ids)).size).toBe(3);
    const stored = 'SELECT node_id, arg_id, val FROM node_arg WHERE node_id IN (?, ?, ?) ORDER BY node_id';
    const rows = await database().read(stored, Object.values(ids) as number[]);
    expect(new Set(rows.map((row) => JSON.stringify(row)))).toEqual(
      new Set([
        JSON.stringify({ node_id: ids[keyOf(one)], arg_id, val: '3' }),
        JSON.stringify({ node_id: ids[keyOf(other)], arg_id, val: 'ü\u{1F40D}' }),
      ]),
    );
    const { transactions } = { ...database().counts };
    expect((await bindNodes([...wanted].reverse().concat(wanted))).json.nodes).toEqual(ids);
    expect(database().counts.transactions).toBe(transactions);
  });

  it('E11 takes 500 nodes of two versions, new ones beside known ones, in a fixed number of statements', async () => {
    const second = await makeTemplate(served, 'graphs, second');
    const versions = [template.task_template_version_id, second.task_template_version_id];
    const wanted = Array.from({ length: 500 }, (_, n) => node(digits('mixed', n >> 1), String(n), versions[n % 2]));
    const known = (await bindNodes(wanted.slice(0, 250))).json.nodes;
    const { statements } = { ...database().counts };
    const all = (await bindNodes(wanted)).json.nodes;
    // One reads what stands, two check the ids, three write and read back; MariaDB counts BEGIN and COMMIT too.
    expect(database().counts.statements - statements).toBeLessThanOrEqual(8);
    expect(Object.keys(all)).toHaveLength(500);
    expect(all).toMatchObject(known);
    expect(new Set(Object.values(all)).size).toBe(500);
  });

  it('E11 takes 5,000 nodes in one request', async () => {
    const wanted = Array.from({ length: 5_000 }, (_, n) => node(digits('many', n), String(n)));
    const { status, json } = await bindNodes(wanted);
    expect([status, new Set(Object.values(json.nodes)).size]).toEqual([200, 5_000]);
  });

  it('E11 makes each node once, with its argument, for many callers with overlapping nodes in any order', async () => {
    const all = Array.from({ length: 200 }, (_, n) => node(digits('overlapping', n), String(n)));
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, caller) => {
        const window = all.slice(caller * 15, caller * 15 + 90);
        return bindNodes(caller % 2 === 0 ? window : window.reverse());
      }),
    );
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    const ids = new Map<string, Set<number>>();
    for (const { json } of answers) {
      for (const [key, id] of Object.entries(json.nodes as Record<string, number>))
        ids.set(key, (ids.get(key) ?? new Set()).add(id));
    }
    expect(ids.size).toBe(195);
    expect([...ids.values()].filter((found) => found.size !== 1)).toEqual([]);
    const list = [...ids.values()].map(([id]) => id).join(', ');
    const rows = await database().read<{ nodes: number; args: number }>(
      `SELECT COUNT(DISTINCT n.id) AS nodes, COUNT(a.val) AS args FROM node n LEFT JOIN node_arg a ON a.node_id = n.id WHERE n.id IN (${list})`,
    );
    expect(rows).toEqual([{ nodes: 195, args: 195 }]);
  });

  it('E11 refuses what it cannot store, and makes no node of the request', async () => {
    const good = node(digits('never made'));
    const hash = digits('bad');
    for (const [status, bad] of [
      [404, node(hash, 'x', 99_999)],
      [404, { ...node(hash), node_args: { 99999: 'x' } }],
      [400, { ...node(hash), node_args: { n: 'x' } }],
      [400, node(hash, 'x'.repeat(2_049))],
      [400, node(hash, null)],
      [400, node(hash, ['x'])],
      [400, node('abc')],
      [400, node('')],
      [400, node('1'.repeat(151))],
      [400, { ...node(hash), node_args: undefined }],
      [400, { ...node(hash), node_args: [] }],
      [400, 7],
    ] as const) {
      expect([(await bindNodes([good, bad])).status, bad]).toEqual([status, bad]);
    }
    for (const nodes of [undefined, null, {}, 'x']) expect((await bindNodes(nodes)).status).toBe(400);
    expect(await database().read('SELECT id FROM node WHERE node_args_hash IN (?, ?)', [digits('never made'), hash])).toEqual([]);
    expect((await bindNodes([])).json).toEqual({ nodes: {} });
  });

  it('E9 finds the graph again by every digit of its hash, once for all callers at one time', async () => {
    // Two neighbours that are one number to JSON.parse.
    const [one, other] = ['2244519120726179502', '2244519120726179503'];
    expect(Number(one)).toBe(Number(other));
    const answers = await Promise.all(Array.from({ length: 16 }, () => bindDag(one)));
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(answers[0]?.json).toEqual({ dag_id: expect.any(Number), created_date: null });
    expect((await bindDag(other)).json.dag_id).not.toBe(answers[0]?.json.dag_id);
    expect((await bindDag(`"${one}"`)).text).toBe(answers[0]?.text);
    expect(await database().read('SELECT hash FROM dag WHERE id = ?', [answers[0]?.json.dag_id])).toEqual([{ hash: one }]);
    expect((await bindDag('17')).json).toEqual({ dag_id: expect.any(Number), created_date: null });
    expect((await bindDag('17')).json).toEqual((await bindDag('"17"')).json);
  });

  it.each(['-1', '1.5', '1e30', 'null', '"x"', '[1]', '{}', '1'.repeat(79), 'true'])('E9 refuses %s for a hash', async (hash) => {
    expect((await bindDag(hash)).status).toBe(400);
  });

  it('E9 refuses a body without its hash, and one that is not JSON', async () => {
    for (const body of ['{}', '[]', '{"dag_hash": 12345678901234567890', '']) {
      expect((await call(served, 'POST', '/api/v3/dag', body)).status).toBe(400);
    }
  });

  it('E10 stores lists, NULL for empty ones, and stamps the graph with the last piece', async () => {
    const dag_id = await newDag();
    const [a, b, c] = (await newNodes('stored', 3)) as [number, number, number];
    const first = await addEdges(dag_id, [{ node_id: a, upstream_node_ids: [], downstream_node_ids: [b, c] }]);
    expect([first.status, first.json]).toEqual([200, {}]);
    expect((await bindDag(String(made + 1_000_000))).json).toEqual({ dag_id, created_date: null });
    await addEdges(
      dag_id,
      [
        { node_id: b, upstream_node_ids: [a], downstream_node_ids: null },
        { node_id: c, upstream_node_ids: [a, a] },
      ],
      true,
    );
    expect(await lists(dag_id)).toEqual([
      [a, null, [b, c]],
      [b, [a], null],
      [c, [a], null],
    ]);
    const nulls =
      'SELECT COUNT(*) AS n FROM edge WHERE dag_id = ? AND (upstream_node_ids IS NULL) + (downstream_node_ids IS NULL) = 1';
    expect(await database().read(nulls, [dag_id])).toEqual([{ n: 3 }]);
    expect((await bindDag(String(made + 1_000_000))).json).toEqual({
      dag_id,
      created_date: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/),
    });
  });

  it('E10 ignores an empty list of nodes, but for its mark', async () => {
    const dag_id = await newDag();
    expect((await addEdges(dag_id, [])).json).toEqual({});
    expect((await bindDag(String(made + 1_000_000))).json.created_date).toBeNull();
    expect(await edges(dag_id)).toEqual([]);
    expect((await addEdges(dag_id, [], true)).json).toEqual({});
    expect((await bindDag(String(made + 1_000_000))).json.created_date).not.toBeNull();
    expect(await database().read('SELECT node_id FROM edge WHERE dag_id = 0 OR node_id = 0')).toEqual([]);
  });

  it('E10 changes nothing when it is repeated, nor on a complete graph', async () => {
    const dag_id = await newDag();
    const [a, b] = (await newNodes('repeated', 2)) as [number, number];
    await addEdges(dag_id, [{ node_id: a, upstream_node_ids: [], downstream_node_ids: [b] }]);
    await addEdges(dag_id, [{ node_id: a, upstream_node_ids: [b], downstream_node_ids: [] }], true);
    expect(await lists(dag_id)).toEqual([[a, null, [b]]]);
    await database().write({ label: 'test' }, function* () {
      yield { sql: "UPDATE dag SET created_date = '2024-05-01 10:00:00' WHERE id = ?", params: [dag_id] };
    });
    expect((await addEdges(dag_id, [{ node_id: b, upstream_node_ids: [a] }], true)).json).toEqual({});
    expect(await lists(dag_id)).toEqual([[a, null, [b]]]);
    expect((await bindDag(String(made + 1_000_000))).json.created_date).toBe('2024-05-01 10:00:00');
  });

  it('E10 lets two clients store one graph at one time', async () => {
    const dag_id = await newDag();
    const ids = await newNodes('two clients', 400);
    const rows = ids.map((node_id, at) => ({
      node_id,
      upstream_node_ids: at === 0 ? [] : [ids[at - 1]],
      downstream_node_ids: at === 399 ? [] : [ids[at + 1]],
    }));
    const client = async (pieces: unknown[][]): Promise<number[]> => {
      const statuses: number[] = [];
      for (const [nth, piece] of pieces.entries())
        statuses.push((await addEdges(dag_id, piece, nth === pieces.length - 1)).status);
      return statuses;
    };
    const pieces = [0, 100, 200, 300].map((from) => rows.slice(from, from + 100));
    const statuses = await Promise.all([client(pieces), client(pieces), client([rows])]);
    expect(new Set(statuses.flat())).toEqual(new Set([200]));
    expect(await lists(dag_id)).toEqual(
      rows.map((row) => [
        row.node_id,
        ...[row.upstream_node_ids, row.downstream_node_ids].map((list) => (list.length ? list : null)),
      ]),
    );
  });

  it('E10 carries a node with 100,000 neighbours', async () => {
    const dag_id = await newDag();
    const [node_id] = await newNodes('wide', 1);
    const down = Array.from({ length: 100_000 }, (_, n) => n + 1);
    expect((await addEdges(dag_id, [{ node_id, upstream_node_ids: [], downstream_node_ids: down }], true)).status).toBe(200);
    const [row] = await lists(dag_id);
    expect((row as Json[])[2]).toHaveLength(100_000);
  });

  it('E10 refuses what it does not know, and stores nothing', async () => {
    const dag_id = await newDag();
    const [a] = await newNodes('refused', 1);
    const good = { node_id: a, upstream_node_ids: [], downstream_node_ids: [] };
    expect((await addEdges(99_999, [good])).status).toBe(404);
    expect((await addEdges('abc', [good])).status).toBe(422);
    expect((await addEdges(dag_id, [good, { ...good, node_id: 999_999 }], true)).status).toBe(404);
    for (const list of [
      undefined,
      null,
      {},
      [7],
      [{}],
      [{ ...good, node_id: 0 }],
      [{ ...good, upstream_node_ids: 7 }],
      [{ ...good, upstream_node_ids: ['x'] }],
    ]) {
      expect((await addEdges(dag_id, list)).status).toBe(400);
    }
    for (const mark of [undefined, null, 'yes', 1]) {
      const { status } = await call(served, 'POST', `/api/v3/dag/${dag_id}/edges`, { edges_to_add: [good], mark_created: mark });
      expect(status).toBe(400);
    }
    expect(await edges(dag_id)).toEqual([]);
    expect((await bindDag(String(made + 1_000_000))).json.created_date).toBeNull();
  });

  it('E10 leaves a graph that the server can prove and run', async () => {
    const hash = digits('for the server', database().dialect.name);
    const { workflow_id, dag_id } = await ok(
      served,
      'POST',
      '/api/v4/workflows',
      workflowRequest(template, 'for the server', { dag_hash: hash }),
    );
    expect((await bindDag(hash)).json).toEqual({ dag_id, created_date: null });
    const { tasks } = await ok(served, 'POST', `/api/v4/workflows/${workflow_id}/tasks`, {
      resources: [SEQUENTIAL],
      tasks: [0, 1, 2].map((position) => taskRequest(template, position)),
    });
    const node_ids = tasks.map(([, id]: [number, number]) => id);
    const submit = () =>
      call(served, 'POST', `/api/v4/workflows/${workflow_id}/submit`, {
        user: 'ann',
        working_directory: '/tmp',
        client_version: '9',
      });
    expect((await submit()).json.error.details.rule).toBe('no_edges');
    const rows = edgesOf({ workflow_id, task_ids: [], node_ids }, (position) => (position === 2 ? [0, 1] : []));
    const edges_to_add = rows.map(([node_id, upstream_node_ids, downstream_node_ids]) => ({
      node_id,
      upstream_node_ids,
      downstream_node_ids,
    }));
    expect((await addEdges(dag_id, edges_to_add, true)).json).toEqual({});
    expect((await submit()).status).toBe(200);
  });
});
