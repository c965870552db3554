/**
 * What Python clients and the Python server said to each other, said again to this api. Ids, times and free texts are mapped
 * (`test/replay.ts`); where our answer is meant to be another than the Python server's, a line of `DEVIATIONS` says why, and what is
 * true of such an answer. Everything else must be equal.
 */
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases, type TestDatabase } from '@jobmon/testkit';
import { Mapping, operationOf, recordedTraffic, SESSIONS, type Session } from '../../test/replay';
import { call, serve, type Answered, type Json, type Served } from '../../test/serve';

type Line = ReturnType<typeof recordedTraffic>[number];

/** One recorded request with the recorded answer in this database's words, and ours. */
interface Exchange {
  readonly session: Session;
  readonly recorded: Line;
  readonly protocol: string | undefined;
  readonly path: string;
  readonly body: string | undefined;
  readonly expected: Json;
  readonly ours: Answered;
}

interface Deviation {
  readonly where: string;
  readonly reason: string;
  /** Whether this explains why the answers differ, all of the difference; absent where the recorded sessions have no such case. */
  readonly explains?: (exchange: Exchange, database: TestDatabase) => boolean | Promise<boolean>;
}

const sentence = expect.stringMatching(/^.{5,}$/s);

/** `spec/http-api-execution.md` section 12 line by line, and before it what section 2.4 says about the form of refusals. */
const DEVIATIONS: readonly Deviation[] = [
  {
    where: 'form of refusals',
    reason: 'one form with a stable code and a sentence in the words of this server; the status and the outer key are kept',
    explains: ({ recorded, expected, ours }) => {
      if (recorded.status < 400 || ours.status !== recorded.status) return false;
      if (Array.isArray(expected.detail)) {
        const pairs = (faults: Json[]): Json[] => faults.map(({ loc, input }) => ({ loc, input }));
        return equals(pairs(ours.json.detail), pairs(expected.detail));
      }
      return isRefusal(ours);
    },
  },
  {
    where: 'E12',
    reason: 'parameters of seeded queues are JSON, so a pair is written as a list; what reads Python literals takes both alike',
    explains: ({ protocol, expected, ours }) =>
      protocol === 'E12' &&
      ours.status === 200 &&
      equals(
        ours.json.queue.map((value: Json) => (typeof value === 'string' ? value.replaceAll(' ', '') : value)),
        expected.queue.map((value: Json) =>
          typeof value === 'string' ? value.replaceAll(' ', '').replaceAll('(', '[').replaceAll(')', ']') : value,
        ),
      ),
  },
  {
    where: 'unknown ids',
    reason: '404 in place of 500, which a client repeats for minutes',
    explains: ({ recorded, ours }) =>
      recorded.status === 500 && recorded.answer.includes('No row was found') && ours.status === 404 && isRefusal(ours),
  },
  {
    where: 'E49',
    reason:
      'the time that is answered lies 10 s back, so what changed before the last look is told again; and no seconds pass here between ' +
      'the looks of a recorded swarm, or others do. What is told is exactly what was written since the cursor, as it stands',
    explains: async ({ protocol, expected, ours, path, body }, database) => {
      if (protocol !== 'E49' || ours.status !== 200) return false;
      const { last_sync } = JSON.parse(body ?? '{}') as { last_sync: string };
      const rows = await database.read<{ id: number; status: string; written: string }>(
        'SELECT id, status, status_date AS written FROM task WHERE workflow_id = ?',
        [Number(/workflow\/(\d+)\//.exec(path)?.[1])],
      );
      const standing = new Map(rows.map(({ id, status }) => [id, status]));
      const since = rows.filter(({ written }) => String(written) >= last_sync).map(({ id, status }) => [id, status]);
      return (
        equals(new Map(flat(ours.json.tasks_by_status)), new Map(since as [number, string][])) &&
        flat(expected.tasks_by_status).every(([id, status]) => standing.get(id) === status)
      );
    },
  },
  { where: 'E13, E41, E2', reason: 'unique keys: no recorded bind was repeated while it ran' },
  { where: 'E19-E23', reason: 'the ways out of T: nothing was triaged in the recorded sessions' },
  { where: 'E20', reason: 'updates what was sent: no recorded command ran long enough for a heartbeat' },
  { where: 'E29', reason: '200 when alive again: no attempt was lost' },
  { where: 'E10', reason: 'an empty list of edges: never sent' },
  { where: 'E15', reason: 'the form with POST: never sent' },
  { where: 'E23, E26', reason: 'one error row: no report was repeated' },
  { where: 'E30, E2', reason: 'guarded by the old status: nothing was queued or instantiated twice' },
  { where: 'E35, E51', reason: 'true, false and null: in no recorded resources' },
  { where: 'E53', reason: 'immutable rows: not called' },
  { where: 'E56', reason: 'no run was refused' },
  { where: 'E19', reason: 'the second caller: each attempt was started once' },
  { where: 'E30', reason: 'ids of other callers: one distributor for each run' },
  { where: 'E44', reason: '200 always: the recorded one is answered so by both' },
  { where: 'E57', reason: 'not called' },
  { where: 'E59', reason: 'half transitions: none recorded' },
  { where: 'E45', reason: 'how early it is true: the recorded one is true at once' },
];

function flat(by: Record<string, number[]>): [number, string][] {
  return Object.entries(by).flatMap(([status, ids]) => ids.map((id): [number, string] => [id, status]));
}

function isRefusal({ status, json }: Answered): boolean {
  const { error, detail, ...others } = json as Json;
  return (
    equals(error, { type: error?.code, code: expect.any(String), exception_message: detail, status_code: String(status) }) &&
    equals(detail, sentence) &&
    equals(others, {})
  );
}

/** Jest's own comparison, as a value. */
function equals(one: unknown, other: unknown): boolean {
  try {
    expect(one).toEqual(other);
    return true;
  } catch {
    return false;
  }
}

/** Sends one recorded request; headers as Python's clients send them, on a connection of its own. */
async function exchange(served: Served, mapping: Mapping, session: Session, recorded: Line): Promise<Exchange> {
  const { path, body } = mapping.request(recorded);
  const headers = { 'content-type': 'application/json', 'user-agent': 'python-requests/2.28.1' };
  const ours = await call(served, recorded.method, path, body, headers);
  const expected = recorded.answer === '' ? undefined : mapping.answer(recorded, ours.json);
  const protocol = operationOf(recorded)?.operation.protocol;
  return { session, recorded, protocol, path, body, expected, ours };
}

/** What came of a replay: how often each deviation was met, and every difference that none explains. */
class Result {
  requests = 0;
  equal = 0;
  readonly deviating = new Map<string, number>();
  readonly unexplained: unknown[] = [];

  async note(found: Exchange, database: TestDatabase): Promise<void> {
    const { recorded, ours, expected } = found;
    this.requests += 1;
    if (ours.status < 300) expect(ours.headers['content-type']).toBe('application/json; charset=utf-8');
    if (ours.status === recorded.status && equals(ours.json, expected)) {
      this.equal += 1;
      return;
    }
    for (const { where, explains } of DEVIATIONS) {
      if (!(await explains?.(found, database))) continue;
      this.deviating.set(where, (this.deviating.get(where) ?? 0) + 1);
      return;
    }
    const { session, path } = found;
    const theirs = [recorded.status, expected];
    this.unexplained.push({
      where: `${session}:${recorded.line}`,
      request: `${recorded.method} ${path}`,
      theirs,
      ours: [ours.status, ours.text],
    });
  }

  summary(): string {
    const deviating = [...this.deviating].map(([where, count]) => `${where} ${count}`).join(', ');
    const count = [...this.deviating.values()].reduce((sum, met) => sum + met, 0);
    return `${this.requests} requests replayed, ${this.equal} equal, ${count} deviating as stated (${deviating})`;
  }
}

const withStateMachine = { modules: (context: Parameters<typeof stateMachineModule>[0]) => [stateMachineModule(context)] };

describeOnDatabases('recorded traffic, one request after the other', (database, { name }) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database(), withStateMachine);
  });
  afterAll(() => served.close());

  it('is answered as the Python server answered it, but for the stated deviations', async () => {
    const mapping = new Mapping();
    const result = new Result();
    for (const session of SESSIONS) {
      for (const recorded of recordedTraffic(session)) {
        await result.note(await exchange(served, mapping, session, recorded), database());
      }
    }
    process.stdout.write(`recorded traffic (${name}): ${result.summary()}\n`);
    expect(result.unexplained).toEqual([]);
    expect(result.requests).toBe(640);
    const occurring = DEVIATIONS.filter(({ explains }) => explains !== undefined).map(({ where }) => where);
    expect([...result.deviating.keys()].sort()).toEqual(occurring.sort());
  }, 120_000);
});

describeOnDatabases('recorded traffic, the sessions of different workflows at once', (database, { name }) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database(), withStateMachine);
  });
  afterAll(() => served.close());

  it('is answered as one session after the other', async () => {
    const mapping = new Mapping();
    const result = new Result();
    const replay = async (...sessions: Session[]): Promise<void> => {
      for (const session of sessions) {
        for (const recorded of recordedTraffic(session)) {
          await result.note(await exchange(served, mapping, session, recorded), database());
        }
      }
    };
    // The first session makes the tool, its templates and the graph, which the others find.
    await replay('sequential-workflow');
    await Promise.all([
      replay('multiprocess-workflow'),
      replay('failing-workflow', 'resume'),
      replay('client-3.3.0-multiprocess'),
    ]);
    process.stdout.write(`recorded traffic, sessions at once (${name}): ${result.summary()}\n`);
    expect(result.unexplained).toEqual([]);
    expect(result.requests).toBe(640);
  }, 120_000);
});
