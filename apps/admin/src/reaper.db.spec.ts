/** `jobmon-server reaper once` as it is typed: what it would do and why. */
import { CLIENTS_HEARD } from '@jobmon/entities';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { typed } from '../test/typed';

describeOnDatabases('jobmon-server reaper once', (database, kind) => {
  const once = (...more: string[]) => typed('reaper', 'once', '--dry-run', '--db', database().url, ...more);

  it('says in a dry run what it would end and why, and changes nothing', async () => {
    expect(await once()).toMatchObject({ code: 0, out: 'Nothing is past its deadline.\n' });
    const { workflow_run_id } = await insertWorkflow(database(), { driver: 'client', deadline_seconds: -500 });
    const { now, nowPlusSeconds } = database().dialect;
    const agent_id = await database().change(
      'INSERT INTO agent (hostname, `user`, any_user, clusters, state_directory, process_id, version, registered_date, lease_until_date) ' +
        `VALUES ('node7', 'ada', 0, '[]', '/', 1, '', ${now}, ${nowPlusSeconds})`,
      -500,
    );
    await database().change(`UPDATE workflow_run SET created_date = ${now} WHERE id = ?`, workflow_run_id);
    const spared = await once();
    expect(spared.out).toMatch(
      /^silent agents: none is ended, since no api has been there for a whole lease \(\d+ s\) without a break/,
    );
    expect(spared.out).toMatch(new RegExp(`\\n  agent ${agent_id}: its lease ended at .* UTC \\(host node7\\)`));
    for (const service of ['api', CLIENTS_HEARD]) {
      await database().change(
        `INSERT INTO service_instance (service, instance, started_date, expires_date) VALUES ('${service}', 'a', ${nowPlusSeconds}, ${nowPlusSeconds})`,
        -3_600,
        600,
      );
    }
    const { out } = await once();
    expect(out.split('\n')).toEqual([
      expect.stringContaining(`agent ${agent_id}: its lease ended at`),
      expect.stringMatching(new RegExp(`^workflow_run ${workflow_run_id}: its client was silent .* RUNNING: it ends in error`)),
      '',
    ]);
    const told = JSON.parse((await once('-o', 'json')).out) as { dry_run: boolean; rules: { found: { id: number }[] }[] };
    expect([told.dry_run, told.rules.map(({ found }) => found.map(({ id }) => id))]).toEqual([
      true,
      [[agent_id], [workflow_run_id], [], [], [], [], []],
    ]);
    expect(await database().read('SELECT status FROM workflow_run')).toEqual([{ status: 'R' }]);
    expect(await database().read('SELECT ended_date FROM agent')).toEqual([{ ended_date: null }]);
  });

  it('names failed workflows whose tasks are all done', async () => {
    const made = { tasks: 3, driver: 'client', run_status: 'E', workflow_status: 'F', instance_status: 'D' } as const;
    const { workflow_id } = await insertWorkflow(database(), { ...made, task_status: () => 'D' });
    await insertWorkflow(database(), { ...made, task_status: (at) => (at === 2 ? 'F' : 'D') });
    const { rules } = JSON.parse((await once('-o', 'json')).out) as { rules: { rule: string; found: { id: number }[] }[] };
    expect(rules.at(-1)).toEqual({
      rule: 'failed workflows whose tasks are all done',
      spared: null,
      found: [{ id: workflow_id, of: 'workflow', why: 'it is FAILED although all its tasks are DONE: it becomes DONE' }],
    });
  });

  if (kind.name === 'sqlite') {
    it('leaves a file to the house that has it open, unless it only looks', async () => {
      const { code, err } = await typed('reaper', 'once', '--db', database().url);
      expect([code, err]).toEqual([1, expect.stringContaining('the house that has it open does this by itself')]);
    });
  }
});
