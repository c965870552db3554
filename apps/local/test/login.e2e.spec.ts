/** Login with the services apart: two apis and a state machine as processes, on a MariaDB and a NATS. */
import { Connection, Tool } from '@jobmon/client';
import { getWorkflowHistory, listApiTokens, revokeApiToken, setWorkflowPriority, whoAmI, type Role } from '@jobmon/contracts';
import { insertApiToken, newTokenText, type Database } from '@jobmon/entities';
import { describeApart, SystemApart, until, type Services } from '@jobmon/testkit';

const SHARED_TOKEN = 'token-of-before-the-login';

describeApart('login with the services apart', (mariadb) => {
  let system: SystemApart;
  let services: Services;
  let database: Database;

  beforeAll(async () => {
    system = await SystemApart.open(mariadb);
    database = system.database;
    services = system.services({
      token: SHARED_TOKEN,
      env: { JOBMON__AUTH__MODE: 'on', JOBMON__AUTH__PYTHON_PORT: '0' },
    });
    await services.start({ api: 2, 'state-machine': 1 });
  }, 120_000);
  afterAll(() => system?.remove(), 120_000);

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
  });

  it('answers Python clients by where they come from, over IPv6 too, and tells refusals to Prometheus', async () => {
    const api = await services
      .begin('api', {
        JOBMON__HTTP__HOST: '::',
        JOBMON__HTTP__ALLOWED_HOSTS: 'localhost',
        JOBMON__HTTP__PROXIES: '127.0.0.1',
        JOBMON__AUTH__PYTHON_HOST: '::1',
        JOBMON__AUTH__PYTHON_NETWORKS: '2001:db8::/32,::1',
        JOBMON__AUTH__GUESSES_PER_MINUTE: '2',
      })
      .ready();
    const port = Number(new URL(api.url!).port);
    const { python_port } = await api.said(/Python clients are answered on a port of their own/);
    const ask = (host: string, at: unknown, path: string, headers: Record<string, string> = {}): Promise<Response> =>
      fetch(`http://${host}:${String(at)}${path}`, { headers });
    const statusOf = async (host: string, at: unknown, headers: Record<string, string> = {}): Promise<number> =>
      (await ask(host, at, '/api/v3/', headers)).status;
    // The port of its own, at an address of its own: nobody listens at the other.
    expect(await statusOf('[::1]', python_port)).toBe(200);
    await expect(ask('127.0.0.1', python_port, '/api/v3/')).rejects.toThrow();
    // The ordinary one: by the named address, by what the named proxy says, and by nothing that anybody else says.
    expect(await statusOf('[::1]', port)).toBe(200);
    expect(await statusOf('127.0.0.1', port, { 'x-forwarded-for': '2001:db8::7' })).toBe(200);
    expect(await statusOf('[::1]', port, { 'x-forwarded-for': '192.0.2.7' })).toBe(200);
    const refused = await ask('127.0.0.1', port, '/api/v3/', { 'x-forwarded-for': '2001:db8::7, 192.0.2.7' });
    expect([refused.status, ((await refused.json()) as { detail: string }).detail]).toEqual([
      403,
      expect.stringMatching(/auth\.python_networks.*comes from 192\.0\.2\.7/),
    ]);

    const guess = (from: string): Promise<Response> =>
      ask('127.0.0.1', port, '/api/v4/whoami', { authorization: 'Bearer guess', 'x-forwarded-for': from });
    expect([(await guess('192.0.2.9')).status, (await guess('192.0.2.9')).status]).toEqual([401, 401]);
    const shut = await guess('192.0.2.9');
    expect([shut.status, shut.headers.get('retry-after')]).toEqual([429, expect.stringMatching(/^([1-9]|[12]\d|30)$/)]);
    expect((await guess('192.0.2.10')).status).toBe(401);
    const counted = (reason: string): Promise<number> => api.metric('jobmon_login_refusals_total', { reason });
    expect([await counted('network'), await counted('unknown'), await counted('too_many')]).toEqual([1, 3, 1]);
    expect(await services.stop()).toEqual([0, 0, 0, 0]);
  });
});
