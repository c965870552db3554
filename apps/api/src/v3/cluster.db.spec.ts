/** Clusters and queues as the Python protocol reads them. */
import { describeOnDatabases } from '@jobmon/testkit';
import { call, serve, type Served } from '../../test/serve';

describeOnDatabases('clusters of the Python protocol', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database());
  });
  afterAll(() => served.close());

  const get = (path: string) => call(served, 'GET', `/api/v3${path}?client_jobmon_version=3.6.0`);
  const write = (sql: string, ...params: (string | number)[]) => database().change(sql, ...params);

  it('E8 answers a seeded cluster, and null for a name that nobody has', async () => {
    const { status, json } = await get('/cluster/multiprocess');
    expect([status, json]).toEqual([200, { cluster: [3, 'multiprocess', 'multiprocess', null] }]);
    for (const name of ['nope', 'Multiprocess', '99', 'x'.repeat(400)]) {
      const unknown = await get(`/cluster/${name}`);
      expect([unknown.status, unknown.json]).toEqual([200, { cluster: null }]);
    }
  });

  it('E8 E12 answer parameters exactly as stored, and see at once what another program changed', async () => {
    const parameters = '{"host": "ä/\\"b\\"", "port": 22,  "opts": null}';
    const name = 'site cluster/ä';
    const cluster_id = await write(
      'INSERT INTO cluster (name, cluster_type_id, connection_parameters) SELECT ?, id, ? FROM cluster_type WHERE name = ?',
      name,
      parameters,
      'dummy',
    );
    const path = `/cluster/${encodeURIComponent(name)}`;
    expect((await get(path)).json).toEqual({ cluster: [cluster_id, name, 'dummy', parameters] });
    const limits = "{'cores': (1,20),  'extra': [True, None]}";
    const queue_id = await write(
      'INSERT INTO queue (name, cluster_id, parameters) VALUES (?, ?, ?)',
      'long.q',
      cluster_id,
      limits,
    );
    expect((await get(`/cluster/${cluster_id}/queue/long.q`)).json).toEqual({ queue: [queue_id, 'long.q', limits] });
    await write("UPDATE cluster SET connection_parameters = '{}' WHERE id = ?", cluster_id);
    await write("UPDATE queue SET parameters = '{}' WHERE id = ?", queue_id);
    expect((await get(path)).json.cluster[3]).toBe('{}');
    expect((await get(`/cluster/${cluster_id}/queue/long.q`)).json.queue[2]).toBe('{}');
  });

  it("E12 answers the seeded queue with a Python literal, and null for another cluster's", async () => {
    const { json } = await get('/cluster/3/queue/null.q');
    expect(json).toEqual({ queue: [expect.any(Number), 'null.q', expect.stringMatching(/^\{"cores": [([]1, ?20[)\]]\}$/)] });
    for (const path of ['/cluster/3/queue/nope', '/cluster/99/queue/null.q']) {
      const unknown = await get(path);
      expect([unknown.status, unknown.json]).toEqual([200, { queue: null }]);
    }
    expect((await get('/cluster/abc/queue/null.q')).status).toBe(422);
  });
});
