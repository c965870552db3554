/**
 * The published Python reaper, unmodified, beside ours: both look for the same lost runs on the same services, and each run ends once, by the
 * rule, while no living one ends. Triggers of the database write down each change of a status; the services know nothing of them.
 */
import type { WorkflowRunStatus, WorkflowStatus } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import {
  declareImpossible,
  describeApart,
  insertWorkflow,
  pythonPrograms,
  PythonSite,
  SystemApart,
  until,
  WireRecorder,
  witnessStatuses,
  type DatabaseKind,
  type Services,
} from '@jobmon/testkit';

/** What a lost run and its workflow stand at, and what they come to. */
const LOST: readonly (readonly [WorkflowRunStatus, WorkflowStatus, string])[] = [
  ['L', 'G', 'A A'],
  ['B', 'Q', 'E F'],
  ['R', 'R', 'E F'],
  ['C', 'R', 'T H'],
  ['H', 'R', 'T H'],
];
const RUNS = 100;
const FIRST_S = 8;
/** Between the first deadline and the last: a round of the Python reaper takes ten seconds, so that it and ours both find many. */
const SPREAD_S = 40;
const ROUNDS = 3;

const python = pythonPrograms('python-reaper.txt');
if ('missing' in python) declareImpossible('the Python reaper', python.missing);
else describeApart('the Python reaper', (mariadb) => beside(mariadb, python.folder));

function beside(mariadb: DatabaseKind, programs: string): void {
  let system: SystemApart;
  let services: Services;
  let database: Database;
  let recorder: WireRecorder;
  let site: PythonSite;

  beforeAll(async () => {
    system = await SystemApart.open(mariadb);
    database = system.database;
    await witnessStatuses(database, ['workflow', 'workflow_run']);
    services = system.services({ token: 'token-of-the-python-reaper' });
    await services.start({ api: 2, 'state-machine': 2, reaper: 1 });
    recorder = await WireRecorder.start(...(services.alive('api').map(({ url }) => url!) as [string, ...string[]]));
    system.alsoEnd(() => recorder.stop());
    site = new PythonSite(system.user, 'python', programs, `${recorder.url}/api/v3`);
    system.alsoEnd(() => site.clear());
    await system.clientsAreHeard();
  }, 240_000);
  afterAll(() => system?.remove(), 120_000);

  it('ends what ours ends, each lost run once, and no living one', async () => {
    const alive = await Promise.all([0, 1, 2].map(() => insertWorkflow(database, { driver: 'client', deadline_seconds: 20 })));
    const beat = async (): Promise<void> => {
      for (const { workflow_run_id } of alive) {
        const answer = await fetch(`${services.alive('api')[0]!.url}/api/v3/workflow_run/${workflow_run_id}/log_heartbeat`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ status: 'R', next_report_increment: 20 }),
        });
        expect([answer.status, await answer.json()]).toEqual([200, { status: 'R' }]);
      }
    };
    // A run of the server is nobody's but the scheduler's, however late.
    const server = await insertWorkflow(database, { driver: 'server', deadline_seconds: -60 });
    const inconsistent = await insertWorkflow(database, {
      driver: 'client',
      run_status: 'E',
      workflow_status: 'F',
      task_status: 'D',
    });
    const lost: { run_id: number; workflow_id: number; end: string }[] = [];
    for (let at = 0; at < RUNS; at += 1) {
      const [run_status, workflow_status, end] = LOST[at % LOST.length]!;
      const deadline_seconds = Math.floor(FIRST_S + (at * SPREAD_S) / RUNS);
      const made = await insertWorkflow(database, { driver: 'client', run_status, workflow_status, deadline_seconds });
      lost.push({ run_id: made.workflow_run_id, workflow_id: made.workflow_id, end });
    }
    const args = ['--service_url', `${recorder.url}/api/v3`, '--poll_interval_minutes', '0', 'start'];
    const reaper = site.start('jobmon_server', ['workflow_reaper', ...args]);

    const asked = (protocol: string) => recorder.exchanges.filter(({ operation }) => operation.startsWith(`${protocol} `));
    const ids = lost.map(({ run_id }) => run_id).join(',');
    const open = async (): Promise<number> => {
      const live = `SELECT COUNT(*) AS n FROM workflow_run WHERE id IN (${ids}) AND status NOT IN ('A', 'E', 'T')`;
      return Number((await database.read<{ n: number }>(live))[0]!.n);
    };
    await until(
      'all lost runs have ended, and it has looked a few times',
      async () => {
        if (reaper.hasEnded) throw new Error(`the Python reaper has ended: ${reaper.stdout}${reaper.stderr}`);
        await beat();
        return (await open()) === 0 && asked('P3').length >= 3 * ROUNDS;
      },
      180_000,
    );

    // It did work, and all it was answered was 200.
    expect([asked('P1').length > 0, asked('P4').length > 0]).toEqual([true, true]);
    expect(recorder.exchanges.filter(({ status }) => status !== 200)).toEqual([]);
    expect(new Set(recorder.exchanges.map(({ operation }) => operation.split(' ')[0]))).toEqual(new Set(['P1', 'P3', 'P4']));
    const ended = await database.read<{ id: number; run: string; workflow: string }>(
      `SELECT r.id, r.status AS run, w.status AS workflow FROM workflow_run AS r JOIN workflow AS w ON w.id = r.workflow_id WHERE r.id IN (${ids})`,
    );
    const stood = new Map(ended.map(({ id, run, workflow }) => [id, `${run} ${workflow}`]));
    expect(lost.map(({ run_id }) => stood.get(run_id))).toEqual(lost.map(({ end }) => end));
    const witnessed = await database.read<{ kind: string; row_id: number; was: string; became: string }>(
      'SELECT kind, row_id, was, became FROM witnessed ORDER BY id',
    );
    const changes = (kind: string): number[] => witnessed.filter((one) => one.kind === kind).map(({ row_id }) => row_id);
    const ascending = (numbers: readonly number[]): number[] => [...numbers].sort((a, b) => a - b);
    expect(ascending(changes('workflow_run'))).toEqual(ascending(lost.map(({ run_id }) => run_id)));
    expect(ascending(changes('workflow'))).toEqual(
      ascending([...lost.map(({ workflow_id }) => workflow_id), inconsistent.workflow_id]),
    );
    const left = await database.read<{ status: string }>(
      `SELECT status FROM workflow_run WHERE id IN (${[...alive, server].map(({ workflow_run_id }) => workflow_run_id).join(',')})`,
    );
    expect(left.map(({ status }) => status).join('')).toBe('RRRR');

    // What it would ask for a notification, which needs an account of a chat.
    const named = await fetch(`${recorder.url}/api/v3/workflow/${lost[0]!.workflow_id}/workflow_name_and_args`);
    expect([named.status, await named.json()]).toEqual([
      200,
      { workflow_name: expect.any(String), workflow_args: expect.any(String) },
    ]);
  }, 300_000);
}
