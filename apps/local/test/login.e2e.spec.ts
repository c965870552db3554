/** Login with the services apart: two apis and a state machine as processes, on a MariaDB and a NATS. */
import { Connection, Tool } from '@jobmon/client';
import { getWorkflowHistory, listApiTokens, revokeApiToken, setWorkflowPriority, whoAmI, type Role } from '@jobmon/contracts';
import { insertApiToken, newTokenText, openDatabase, type Database } from '@jobmon/entities';
import { buildHouse, describeApart, NatsProcess, Services, until, UserFolder, type DatabaseKind } from '@jobmon/testkit';
import { pino } from 'pino';

const SHARED_TOKEN = 'token-of-before-the-login';

describeApart('login with the services apart', (mariadb) => {
  let place: Awaited<ReturnType<DatabaseKind['place']>>;
  let user: UserFolder;
  let nats: NatsProcess;
  let services: Services;
  let database: Database;

  beforeAll(async () => {
    buildHouse();
    user = new UserFolder();
    [place, nats] = await Promise.all([mariadb.place(), NatsProcess.start()]);
    database = await openDatabase({ url: place.url, log: pino({ level: 'silent' }) });
    services = new Services({
      folder: user.folder('services'),
      database_url: place.url,
      nats_url: nats.url,
      token: SHARED_TOKEN,
      env: { JOBMON__AUTH__MODE: 'on', JOBMON__AUTH__PYTHON_PORT: '0' },
    });
    await services.start({ api: 2, 'state-machine': 1 });
  }, 120_000);
  afterAll(async () => {
    await services?.stop('SIGKILL');
    await database?.close();
    await nats?.remove();
    await user?.remove();
    await place?.remove();
  }, 120_000);

  /** As `jobmon-server token create` makes one. */
  async function tokenFor(name: string, role: Role): Promise<string> {
    const text = newTokenText();
    const token = { name: 'spec', user: name, role, created_by: 'spec', expires_in_seconds: 3_600 };
    await database.write({ label: 'test.token' }, () => insertApiToken(database.dialect, text, token));
    return text;
  }

  it('holds at every api, for every service behind it, and for Python clients', async () => {
    const [first, second] = services.alive('api').map(({ url }) => url!);
    const [ada, root] = await Promise.all([tokenFor('ada', 'operator'), tokenFor('root', 'admin')]);
    const at = (url: string, token?: string): Connection => new Connection({ url, ...(token === undefined ? {} : { token }) });
    const refusal = (connection: Connection): Promise<string> =>
      connection.send(whoAmI, {}, { tries_max: 1 }).then(
        ({ user: name }) => `${name} may`,
        (error: { code: string }) => error.code,
      );
    // A token that all had before there was a login is nobody's.
    expect([await refusal(at(first!)), await refusal(at(second!, SHARED_TOKEN))]).toEqual(['UNAUTHORIZED', 'UNAUTHORIZED']);
    expect([await refusal(at(first!, ada)), await refusal(at(second!, ada))]).toEqual(['ada may', 'ada may']);

    const tool = new Tool('survey', { connection: at(first!, ada), defaultClusterName: 'dummy' });
    const workflow = tool.createWorkflow({ name: 'of ada' });
    workflow.addTask(tool.getTaskTemplate('one', 'true {n}').createTask({ n: 1 }));
    const workflow_id = await workflow.bind();
    // The state machine writes down who was authenticated at the api.
    await at(second!, root).send(setWorkflowPriority, { workflow_id, user: 'mallory', priority: 1 });
    const { events } = await at(first!, ada).send(getWorkflowHistory, { workflow_id });
    expect(events.map((event) => [event.user, event.verb])).toEqual([['root', 'set_priority']]);

    const { python_port } = await services.alive('api')[0]!.said(/Python clients are answered on a port of their own/);
    const statusOf = async (url: string): Promise<number> => (await fetch(url)).status;
    expect([await statusOf(`${first}/api/v3/`), await statusOf(`http://127.0.0.1:${python_port}/api/v3/`)]).toEqual([403, 200]);

    // What one api ends, the others forget.
    const { api_tokens } = await at(first!, root).send(listApiTokens, { of_user: 'ada' });
    await at(first!, root).send(revokeApiToken, { api_token_id: api_tokens[0]!.api_token_id });
    expect(await refusal(at(first!, ada))).toBe('UNAUTHORIZED');
    await until('the other api has forgotten the token', async () => (await refusal(at(second!, ada))) === 'UNAUTHORIZED');
    const told = services.processes.map(({ text }) => text).join('');
    expect([ada, root].filter((token) => told.includes(token))).toEqual([]);

    expect(await services.stop()).toEqual([0, 0, 0]);
  });
});
