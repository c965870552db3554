/**
 * Bad input for every operation of the Python protocol. Each has one good request with its effect (`test/python-requests.ts`); here it is
 * made bad in every way that a caller can think of: what is refused has the stated code and changes no row, what is sent twice, one
 * after the other or at once, counts once, and the service goes on.
 */
import { PYTHON_OPERATIONS, type HttpBinding, type Operation } from '@jobmon/contracts';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases } from '@jobmon/testkit';
import { z } from 'zod';
import { makeWorld, UNKNOWN_ID, type PythonRequest, type World, type WrongKind } from '../../test/python-requests';
import { EXECUTION_REQUESTS } from '../../test/python-requests-execution';
import { INSPECTION_REQUESTS } from '../../test/python-requests-inspection';
import { difference, removeRows, rowsReader, type Rows } from '../../test/rows';
import { call, serve, type Answered, type Json, type Served } from '../../test/serve';

const REQUESTS: Readonly<Record<string, PythonRequest>> = { ...EXECUTION_REQUESTS, ...INSPECTION_REQUESTS };
/** How many send the same request at once. */
const CROWD = 6;

/** Wrong values of every kind. */
const WRONG: Readonly<Record<WrongKind, unknown>> = {
  text: 'abc',
  truth: true,
  number: 17,
  list: [],
  'odd list': [{ a: [null] }],
  object: { a: {} },
  negative: -1,
  huge: 2 ** 31,
  'beyond all': 1e300,
  fraction: 0.5,
  long: 'x'.repeat(70_000),
  null: null,
};
/** What is wrong in the place of a good value of a type. */
const WRONG_FOR: Readonly<Record<string, readonly WrongKind[]>> = {
  number: ['text', 'truth', 'list', 'odd list', 'object', 'negative', 'huge', 'beyond all', 'fraction', 'null'],
  string: ['number', 'truth', 'list', 'odd list', 'object', 'long', 'null'],
  boolean: ['text', 'number', 'list', 'object', 'null'],
  list: ['text', 'number', 'truth', 'object', 'odd list', 'null'],
  object: ['text', 'number', 'truth', 'list', 'odd list', 'null'],
};
/** Fields that are called as ids are, and are none. */
const NO_IDS = ['process_group_id', 'distributor_id', 'task_resources_type_id'];
/** In path and query everything is text. */
const WRONG_TEXTS = ['abc', '-1', '1.5', '1e3', '99999999999', '%F0%9F%92%A9', 'null', '1;--'];

interface Bound {
  readonly title: string;
  readonly operation: Operation;
  readonly http: HttpBinding;
  readonly request: PythonRequest;
}
const bound = PYTHON_OPERATIONS.flatMap((operation): Bound[] => {
  const { http, name, protocol } = operation;
  const request = REQUESTS[name];
  return http === undefined || request === undefined ? [] : [{ title: `${protocol} ${name}`, operation, http, request }];
});
const all = bound.map((one) => [one.title, one] as const);
const withBody = all.filter(([, { http }]) => http.method !== 'GET');

function fieldsOf(operation: Operation): { names: string[]; required: string[] } {
  const schema = z.toJSONSchema(operation.request, { io: 'input', unrepresentable: 'any' }) as Json;
  return { names: Object.keys(schema.properties ?? {}), required: schema.required ?? [] };
}

const inPath = (http: HttpBinding): string[] => [...http.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name as string);

/** The path with its query of a request, and its body. `client_jobmon_version` is always in the query. */
function onWire(
  http: HttpBinding,
  request: Record<string, unknown>,
): { path: string; body: Record<string, unknown> | undefined } {
  const rest = new Map(Object.entries(request));
  const path = http.path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = rest.get(name);
    rest.delete(name);
    return encodeURIComponent(String(value));
  });
  const query = new URLSearchParams();
  for (const [name, value] of rest) {
    if (http.method !== 'GET' && name !== 'client_jobmon_version') continue;
    for (const one of Array.isArray(value) ? value : [value]) query.append(name, String(one));
    rest.delete(name);
  }
  const text = query.toString();
  return { path: text === '' ? path : `${path}?${text}`, body: http.method === 'GET' ? undefined : Object.fromEntries(rest) };
}

describeOnDatabases('bad input over the Python protocol', (database) => {
  let served: Served;
  /** For requests that change nothing. */
  let world: World;
  let standing: () => Promise<Rows>;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
    world = await makeWorld(database());
    standing = rowsReader(database());
  });
  afterAll(() => served.close());

  const send = (http: HttpBinding, request: Record<string, unknown>): Promise<Answered> => {
    const { path, body } = onWire(http, request);
    return call(served, http.method, path, body, {});
  };

  /** The answer in short, with the request's name before it, so that a failure tells which it was. */
  const told = (what: string, { status, text }: Answered): string =>
    `${what}: ${status}${status < 300 ? '' : ` ${text.slice(0, 200)}`}`;

  /** A refusal says what is wrong in a sentence, and nothing of the inside. */
  function expectRefusal(what: string, answered: Answered, ...statuses: number[]): void {
    if (!statuses.includes(answered.status)) throw new Error(`${told(what, answered)}, and not ${statuses.join(' or ')}`);
    expect(answered.headers['content-type']).toBe('application/json; charset=utf-8');
    // Two routes of the Python server have a form of their own: a sentence in `error` (spec/http-api-execution.md section 2.4).
    const { error, detail } = answered.json as Json;
    if (typeof error !== 'string') expect(detail).toBeDefined();
    if (typeof error === 'object') expect(error.exception_message).toBe(detail);
    expect(answered.text).not.toMatch(/\.[jt]s:\d+|node_modules|SELECT|INSERT|SQLITE|ER_[A-Z]/);
  }

  /** Does `act` and expects every row to stand as before, times included. */
  async function changingNothing(act: () => Promise<void>): Promise<void> {
    const before = await standing();
    await act();
    expect(difference(before, await standing())).toEqual({});
  }

  it('has a good request for each operation', () => {
    const bare = PYTHON_OPERATIONS.filter(({ http, name }) => http !== undefined && REQUESTS[name] === undefined);
    expect(bare.map(({ name }) => name)).toEqual([]);
    const known = new Set(PYTHON_OPERATIONS.map(({ name }) => name));
    expect(Object.keys(REQUESTS).filter((name) => !known.has(name))).toEqual([]);
    for (const { operation, request } of bound) {
      const { names } = fieldsOf(operation);
      expect([
        operation.name,
        Object.keys(request.takes?.(world) ?? {}).filter((field) => !(field in request.good(world))),
      ]).toEqual([operation.name, []]);
      expect(names.length === 0 || Object.keys(request.good(world)).length > 0).toBe(true);
    }
  });

  it.each(all)('%s refuses a request without a field that it needs', async (_, { operation, http, request }) => {
    await changingNothing(async () => {
      for (const field of fieldsOf(operation).required.filter((name) => !inPath(http).includes(name))) {
        const { [field]: _, ...rest } = request.good(world);
        const answered = await send(http, rest);
        expectRefusal(`without ${field}`, answered, http.method === 'GET' ? 422 : 400);
        expect(answered.text).toContain(field);
      }
    });
  });

  it.each(withBody)('%s refuses values of another type, negative and huge numbers, texts that are too long', async (_, one) => {
    const { operation, http, request } = one;
    const good = request.good(world);
    const { required } = fieldsOf(operation);
    await changingNothing(async () => {
      for (const [field, value] of Object.entries(good).filter(([name]) => !inPath(http).includes(name))) {
        if (field === 'client_jobmon_version') continue;
        const type = Array.isArray(value) ? 'list' : value === null ? 'null' : typeof value;
        for (const kind of WRONG_FOR[type] ?? []) {
          if (kind === 'null' && !required.includes(field)) continue;
          if (request.takes?.(world)[field]?.includes(kind)) continue;
          expectRefusal(`${field} that is ${kind}`, await send(http, { ...good, [field]: WRONG[kind] }), 400);
        }
      }
    });
    // What it takes nevertheless is no reason to fail.
    for (const [field, kinds] of Object.entries(request.takes?.(world) ?? {})) {
      for (const kind of kinds) {
        const answered = await send(http, { ...good, [field]: WRONG[kind] });
        if (answered.status !== 200) throw new Error(told(`${field} that is ${kind}`, answered));
      }
    }
  });

  it.each(all)('%s refuses ids that are none, in path and query', async (_, { operation, http, request }) => {
    const good = request.good(world);
    const names = Object.entries(good).flatMap(([name, value]) =>
      (typeof value === 'number' || (http.method === 'GET' && Array.isArray(value) && typeof value[0] === 'number')) &&
      (inPath(http).includes(name) || http.method === 'GET')
        ? [name]
        : [],
    );
    expect(fieldsOf(operation).names.length >= names.length).toBe(true);
    await changingNothing(async () => {
      for (const name of names) {
        for (const wrong of WRONG_TEXTS) {
          if (wrong === '-1' && request.takes?.(world)[name]?.includes('negative')) continue;
          const { path, body } = onWire(http, { ...good, [name]: 'WRONG' });
          const answered = await call(served, http.method, path.replace('WRONG', wrong), body, {});
          expectRefusal(`${name} ${wrong}`, answered, 422, ...(name === 'workflow_args_hash' ? [400] : []));
        }
      }
    });
  });

  it.each(all)('%s does not find an id that does not exist', async (_, { http, request }) => {
    const good = request.good(world);
    await changingNothing(async () => {
      for (const [field, value] of Object.entries(good)) {
        if (!/_ids?$/.test(field) || NO_IDS.includes(field)) continue;
        const unknown = Array.isArray(value) ? [UNKNOWN_ID] : UNKNOWN_ID;
        const expected = request.unknown?.[field] ?? (request.takes?.(world)[field] === undefined ? 404 : 200);
        const answered = await send(http, { ...good, [field]: unknown });
        if (expected === 404) expectRefusal(`unknown ${field}`, answered, 404);
        else expect(told(`unknown ${field}`, answered)).toMatch(new RegExp(`: ${expected}`));
        if (expected === 404) expect(answered.json.error.code).toBe('NOT_FOUND');
      }
    });
  });

  const withBad = all.filter(([, { request }]) => request.bad !== undefined);
  it.each(withBad)(
    "%s refuses what is wrong in its own way: another workflow's ids, values that no row holds",
    async (_, one) => {
      const { http, request } = one;
      const own = await makeWorld(database(), request.world);
      for (const [what, [bad, status]] of Object.entries(request.bad?.(own) ?? {})) {
        await changingNothing(async () => {
          const answered = await send(http, bad);
          if (status === 200) expect(told(what, answered)).toBe(`${what}: 200`);
          else expectRefusal(what, answered, status);
        });
      }
    },
  );

  it.each(withBody)('%s refuses a body that is no JSON object', async (_, { http, request }) => {
    const { path } = onWire(http, request.good(world));
    const broken = ['{', '{"a":}', '[]', '[{}]', '3', 'null', '"x"', '{} {}', '\u0000', '<xml/>', '{"a": NaN}'];
    const bytes = [Buffer.from([0xff, 0xfe, 0x00]), Buffer.from([0x7b, 0xff, 0x7d])];
    await changingNothing(async () => {
      for (const body of [...broken, ...bytes]) {
        expectRefusal(JSON.stringify(body), await call(served, http.method, path, body, {}), 400);
      }
    });
  });

  it.each(all)('%s lives through broken UTF-8', async (_, { http, request }) => {
    const good = request.good(world);
    const { path, body } = onWire(http, good);
    const [first = ''] = inPath(http);
    if (first !== '') {
      const broken = onWire(http, { ...good, [first]: 'WRONG' }).path.replace('WRONG', '%ff%fe');
      expectRefusal('broken path', await call(served, http.method, broken, body, {}), 400, 404, 422);
    }
    const texts = Object.entries(good).filter(([name, value]) => typeof value === 'string' && !inPath(http).includes(name));
    for (const [name] of texts) {
      const parts = onWire(http, { ...good, [name]: 'BROKEN' });
      const odd = [
        Buffer.from(JSON.stringify(parts.body ?? {}).replace('BROKEN', 'a\xff\xfe\xc3'), 'latin1'),
        JSON.stringify(parts.body ?? {}).replace('BROKEN', '\\ud800\\u0000'),
      ];
      for (const text of odd) {
        const target = http.method === 'GET' ? path.replace(/=[^&]*$/, '=%ff%fe') : parts.path;
        const answered = await call(served, http.method, target, http.method === 'GET' ? undefined : text, {});
        if (answered.status !== 200) expectRefusal(`broken ${name}`, answered, 400, 404, 422);
      }
    }
  });

  describe('in a world of its own', () => {
    let rows: () => Promise<Rows>;
    beforeEach(async () => {
      await removeRows(database());
      rows = rowsReader(database(), 'dates');
    });

    it.each(all)('%s does what it says, and a repeat counts once', async (_, { http, request }) => {
      const own = await makeWorld(database(), request.world);
      const before = await rows();
      const first = await send(http, request.good(own));
      expect(told('first', first)).toMatch(request.status === undefined ? /: 200$/ : new RegExp(`: ${request.status} `));
      const afterFirst = await rows();
      expect(difference(before, afterFirst)).toEqual(request.effect ?? {});
      const second = await send(http, request.good(own));
      expect(second.status).toBe(first.status);
      const afterSecond = await rows();
      expect(difference(afterFirst, afterSecond)).toEqual(request.repeat === 'again' ? request.effect : {});
      if (request.repeat === undefined && http.path !== '/api/v3/time')
        expect(withoutTime(second.json)).toEqual(withoutTime(first.json));
      else if (request.repeat !== undefined) expect(second.json).not.toEqual(first.json);
    });

    /** What a repeat may answer otherwise: the time of the answer. */
    const withoutTime = (json: Json): Json => (json !== null && typeof json === 'object' ? { ...json, time: undefined } : json);

    it.each(withBody)('%s counts once when it is sent many times at once', async (_, { http, request }) => {
      const own = await makeWorld(database(), request.world);
      const before = await rows();
      const crowd = await Promise.all(Array.from({ length: CROWD }, () => send(http, request.good(own))));
      expect(crowd.map((answered) => told('one of many', answered))).toEqual(Array(CROWD).fill('one of many: 200'));
      const times = request.repeat === 'again' ? CROWD : 1;
      const expected = Object.entries(request.effect ?? {}).map(([table, [added, changed]]) => [table, [added * times, changed]]);
      expect(difference(before, await rows())).toEqual(Object.fromEntries(expected));
    });
  });

  it('S3 is alive after all of it, and no line of the log tells of a defect but that of S4', async () => {
    expect((await call(served, 'GET', '/api/v3/health')).json).toEqual({ status: 'OK' });
    const defects = served.lines.filter(({ level, route }) => Number(level) >= 50 && !String(route).endsWith('/test_bad'));
    expect(defects).toEqual([]);
  });
});
