/** Task templates of the Python protocol: found or made, with arguments that are shared by all templates. */
import { describeOnDatabases } from '@jobmon/testkit';
import { call, serve, type Json, type Served } from '../../test/serve';

/** As a client sends it: a number of 78 digits, which no number of JavaScript holds. */
const HASH = '115792089237316195423570985008687907853269984665640564039457584007913129639935';

describeOnDatabases('task templates of the Python protocol', (database) => {
  let served: Served;
  let tool_version_id: number;
  beforeAll(async () => {
    served = await serve(database());
    const { tool } = (await call(served, 'POST', '/api/v3/tool', { name: 'templates' })).json;
    tool_version_id = (await call(served, 'POST', '/api/v3/tool_version', { tool_id: tool[0] })).json.tool_version[0];
  });
  afterAll(() => served.close());

  const bind = (name: string, version: unknown = tool_version_id) =>
    call(served, 'POST', '/api/v3/task_template?client_jobmon_version=3.6.0', {
      tool_version_id: version,
      task_template_name: name,
    });
  const newTemplate = async (name: string): Promise<number> => (await bind(name)).json.task_template_id as number;
  /** The body is text, as the hash is a number in it. */
  const addVersion = (template: number | string, changes: Record<string, unknown> = {}, hash = HASH) => {
    const body = { command_template: 'echo {loc} {v}', node_args: ['loc'], task_args: ['v'], op_args: [], ...changes };
    const text = JSON.stringify({ ...body, arg_mapping_hash: '#' }).replace('"#"', hash);
    return call(served, 'POST', `/api/v3/task_template/${template}/add_version?client_jobmon_version=3.6.0`, text);
  };
  const versions = async (template: number): Promise<Json> =>
    (await call(served, 'GET', `/api/v3/task_template/${template}/versions?client_jobmon_version=3.6.0`)).json;

  it('E31 finds the template again under its name, one for all callers at one time', async () => {
    const answers = await Promise.all(Array.from({ length: 16 }, () => bind('stage_one')));
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(answers[0]?.json).toEqual({ task_template_id: expect.any(Number) });
    const { transactions } = { ...database().counts };
    expect((await bind('stage_one', String(tool_version_id))).text).toBe(answers[0]?.text);
    expect(database().counts.transactions).toBe(transactions);
    expect((await bind('Stage_one')).json).not.toEqual(answers[0]?.json);
  });

  it('E31 refuses an unknown tool version and what no column holds', async () => {
    const unknown = await bind('stage_one', 99_999);
    expect([unknown.status, unknown.json.error.type]).toEqual([404, 'NOT_FOUND']);
    for (const [name, version] of [
      ['x'.repeat(256), tool_version_id],
      ['a\0b', tool_version_id],
      [undefined, tool_version_id],
      ['x', null],
      ['x', 'one'],
      ['x', -1],
    ]) {
      expect((await bind(name as string, version)).status).toBe(400);
    }
    expect((await call(served, 'POST', '/api/v3/task_template', { task_template_name: 'x' })).status).toBe(400);
  });

  it('E33 makes a version with its arguments, and E32 lists it in the same form', async () => {
    const template = await newTemplate('with a version');
    expect(await versions(template)).toEqual({ task_template_versions: [] });
    const { status, json } = await addVersion(template, { command_template: '  echo {loc} {v}\n', op_args: ['sh'] });
    const [id, , , , , ids] = json.task_template_version;
    expect([status, json]).toEqual([
      200,
      { task_template_version: [expect.any(Number), 'echo {loc} {v}', ['loc'], ['v'], ['sh'], ids, template] },
    ]);
    expect(Object.keys(ids).sort()).toEqual(['loc', 'sh', 'v']);
    expect(new Set(Object.values(ids)).size).toBe(3);
    expect(await versions(template)).toEqual({ task_template_versions: [json.task_template_version] });
    expect(
      await database().read('SELECT command_template, arg_mapping_hash FROM task_template_version WHERE id = ?', [id]),
    ).toEqual([{ command_template: 'echo {loc} {v}', arg_mapping_hash: HASH }]);
    expect(
      await database().read('SELECT arg_id, arg_type_id FROM template_arg_map WHERE task_template_version_id = ? ORDER BY 2', [
        id,
      ]),
    ).toEqual([
      { arg_id: ids.loc, arg_type_id: 1 },
      { arg_id: ids.v, arg_type_id: 2 },
      { arg_id: ids.sh, arg_type_id: 3 },
    ]);
  });

  it('E33 answers the same version to a repeat without a write, whether its hash comes as a number or as digits', async () => {
    const template = await newTemplate('repeated');
    const first = await addVersion(template);
    const { transactions } = { ...database().counts };
    expect((await addVersion(String(template))).text).toBe(first.text);
    expect((await addVersion(template, {}, `"${HASH}"`)).text).toBe(first.text);
    expect(database().counts.transactions).toBe(transactions);
    expect((await versions(template)).task_template_versions).toHaveLength(1);
  });

  it('E33 race 19: makes one version and one row for each argument when many callers bind it at one time', async () => {
    const template = await newTemplate('at one time');
    const args = { node_args: ['at_one_1', 'at_one_2'], task_args: ['at_one_3'], op_args: ['at_one_4'] };
    const answers = await Promise.all(
      Array.from({ length: 16 }, (_, caller) =>
        addVersion(template, { ...args, node_args: caller % 2 === 0 ? args.node_args : [...args.node_args].reverse() }),
      ),
    );
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect((await versions(template)).task_template_versions).toHaveLength(1);
    const names = "'at_one_1', 'at_one_2', 'at_one_3', 'at_one_4'";
    expect(await database().read(`SELECT COUNT(*) AS n FROM arg WHERE name IN (${names})`)).toEqual([{ n: 4 }]);
  });

  it('E33 tells versions apart by the last digit of the hash, by case, and behind the 617th character', async () => {
    const template = await newTemplate('alike');
    const long = 'x'.repeat(700);
    const answers = [
      await addVersion(template, {}, HASH),
      await addVersion(template, {}, `${HASH.slice(0, -1)}4`),
      await addVersion(template, { command_template: 'ECHO {loc} {v}' }),
      await addVersion(template, { command_template: `${long}a {loc} {v}` }),
      await addVersion(template, { command_template: `${long}b {loc} {v}` }),
      await addVersion(template, {}, '7'),
    ];
    expect(new Set(answers.map(({ json }) => json.task_template_version[0])).size).toBe(6);
    expect((await addVersion(template, { command_template: `${long}b {loc} {v}` })).text).toBe(answers[4]?.text);
    expect((await versions(template)).task_template_versions.map(([id]: [number]) => id)).toEqual(
      answers.map(({ json }) => json.task_template_version[0]),
    );
  });

  it('E33 takes an argument in two kinds, r and R for two arguments, and none at all', async () => {
    const template = await newTemplate('odd arguments');
    const both = (await addVersion(template, { node_args: ['r', 'R', 'r'], task_args: ['r'], op_args: ['__proto__'] })).json
      .task_template_version;
    expect([[...both[2]].sort(), both[3], both[4], Object.keys(both[5]).sort()]).toEqual([
      ['R', 'r'],
      ['r'],
      ['__proto__'],
      ['R', '__proto__', 'r'],
    ]);
    expect(both[5].r).not.toBe(both[5].R);
    const none = await addVersion(template, { command_template: 'true', node_args: [], task_args: [] });
    expect(none.json.task_template_version.slice(1)).toEqual(['true', [], [], [], {}, template]);
    expect((await addVersion(template, { command_template: 'true', node_args: [], task_args: [] })).text).toBe(none.text);
  });

  it('E33 leaves a version of another program as it stands, and completes one that was left without arguments', async () => {
    const template = await newTemplate('by others');
    const insert = (command: string) =>
      database().write({ label: 'test' }, function* () {
        const sql = 'INSERT INTO task_template_version (task_template_id, command_template, arg_mapping_hash) VALUES (?, ?, ?)';
        return (yield { sql, params: [template, command, HASH] }).insert_id;
      });
    const bare = await insert('echo {loc} {v}');
    expect((await addVersion(template)).json.task_template_version.slice(0, 4)).toEqual([bare, 'echo {loc} {v}', ['loc'], ['v']]);
    // The hash joins names without a mark between them, so two different lists may share it.
    const standing = (await addVersion(template)).json;
    expect((await addVersion(template, { node_args: ['lo'], task_args: ['c', 'v'] })).json).toEqual(standing);
  });

  it('E33 refuses what it cannot store, and makes nothing', async () => {
    const template = await newTemplate('refusing');
    const unknown = await addVersion(99_999, { node_args: ['never_made'] });
    expect([unknown.status, unknown.json.error.type]).toEqual([404, 'NOT_FOUND']);
    for (const changes of [
      { command_template: undefined },
      { command_template: 7 },
      { command_template: 'ü'.repeat(32_768) },
      { command_template: 'a\0b' },
      { node_args: undefined },
      { node_args: 'loc' },
      { task_args: [7] },
      { op_args: ['x'.repeat(256)] },
      { op_args: ['never_made', 'a\0b'] },
      { op_args: ['never_made', 'never_made '] },
    ]) {
      expect([(await addVersion(template, changes)).status, changes]).toEqual([400, changes]);
    }
    for (const hash of ['-7', '1.5', '1e90', 'null', '"x"', '""', `${HASH}0`, '[1]']) {
      expect([(await addVersion(template, {}, hash)).status, hash]).toEqual([400, hash]);
    }
    expect((await addVersion('abc')).status).toBe(422);
    expect(await versions(template)).toEqual({ task_template_versions: [] });
    expect(await database().read('SELECT id FROM arg WHERE name = ?', ['never_made'])).toEqual([]);
  });

  it('E32 lists many versions ascending, and does not know an unknown template', async () => {
    const template = await newTemplate('many');
    for (let n = 0; n < 12; n++) await addVersion(template, { command_template: `${12 - n} {loc} {v}` });
    const listed = (await versions(template)).task_template_versions as Json[];
    expect(listed.map(([id]) => id)).toEqual(listed.map(([id]) => id).sort((a, b) => a - b));
    expect(listed.map(([, command]) => command)[0]).toBe('12 {loc} {v}');
    const unknown = await call(served, 'GET', '/api/v3/task_template/99999/versions');
    expect([unknown.status, unknown.json.error.type]).toEqual([404, 'NOT_FOUND']);
    expect((await call(served, 'GET', '/api/v3/task_template/abc/versions')).status).toBe(422);
  });

  it('E34 answers the id of the template as a bare number', async () => {
    const template = await newTemplate('bare');
    const [version] = (await addVersion(template)).json.task_template_version;
    const { status, headers, text } = await call(served, 'GET', `/api/v3/task_template/id/${version}`);
    expect([status, headers['content-type'], text]).toEqual([200, 'application/json; charset=utf-8', String(template)]);
    expect((await call(served, 'GET', '/api/v3/task_template/id/99999')).status).toBe(404);
    expect((await call(served, 'GET', '/api/v3/task_template/id/abc')).status).toBe(422);
  });
});
