import { hashOfToken } from '@jobmon/entities';
import { databases, describeOnDatabases } from '@jobmon/testkit';
import { typed } from '../test/typed';

describeOnDatabases('jobmon-server token', (database) => {
  it('makes a token for the first admin, tells it once, and revokes it', async () => {
    const made = await typed('token', 'create', 'first login', '--user', 'ada', '--expires', '12h', '--db', database().url);
    expect([made.code, made.out]).toEqual([0, expect.stringMatching(/^jobmon_[\w-]{43}\n$/)]);
    const [, id = ''] = /^Token (\d+) of ada \(admin\), valid until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\./.exec(made.err) ?? [];
    const read = (): Promise<Record<string, unknown>[]> =>
      database().read('SELECT name, user, role, created_by, revoked_by FROM api_token WHERE hash = ?', [
        hashOfToken(made.out.trim()),
      ]);
    const row = { name: 'first login', user: 'ada', role: 'admin', created_by: 'jobmon-server' };
    expect(await read()).toEqual([{ ...row, revoked_by: null }]);
    expect((await typed('token', 'revoke', id, '--db', database().url)).code).toBe(0);
    expect(await read()).toEqual([{ ...row, revoked_by: 'jobmon-server' }]);
  });

  it.each([
    [['create', 'x', '--role', 'admin'], /--user/],
    [['create', 'x', '--user', 'ada', '--role', 'god'], /reader, operator, admin/],
    [['create', 'x', '--user', ''], /printable/],
    [['create', 'x', '--user', 'ada', '--expires', '5s'], /at least a minute/],
    [['create', 'x', '--user', 'ada', '--expires', 'forever'], /12h or 90d/],
    [['revoke', '0'], /above 0/],
  ])('refuses %j and writes nothing', async (args, sentence) => {
    const before = await database().read('SELECT COUNT(*) AS n FROM api_token');
    const { code, out, err } = await typed('token', ...args, '--db', database().url);
    expect([code, out, err]).toEqual([2, '', expect.stringMatching(sentence)]);
    expect(await database().read('SELECT COUNT(*) AS n FROM api_token')).toEqual(before);
  });

  it('says that there is no such token', async () => {
    expect(await typed('token', 'revoke', '99999', '--db', database().url)).toEqual({
      code: 1,
      out: '',
      err: 'Error: there is no API token 99999\n',
    });
  });
});

test('a server of databases without a schema is left as it is', async () => {
  const kind = databases().find(({ name }) => name === 'mariadb');
  if (kind === undefined) return;
  const place = await kind.place();
  const { code, err } = await typed('token', 'create', 'x', '--user', 'ada', '--db', place.url);
  expect([code, err]).toEqual([1, expect.stringContaining('jobmon-server db migrate')]);
  await place.remove();
});
