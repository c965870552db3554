import {
  accessOf,
  isSufficient,
  JobmonError,
  OPERATIONS,
  ROLES,
  settleWorkflowRun,
  type Operation,
  type Role,
} from '@jobmon/contracts';
import { hashOfToken } from '@jobmon/entities';
import { readMetrics } from '@jobmon/runtime';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, until } from '@jobmon/testkit';
import { callAs, tokenOf } from '../test/bearer';
import { makeTemplate, makeWorkflow, workflowRequest, type Bound, type Template } from '../test/definitions';
import { goodBodies, UNKNOWN_ID } from '../test/good-bodies';
import { allRows } from '../test/rows';
import { call, serve, TOKEN, type Answered, type Served } from '../test/serve';

const OVER_HTTP = OPERATIONS.filter(({ http }) => http !== undefined);
const NATIVE = OVER_HTTP.filter((operation) => accessOf(operation) !== 'network');
const CLOSED = NATIVE.filter((operation) => accessOf(operation) !== 'anyone');
const PYTHON = OVER_HTTP.filter((operation) => accessOf(operation) === 'network');
/** Nobody has made it. */
const FORGED = `jobmon_${'A'.repeat(43)}`;

describeOnDatabases('login', (database) => {
  let served: Served;
  let python: Served;
  let template: Template;
  let bound: Bound;
  let good: Record<string, Record<string, unknown>>;
  const tokens = {} as Record<Role | 'expired' | 'revoked' | 'other' | 'other_reader', string>;

  beforeAll(async () => {
    served = await serve(database(), {
      modules: (context) => [stateMachineModule(context)],
      auth: { python_port: 0, default_role: 'none' },
    });
    const line = served.lines.find(({ python_port }) => python_port !== undefined);
    python = { ...served, port: line?.python_port as number };
    for (const role of ROLES) tokens[role] = await tokenOf(database(), { role });
    tokens.other = await tokenOf(database(), { user: 'eve' });
    tokens.other_reader = await tokenOf(database(), { user: 'eve', role: 'reader' });
    tokens.expired = await tokenOf(database(), { role: 'admin', expires_in_seconds: -1 });
    tokens.revoked = await tokenOf(database(), { role: 'admin' });
    await database().change(
      `UPDATE api_token SET revoked_date = created_date, revoked_by = 'spec' WHERE hash = ?`,
      hashOfToken(tokens.revoked),
    );
    // By the house's own token, as its SDK would, in the name of whoever started it.
    template = await makeTemplate(served, 'login');
    bound = await makeWorkflow(served, template, 'of the house', 1);
    good = goodBodies(template);
  });
  afterAll(() => served.close());

  const send = (operation: Operation, token: string | undefined, id: string | number, to = served): Promise<Answered> =>
    callAs(to, token, operation.http!.method, operation.http!.path.replace(/\{\w+\}/g, String(id)), good[operation.name]);

  it('has a good body for each operation that takes one', () => {
    const withBody = NATIVE.filter(({ http }) => http?.method !== 'GET').map(({ name }) => name);
    expect(withBody.filter((name) => good[name] === undefined)).toEqual([]);
  });

  describe('every operation', () => {
    const wrong: [string, () => string | undefined][] = [
      ['no credential', () => undefined],
      ['a text that is no token', () => 'secret'],
      ['a token that nobody made', () => FORGED],
      ['the token of a provider that is none', () => 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.'],
      ['an expired token', () => tokens.expired],
      ['a revoked token', () => tokens.revoked],
    ];
    it.each(wrong)('refuses %s with 401, and nothing is done', async (_, token) => {
      const before = await allRows(database());
      const answered = await Promise.all(CLOSED.map((operation) => send(operation, token(), bound.workflow_id)));
      expect(CLOSED.filter((__, at) => answered[at]!.status !== 401).map(({ name }) => name)).toEqual([]);
      for (const { json, headers } of answered) {
        expect(json).toEqual({ error: { code: 'UNAUTHORIZED', message: expect.stringMatching(/jobmon (login|token create)/) } });
        expect(headers['www-authenticate']).toBe('Bearer');
      }
      expect(await allRows(database())).toEqual(before);
    });

    it('refuses other schemes of credentials, and none of them in the query', async () => {
      const path = `/api/v4/workflows?token=${tokens.admin}&access_token=${tokens.admin}`;
      for (const authorization of [
        `Basic ${tokens.admin}`,
        `Bearer${tokens.admin}`,
        `Bearer ${tokens.admin} x`,
        tokens.admin,
        '',
      ]) {
        expect((await call(served, 'GET', path, undefined, { authorization })).status).toBe(401);
      }
    });

    it('refuses a role that is too weak with 403, and nothing is done', async () => {
      const before = await allRows(database(), 'dates');
      for (const role of ROLES) {
        const closed = CLOSED.filter((operation) => !isSufficient(role, accessOf(operation) as Role));
        if (role === 'reader') expect(closed.length).toBeGreaterThan(20);
        const answered = await Promise.all(closed.map((operation) => send(operation, tokens[role], bound.workflow_id)));
        expect(closed.filter((_, at) => answered[at]!.status !== 403).map(({ name }) => name)).toEqual([]);
        for (const { json } of answered) expect(json.error.message).toMatch(/needs the role \w+, and ada is \w+/);
      }
      expect(await allRows(database(), 'dates')).toEqual(before);
    });

    it.each(CLOSED.map((operation) => [operation.name, operation] as const))('%s is open to its role', async (_, operation) => {
      const role = accessOf(operation) as Role;
      for (const open of ROLES.filter((one) => isSufficient(one, role))) {
        // An agent for everybody is an admin's.
        if (operation.name === 'agent.register' && open === 'operator') continue;
        const { status, text } = await send(operation, tokens[open], UNKNOWN_ID);
        // 503: its owner is none of the two services that run here.
        expect([open, [200, 404, 409, 503].includes(status) ? 'open' : text]).toEqual([open, 'open']);
      }
    });

    it('is closed without a credential but for health, the document, and what somebody needs who logs in', async () => {
      for (const path of ['/health/live', '/health/ready', '/api/openapi.json', '/api/docs', '/api/v4/login']) {
        expect([path, (await callAs(served, undefined, 'GET', path)).status]).toEqual([path, 200]);
      }
      expect(NATIVE.filter((operation) => !CLOSED.includes(operation)).map(({ name }) => name)).toEqual(['login.get']);
      expect((await callAs(served, undefined, 'GET', '/api/v4/login')).json).toEqual({ is_on: true, provider: null });
    });
  });

  describe('the Python protocol', () => {
    it('is answered on its own port, and by no credential on the other', async () => {
      const before = await allRows(database(), 'dates');
      for (const prefix of ['/api/v3/', '/api/v2/']) {
        for (const operation of PYTHON) {
          const path = operation.http!.path.replace('/api/v3/', prefix).replace(/\{\w+\}/g, String(UNKNOWN_ID));
          // One route does not stand under the elder prefix.
          if (path === '/api/v2/task_template_resource_usage') continue;
          const { status, json } = await callAs(served, tokens.admin, operation.http!.method, path, {});
          expect([path, status, json]).toEqual([path, 403, { detail: expect.stringContaining('auth.python_port') }]);
        }
      }
      expect(await allRows(database(), 'dates')).toEqual(before);
      const answered = await Promise.all(PYTHON.map((operation) => send(operation, undefined, UNKNOWN_ID, python)));
      expect(PYTHON.filter((_, at) => [401, 403].includes(answered[at]!.status)).map(({ name }) => name)).toEqual([]);
      expect((await callAs(python, undefined, 'GET', '/api/v4/workflows')).status).toBe(401);
      expect((await callAs(python, tokens.reader, 'GET', '/api/v4/workflows')).status).toBe(200);
      expect((await call(python, 'GET', '/api/v3/', undefined, { host: 'evil.example.org' })).status).toBe(403);
    });

    it.each([
      [{ python_networks: ['127.0.0.0/8'] }, 200],
      [{ python_networks: ['::1', '10.0.0.0/8', '127.0.0.1'] }, 200],
      [{ python_networks: ['127.0.0.2/32', '10.0.0.0/8', 'fd00::/8'] }, 403],
      [{ python_networks: [] }, 403],
    ])('is answered to networks: %j, %i', async (auth, status) => {
      const other = await serve(database(), { auth });
      expect((await callAs(other, undefined, 'GET', '/api/v3/')).status).toBe(status);
      const told = { 'x-forwarded-for': '10.0.0.1', forwarded: 'for=10.0.0.1' };
      expect((await call(other, 'GET', '/api/v3/', undefined, told)).status).toBe(status);
      await other.close();
    });

    it('is answered by what a proxy says only where the proxy is named, and the refusal says what was seen', async () => {
      const auth = { python_networks: ['10.0.0.0/8', '2001:db8::/32', '127.0.0.0/8'] };
      const other = await serve(database(), { auth, http: { proxies: ['127.0.0.1'] } });
      const from = (forwarded?: string): Promise<Answered> =>
        call(other, 'GET', '/api/v3/', undefined, forwarded === undefined ? {} : { 'x-forwarded-for': forwarded });
      expect((await from('10.1.2.3')).status).toBe(200);
      expect((await from('192.0.2.7, 2001:db8::7')).status).toBe(200);
      const refused = await from('10.1.2.3, 192.0.2.7');
      expect([refused.status, refused.json]).toEqual([
        403,
        { detail: expect.stringMatching(/auth\.python_port.*auth\.python_networks.*comes from 192\.0\.2\.7: ask the admin/) },
      ]);
      // Its own address is trusted; that of somebody behind it who is hidden is not.
      expect([(await from()).status, (await from('nobody')).status]).toEqual([403, 403]);
      await other.close();
    });
  });

  describe('refusals', () => {
    const metricOf = async (reason: string): Promise<number> => {
      const { text } = await readMetrics();
      return Number(new RegExp(`^jobmon_login_refusals_total\\{reason="${reason}"\\} (\\d+)`, 'm').exec(text)?.[1] ?? 0);
    };

    it.each([
      ['none', 'whoami', () => undefined],
      ['unknown', 'whoami', () => FORGED],
      ['expired', 'whoami', () => tokens.expired],
      ['revoked', 'whoami', () => tokens.revoked],
      ['role', 'submit', () => tokens.reader],
      ['owner', 'submit', () => tokens.operator],
      ['network', 'v3', () => tokens.admin],
    ])('are counted and logged by their reason, without the credential: %s', async (reason, what, token) => {
      const before = await metricOf(reason);
      const since = served.lines.length;
      const path = { whoami: '/api/v4/whoami', submit: `/api/v4/workflows/${bound.workflow_id}/submit`, v3: '/api/v3/' }[what]!;
      const address = `${path}?token=${token() ?? ''}`;
      await callAs(served, token(), what === 'submit' ? 'POST' : 'GET', address, what === 'submit' ? {} : undefined);
      const isTold = (): Record<string, unknown> | undefined =>
        served.lines.slice(since).find(({ msg, refused }) => msg === 'request' && refused === reason);
      await until('the refusal is in the log', () => isTold() !== undefined);
      expect(isTold()).toMatchObject({ level: 30, code: expect.stringMatching(/^(UNAUTHORIZED|FORBIDDEN)$/) });
      if (reason !== 'role' && reason !== 'owner') expect(isTold()).toMatchObject({ address: '127.0.0.1' });
      if (token() !== undefined) expect(JSON.stringify(served.lines.slice(since))).not.toContain(token());
      expect((await metricOf(reason)) - before).toBe(1);
    });

    it('come to an end for who guesses, with the time to wait, and not for who was known before', async () => {
      const other = await serve(database(), { auth: { guesses_per_minute: 3 } });
      const before = await metricOf('too_many');
      const ask = (token: string): Promise<Answered> => callAs(other, token, 'GET', '/api/v4/whoami');
      expect((await ask(tokens.reader)).status).toBe(200);
      // What has ended is no guess.
      for (let at = 0; at < 5; at++) expect((await ask(tokens.expired)).status).toBe(401);
      for (const guess of [FORGED, 'secret', 'a.b.c']) expect((await ask(guess)).status).toBe(401);
      const read = database().counts.statements;
      const shut = await ask(tokens.operator);
      expect([shut.status, shut.json.error]).toEqual([
        429,
        {
          code: 'TOO_MANY',
          message: expect.stringMatching(/unknown credentials came from 127\.0\.0\.1: try again in \d+ s/),
          details: { retry_after_seconds: Number(shut.headers['retry-after']) },
        },
      ]);
      expect(Number(shut.headers['retry-after'])).toBeGreaterThan(0);
      expect((await ask(FORGED)).status).toBe(429);
      expect(database().counts.statements).toBe(read);
      expect([(await ask(tokens.reader)).status, (await callAs(other, undefined, 'GET', '/api/v4/whoami')).status]).toEqual([
        200, 401,
      ]);
      expect((await metricOf('too_many')) - before).toBe(2);
      await other.close();
    });
  });

  describe('ownership', () => {
    const changing = NATIVE.filter(
      ({ http, name }) => http?.method !== 'GET' && http?.path.includes('{workflow_id}') && name !== 'task_template.usage',
    );
    let mine: number;
    beforeAll(async () => {
      const body = workflowRequest(template, 'of ada');
      mine = (await callAs(served, tokens.operator, 'POST', '/api/v4/workflows', body)).json.workflow_id as number;
    });

    it('lets nobody change the workflow of another, but an admin', async () => {
      expect(changing.length).toBeGreaterThan(8);
      const before = await allRows(database(), 'dates');
      for (const operation of changing) {
        const { status, json } = await send(operation, tokens.other, mine);
        expect([operation.name, status, json.error?.message]).toEqual([
          operation.name,
          403,
          expect.stringContaining(`workflow ${mine} belongs to ada`),
        ]);
      }
      expect(await allRows(database(), 'dates')).toEqual(before);
      const priority = changing.find(({ name }) => name === 'workflow.set_priority')!;
      const admin = await tokenOf(database(), { user: 'root', role: 'admin' });
      expect((await send(priority, tokens.operator, mine)).json.is_changed).toBe(true);
      good[priority.name] = { user: 'somebody else', priority: 2 };
      expect((await send(priority, admin, mine)).json.is_changed).toBe(true);
      const history = await callAs(served, tokens.other_reader, 'GET', `/api/v4/workflows/${mine}/history`);
      // Who it was, not whom the request says.
      expect(history.json.events.map(({ user }: { user: string }) => user)).toEqual(['root', 'ada']);
    });

    /** An api that has not met the workflows yet. */
    const serveAnew = (): Promise<Served> =>
      serve(database(), { modules: (context) => [stateMachineModule(context)], auth: { python_port: 0 } });

    it('tells whose a workflow is that was bound before there was a login: its first run', async () => {
      const { workflow_id } = await makeWorkflow(served, template, 'before', 1);
      await database().change('UPDATE workflow SET user = NULL WHERE id = ?', workflow_id);
      const later = await serveAnew();
      const path = `/api/v4/workflows/${workflow_id}/priority`;
      const refused = await callAs(later, tokens.operator, 'POST', path, { user: 'ada', priority: 3 });
      expect([refused.status, refused.json.error.message]).toEqual([403, expect.stringContaining('has no owner yet')]);
      for (const user of ['ada', 'eve']) {
        await database().change(
          `INSERT INTO workflow_run (workflow_id, user, jobmon_version, status, created_date, status_date, heartbeat_date)
           VALUES (?, ?, '3', 'E', '2020-01-01 00:00:00', '2020-01-01 00:00:00', '2020-01-01 00:00:00')`,
          workflow_id,
          user,
        );
      }
      expect((await callAs(later, tokens.operator, 'POST', path, { user: 'ada', priority: 3 })).status).toBe(200);
      expect((await callAs(later, tokens.other, 'POST', path, { user: 'ada', priority: 4 })).status).toBe(403);
      expect(await database().read('SELECT user FROM workflow WHERE id = ?', [workflow_id])).toEqual([{ user: 'ada' }]);
      await later.close();
    });

    it('runs a workflow as its owner when an admin resumes it', async () => {
      const { workflow_id } = await makeWorkflow(served, template, 'helped', 1);
      await database().change(`UPDATE workflow SET user = 'ada' WHERE id = ?`, workflow_id);
      const admin = await tokenOf(database(), { user: 'root', role: 'admin' });
      const later = await serveAnew();
      const path = `/api/v4/workflows/${workflow_id}`;
      expect((await callAs(later, tokens.operator, 'POST', `${path}/submit`, { user: 'x', working_directory: '/' })).status).toBe(
        200,
      );
      expect((await callAs(later, tokens.operator, 'POST', `${path}/cancel`, { user: 'x' })).status).toBe(200);
      const { workflow_run_id } = (await callAs(later, tokens.reader, 'GET', path)).json as { workflow_run_id: number };
      await later.messenger.request(settleWorkflowRun, [{ workflow_run_id }]);
      expect((await callAs(later, admin, 'POST', `${path}/resume`, { user: 'x' })).status).toBe(200);
      const runs = await database().read('SELECT user, status FROM workflow_run WHERE workflow_id = ? ORDER BY id', [
        workflow_id,
      ]);
      expect(runs).toEqual([
        { user: 'ada', status: 'T' },
        { user: 'ada', status: 'B' },
      ]);
      const events = await database().read('SELECT user, verb FROM workflow_event WHERE workflow_id = ? ORDER BY id', [
        workflow_id,
      ]);
      expect(events).toEqual([
        { user: 'ada', verb: 'cancel' },
        { user: 'root', verb: 'resume' },
      ]);
      await later.close();
    });

    it('lets nobody bind the workflow of another anew', async () => {
      const body = workflowRequest(template, 'of ada', { description: 'not mine' });
      const refused = await callAs(served, tokens.other, 'POST', '/api/v4/workflows', body);
      expect([refused.status, refused.json.error.details]).toEqual([403, { rule: 'not_the_owner', owner: 'ada' }]);
      expect(await database().read('SELECT description FROM workflow WHERE id = ?', [mine])).toEqual([{ description: '' }]);
      expect((await callAs(served, tokens.operator, 'POST', '/api/v4/workflows', body)).json).toMatchObject({
        workflow_id: mine,
      });
    });

    it('submits as the owner, and records who asked, whatever the request says', async () => {
      const admin = await tokenOf(database(), { user: 'root', role: 'admin' });
      const body = { user: 'mallory', working_directory: '/' };
      const submitted = await callAs(served, admin, 'POST', `/api/v4/workflows/${bound.workflow_id}/submit`, body);
      const { workflow_run_id } = submitted.json as { workflow_run_id: number };
      expect(await database().read('SELECT user FROM workflow_run WHERE id = ?', [workflow_run_id])).toEqual([{ user: 'house' }]);
      const events = await database().read('SELECT user, verb FROM workflow_event WHERE workflow_id = ?', [bound.workflow_id]);
      expect(events).toEqual([{ user: 'root', verb: 'submit' }]);
    });

    it('gives an agent to who registers it, and lets nobody else speak for it', async () => {
      const body = { ...good['agent.register'], any_user: false, user: 'mallory' };
      const { agent_id } = (await callAs(served, tokens.operator, 'POST', '/api/v4/agents', body)).json as { agent_id: number };
      expect(await database().read('SELECT user, any_user FROM agent WHERE id = ?', [agent_id])).toEqual([
        { user: 'ada', any_user: 0 },
      ]);
      for (const name of [
        'agent.lease',
        'agent.beat',
        'agent.report',
        'agent.orders',
        'agent.drain',
        'agent.restore',
        'agent.leave',
      ]) {
        const operation = NATIVE.find((one) => one.name === name)!;
        expect([name, (await send(operation, tokens.other, agent_id)).status]).toEqual([name, 403]);
        expect([name, (await send(operation, tokens.operator, agent_id)).status]).toEqual([name, 200]);
      }
    });

    it('has no agent for everybody without an admin', async () => {
      const body = { ...good['agent.register'], any_user: true };
      const refused = await callAs(served, tokens.operator, 'POST', '/api/v4/agents', body);
      expect([refused.status, refused.json.error.message]).toEqual([403, expect.stringContaining('--any-user')]);
      expect((await callAs(served, tokens.admin, 'POST', '/api/v4/agents', body)).status).toBe(200);
    });
  });

  describe('API tokens', () => {
    const create = (token: string, body: Record<string, unknown>) =>
      callAs(served, token, 'POST', '/api/v4/api_tokens', { name: 'made', ...body });

    it('are told once, stored as a hash, listed and revoked', async () => {
      const made = await create(tokens.operator, { expires_in_seconds: 3_600 });
      const { token, api_token } = made.json as { token: string; api_token: Record<string, unknown> };
      expect(token).toMatch(/^jobmon_[\w-]{43}$/);
      expect(api_token).toMatchObject({ user: 'ada', role: 'operator', created_by: 'ada', state: 'valid', last_used_date: null });
      for (const rows of (await allRows(database())).values()) for (const row of rows) expect(row).not.toContain(token.slice(7));
      expect((await callAs(served, token, 'GET', '/api/v4/whoami')).json).toEqual({
        user: 'ada',
        role: 'operator',
        credential: 'api_token',
        expires_date: api_token.expires_date,
      });
      const list = (await callAs(served, token, 'GET', '/api/v4/api_tokens')).json.api_tokens as { user: string }[];
      expect(list.length).toBeGreaterThan(1);
      expect(list.filter(({ user }) => user !== 'ada')).toEqual([]);
      const path = `/api/v4/api_tokens/${String(api_token.api_token_id)}/revoke`;
      expect((await callAs(served, tokens.other, 'POST', path, {})).status).toBe(404);
      expect((await callAs(served, token, 'GET', '/api/v4/whoami')).status).toBe(200);
      const revoked = await callAs(served, tokens.operator, 'POST', path, {});
      expect(revoked.json.api_token).toMatchObject({ state: 'revoked', revoked_by: 'ada' });
      // At once: it is not remembered to have been good.
      expect((await callAs(served, token, 'GET', '/api/v4/whoami')).status).toBe(401);
      expect((await callAs(served, tokens.admin, 'POST', path, {})).json).toEqual(revoked.json);
    });

    it('are looked up by their hash: the database is never told one', async () => {
      const asked: unknown[] = [];
      const listening = Object.create(database(), {
        read: {
          value: (sql: string, params: unknown[]) => (asked.push(sql, ...(params ?? [])), database().read(sql, params as [])),
        },
      }) as ReturnType<typeof database>;
      const other = await serve(listening, { auth: {} });
      expect((await callAs(other, tokens.operator, 'GET', '/api/v4/whoami')).status).toBe(200);
      expect((await callAs(other, FORGED, 'GET', '/api/v4/whoami')).status).toBe(401);
      expect(asked).toContain(hashOfToken(FORGED));
      expect(asked.filter((value) => [tokens.operator, FORGED].includes(String(value)))).toEqual([]);
      // Garbage costs no look at the database at all.
      const before = asked.length;
      for (const garbage of ['x', 'jobmon_short', `${FORGED}x`, 'x'.repeat(8_000)]) {
        expect((await callAs(other, garbage, 'GET', '/api/v4/whoami')).status).toBe(401);
      }
      expect(asked.length).toBe(before);
      await other.close();
    });

    it('give no more than their maker has', async () => {
      expect((await create(tokens.operator, { role: 'admin' })).status).toBe(403);
      expect((await create(tokens.operator, { for_user: 'eve' })).status).toBe(403);
      expect((await callAs(served, tokens.operator, 'GET', '/api/v4/api_tokens?of_user=eve')).status).toBe(403);
      const of_eve = await create(tokens.admin, { for_user: 'eve', role: 'operator' });
      expect(of_eve.json.api_token).toMatchObject({ user: 'eve', role: 'operator', created_by: 'ada' });
      expect((await callAs(served, tokens.admin, 'GET', '/api/v4/api_tokens?of_user=eve')).json.api_tokens[0].user).toBe('eve');
      expect((await create(tokens.operator, { expires_in_seconds: 59 })).status).toBe(400);
    });

    it('end with the token that made them', async () => {
      const short = await tokenOf(database(), { expires_in_seconds: 600 });
      const { token } = (await create(short, {})).json as { token: string };
      const [row] = await database().read<{ same: number }>(
        `SELECT COUNT(*) AS same FROM api_token made JOIN api_token maker ON made.expires_date <= maker.expires_date
          WHERE made.hash = ? AND maker.hash = ?`,
        [hashOfToken(token), hashOfToken(short)],
      );
      expect(Number(row?.same)).toBe(1);
    });

    it('are written to once for many uses', async () => {
      const token = await tokenOf(database(), { user: 'busy' });
      const used = (): Promise<{ last_used_date: string | null }[]> =>
        database().read('SELECT last_used_date FROM api_token WHERE hash = ?', [hashOfToken(token)]);
      expect(await used()).toEqual([{ last_used_date: null }]);
      const written = database().counts.rows_written;
      const read = database().counts.statements;
      for (let at = 0; at < 50; at++) expect((await callAs(served, token, 'GET', '/api/v4/whoami')).status).toBe(200);
      const deadline = Date.now() + 30_000;
      while ((await used())[0]!.last_used_date === null && Date.now() < deadline) await new Promise((go) => setTimeout(go, 5));
      expect((await used())[0]!.last_used_date).toMatch(/^\d{4}-/);
      expect(database().counts.rows_written - written).toBe(1);
      expect(database().counts.statements - read).toBeLessThan(50);
    });
  });

  it('ends a stream when its credential is revoked', async () => {
    const token = await tokenOf(database(), { user: 'follower', role: 'reader' });
    const response = await fetch(`${served.url}/api/v4/workflows/${bound.workflow_id}/events`, {
      headers: { authorization: `Bearer ${token}` },
    });
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8']);
    const reader = response.body!.getReader();
    expect(Buffer.from((await reader.read()).value!).toString()).toMatch(/^data: /);
    await database().change(`UPDATE api_token SET revoked_date = created_date WHERE hash = ?`, hashOfToken(token));
    // Past the api, so that it hears of it by its own look only. Without an end this waits until the spec's time is over.
    while (!(await reader.read()).done);
    expect((await callAs(served, token, 'GET', new URL(response.url).pathname)).status).toBe(401);
  });

  it('answers 503, not 401, while the database is away', async () => {
    const broken = Object.create(database(), {
      read: { value: () => Promise.reject(new JobmonError('UNAVAILABLE', 'the database is away')) },
    }) as ReturnType<typeof database>;
    const other = await serve(broken, { auth: {} });
    expect((await callAs(other, tokens.admin, 'GET', '/api/v4/whoami')).status).toBe(503);
    expect((await callAs(other, TOKEN, 'GET', '/api/v4/whoami')).json).toMatchObject({ role: 'admin', credential: 'house' });
    await other.close();
  });

  it('tells who asked in the log, and never by what', async () => {
    const texts = served.lines.map((line) => JSON.stringify(line));
    expect(texts.filter((text) => text.includes('"user":"ada"')).length).toBeGreaterThan(10);
    for (const secret of [...Object.values(tokens), TOKEN]) {
      expect(texts.filter((text) => text.includes(secret))).toEqual([]);
    }
  });
});
