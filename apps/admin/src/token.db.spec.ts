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

  it('lists tokens with their state and last use, for people and for programs, and never their texts', async () => {
    const texts: string[] = [];
    for (const [name, user, role] of [
      ['agents\u001b[31m', 'svc', 'operator'],
      ['look', 'svc', 'reader'],
      ['short', 'bob', 'admin'],
    ] as const) {
      const args = ['create', name, '--user', user, '--role', role, '--expires', '1h', '-o', 'json', '--db', database().url];
      const made = JSON.parse((await typed('token', ...args)).out) as { token: string };
      expect(made).toMatchObject({ name, user, role, state: 'valid', last_used_date: null });
      texts.push(made.token);
    }
    await database().change(`UPDATE api_token SET last_used_date = '2026-01-02 03:04:00' WHERE hash = ?`, hashOfToken(texts[0]!));
    await database().change(`UPDATE api_token SET expires_date = '2020-01-01 00:00:00' WHERE hash = ?`, hashOfToken(texts[1]!));
    const shown = await typed('token', 'list', '--user', 'svc', '--db', database().url);
    const [head, look, agents, ...rest] = shown.out.split('\n').map((line) => line.split(/ {2,}/).slice(1));
    expect([shown.code, head]).toEqual([0, ['STATE', 'USER', 'ROLE', 'EXPIRES', 'LAST USED', 'MADE BY', 'NAME']]);
    expect(look).toEqual(['EXPIRED', 'svc', 'reader', '2020-01-01 00:00:00', 'never', 'jobmon-server', 'look']);
    const at = expect.stringMatching(/^\d{4}-/);
    expect(agents).toEqual(['VALID', 'svc', 'operator', at, '2026-01-02 03:04:00', 'jobmon-server', 'agents?[31m']);
    expect(rest).toEqual([[]]);
    const all = JSON.parse((await typed('token', 'list', '-o', 'json', '--db', database().url)).out) as { user: string }[];
    expect(all.slice(0, 3).map(({ user }) => user)).toEqual(['bob', 'svc', 'svc']);
    for (const text of texts) expect([shown.out.includes(text), JSON.stringify(all).includes(text)]).toEqual([false, false]);
    const none = await typed('token', 'list', '--user', 'nobody', '--db', database().url);
    expect(none).toEqual({ code: 0, out: '', err: 'There are no API tokens of nobody.\n' });
  });

  it('says when a token was revoked before, and changes nothing', async () => {
    const made = await typed('token', 'create', 'x', '--user', 'eve', '-o', 'json', '--db', database().url);
    const id = String((JSON.parse(made.out) as { api_token_id: number }).api_token_id);
    const first = await typed('token', 'revoke', id, '-o', 'json', '--db', database().url);
    expect(JSON.parse(first.out)).toMatchObject({ state: 'revoked', revoked_by: 'jobmon-server' });
    await database().change(`UPDATE api_token SET revoked_by = 'ada' WHERE id = ${id}`);
    const again = await typed('token', 'revoke', id, '-o', 'json', '--db', database().url);
    expect(JSON.parse(again.out)).toMatchObject({ state: 'revoked', revoked_by: 'ada' });
    expect(again.err).toMatch(/was revoked on \d{4}-.* UTC by ada/);
  });

  it.each(['create', 'list', 'revoke'])('has an example in the help of %s', async (command) => {
    const { code, out } = await typed('token', command, '--help');
    expect([code, out]).toEqual([0, expect.stringMatching(new RegExp(`Examples?:\\n {2}jobmon-server token ${command}`))]);
  });

  it.each([
    [['create', 'x', '--role', 'admin'], /--user/],
    [['create', 'x', '--user', 'ada', '--role', 'god'], /reader, operator, admin/],
    [['create', 'x', '--user', ''], /printable/],
    [['create', 'x', '--user', 'ada', '--expires', '5s'], /at least a minute/],
    [['create', 'x', '--user', 'ada', '--expires', 'forever'], /12h or 90d/],
    [['revoke', '0'], /above 0/],
    [['list', '--output', 'xml'], /text, json/],
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
      err: 'Error: there is no API token 99999: `jobmon-server token list` shows those there are\n',
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
