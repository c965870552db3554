import { insertPersonEvent } from '@jobmon/entities';
import { describeOnDatabases } from '@jobmon/testkit';
import { typed } from '../test/typed';

describeOnDatabases('jobmon-server person-event', (database) => {
  const list = (...more: string[]) => typed('person-event', '--db', database().url, ...more);
  const add = (user: string, operation: string, subject_id: number): Promise<void> =>
    database().write({ label: 'test' }, function* () {
      yield insertPersonEvent(database().dialect, { user, operation, subject_id });
    });

  it('lists who changed what, newest first, by user and operation, a page at a time', async () => {
    expect(await list()).toEqual({ code: 0, out: '', err: 'Nobody is recorded with such a change.\n' });
    await add('ada', 'tool.register', 7);
    await add('bob', 'agent.drain', 2);
    await add('ada', 'tool.register', 8);
    const { code, out, err } = await list();
    const [head, ...lines] = out
      .trimEnd()
      .split('\n')
      .map((line) => line.split(/ {2,}/));
    expect([code, err, head]).toEqual([0, '', ['ID', 'DATE (UTC)', 'OPERATION', 'OF ID', 'USER']]);
    const at = expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
    expect(lines.map((line) => line.slice(1))).toEqual([
      [at, 'tool.register', '8', 'ada'],
      [at, 'agent.drain', '2', 'bob'],
      [at, 'tool.register', '7', 'ada'],
    ]);
    const asked = async (...more: string[]): Promise<number[]> =>
      (JSON.parse((await list('-o', 'json', ...more)).out) as { subject_id: number }[]).map(({ subject_id }) => subject_id);
    expect(await asked('--user', 'ada')).toEqual([8, 7]);
    expect(await asked('--operation', 'agent.drain')).toEqual([2]);
    expect(await asked('--before', lines[0]![0]!, '-n', '1')).toEqual([2]);
    expect((await list('-n', '2')).err).toBe(`There may be more: --before ${lines[1]![0]}\n`);
  });

  it.each([
    [['--user', ''], /printable/],
    [['--before', 'x'], /above 0/],
    [['-n', '0'], /from 1 to 10000/],
  ])('refuses %j', async (args, sentence) => {
    expect(await list(...args)).toEqual({ code: 2, out: '', err: expect.stringMatching(sentence) });
  });

  it('has examples in its help', async () => {
    expect((await typed('person-event', '--help')).out).toMatch(/Examples:\n {2}jobmon-server person-event/);
  });
});
