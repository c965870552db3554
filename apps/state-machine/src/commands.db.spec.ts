/**
 * Random sequences of commands against a small model in memory, on both databases. The model says in a few tables what the spec
 * says in sentences (sections 3 and 4 of spec/state-machines.md, E19 to E23, the deviations of section 12) and shares no code with the
 * state machine. After each batch the answers and all rows agree with it; at the end so do counts and histories.
 */
import type { AttemptReport } from '@jobmon/contracts';
import { describeOnDatabases, insertWorkflow, type InsertedWorkflow } from '@jobmon/testkit';
import fc from 'fast-check';
import { countTasks, execute, expectTruth, insertAgent, replies, standing, startMachine, rooms } from '../test/started-machine';
import type { Report } from './task-instance';

const TASKS = 3;
const MAX_ATTEMPTS = 2;

interface ModelTask {
  status: string;
  attempts: number;
  /** Index of the current attempt in `tries`, -1 after a reset. */
  current: number;
  readonly tries: { status: string; holder: number }[];
}

/** A failure of the current attempt takes the task along. */
function fail(task: ModelTask, letter: string): void {
  task.status = task.attempts >= MAX_ATTEMPTS || letter === 'F' ? 'F' : letter === 'Z' ? 'A' : 'G';
}

/** Moves one attempt whose own table allows it; the task follows if it is the current one. */
function go(task: ModelTask, index: number, letter: string): void {
  const attempt = task.tries[index]!;
  const isCurrent = task.current === index;
  if (!isCurrent) {
    attempt.status = 'IR'.includes(letter) ? 'F' : letter;
    return;
  }
  attempt.status = letter;
  if ('IRD'.includes(letter)) task.status = letter;
  else if ('EZUWF'.includes(letter)) fail(task, letter);
}

type Command =
  | { readonly kind: 'queue'; readonly tasks: number[] }
  | { readonly kind: 'lease'; readonly wanted: number }
  | { readonly kind: 'reset'; readonly task: number }
  | { readonly kind: 'report'; readonly reports: { task: number; back: number; status: AttemptReport['status'] }[] };

const task = fc.integer({ min: 0, max: TASKS - 1 });
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('queue' as const), tasks: fc.uniqueArray(task, { minLength: 1 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('lease' as const), wanted: fc.integer({ min: 1, max: TASKS }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reset' as const), task }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('report' as const),
      reports: fc.array(
        fc.record({
          task,
          back: fc.integer({ min: 0, max: 1 }),
          status: fc.constantFrom('R', 'R', 'D', 'D', 'E', 'Z', 'U', 'W') as fc.Arbitrary<AttemptReport['status']>,
        }),
        { minLength: 1, maxLength: 6 },
      ),
    }),
  },
);

/** What an agent's report does, from the standing status: whether it counts and through which letters. */
function agentPath(from: string, to: string): string[] {
  if (from === 'I') return to === 'R' || to === 'W' ? [to] : ['R', to];
  if (from === 'R' && 'DEZU'.includes(to)) return [to];
  return [];
}

describeOnDatabases('commands of a server run', (database, kind) => {
  test('do what the model does, repeats, late reports and second attempts included', async () => {
    let user = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 25 }), async (commands) => {
        const name = `model_${(user += 1)}`;
        const made = await insertWorkflow(database(), { tasks: TASKS, max_attempts: MAX_ATTEMPTS, user: name });
        const agent_id = await insertAgent(database(), { user: name });
        const before = await countTasks(database(), made.workflow_id);
        const { machine } = startMachine(database());
        const model = Array.from({ length: TASKS }, (): ModelTask => ({ status: 'G', attempts: 0, current: -1, tries: [] }));
        /** Instance ids by task and attempt. */
        const ids: number[][] = model.map(() => []);
        /** The id of the row of resources that an instance asks for. */
        const kinds = new Map<number, number>();
        for (const next of commands) {
          if (next.kind === 'queue') {
            const task_ids = next.tasks.map((at) => made.task_ids[at]!);
            const [reply] = replies([await machine.queueTasks({ workflow_run_id: made.workflow_run_id, task_ids })]);
            for (const at of next.tasks) queueInModel(model[at]!);
            expect(reply?.statuses).toEqual(next.tasks.map((at) => [made.task_ids[at], model[at]!.status]));
            await readIds(made, ids, kinds);
          } else if (next.kind === 'lease') {
            const [reply] = replies([await machine.leaseTaskInstances({ agent_id, wanted: rooms({ sequential: next.wanted }) })]);
            const expected = leaseInModel(model, ids, kinds, next.wanted);
            expect(reply?.task_instance_ids).toEqual(expected);
          } else if (next.kind === 'reset') {
            await execute(
              database(),
              "UPDATE task SET status = 'G', num_attempts = 0, current_task_instance_id = 0 WHERE id = ? AND status <> 'D'",
              [made.task_ids[next.task]!],
            );
            resetInModel(model[next.task]!, before);
          } else {
            const known = next.reports
              .map((report) => ({ ...report, index: model[report.task]!.tries.length - 1 - report.back }))
              .filter(({ index }) => index >= 0);
            const answers = replies(
              await machine.report(
                known.map(({ task: at, index, status }): Report => {
                  const task_instance_id = ids[at]![index]!;
                  return { name: 'report_attempt', request: { agent_id, report: { task_instance_id, status } } };
                }),
              ),
            );
            const expected = known.map(({ task: at, index, status }) => {
              const attempt = model[at]!.tries[index]!;
              const isHeld = attempt.holder === 1;
              for (const letter of isHeld ? agentPath(attempt.status, status) : []) {
                if (attempt.status !== 'F') go(model[at]!, index, letter);
              }
              return attempt.status;
            });
            expect(answers.map((answer) => answer.status)).toEqual(expected);
          }
          await expectRows(made, model, ids);
        }
        await expectTruth(database(), made.workflow_id, before);
      }),
      { numRuns: kind.name === 'sqlite' ? 60 : 20 },
    );
  }, 120_000);

  function queueInModel(one: ModelTask): void {
    if (!'GA'.includes(one.status)) return;
    one.status = 'Q';
    one.attempts += 1;
    one.tries.push({ status: 'Q', holder: 0 });
    one.current = one.tries.length - 1;
  }

  /**
   * Those that ask for the same together, the oldest first: a row of resources may be older than the attempt that grew into it. What a
   * reset left in Q is closed and not given away, but counts against the lease.
   */
  function leaseInModel(
    model: readonly ModelTask[],
    ids: readonly number[][],
    kinds: ReadonlyMap<number, number>,
    wanted: number,
  ): number[] {
    const kind = (id: number): number => kinds.get(id) as number;
    const queued = model
      .flatMap((one, at) => one.tries.map((attempt, index) => ({ one, attempt, index, id: ids[at]![index]! })))
      .filter(({ attempt }) => attempt.status === 'Q')
      .sort((a, b) => kind(a.id) - kind(b.id) || a.id - b.id)
      .slice(0, wanted);
    return queued.flatMap(({ one, attempt, index, id }) => {
      go(one, index, 'I');
      if (attempt.status !== 'I') return [];
      attempt.holder = 1;
      return [id];
    });
  }

  /** A reset by SQL writes no counts: they are corrected by hand, as that program's own bookkeeping would. */
  function resetInModel(one: ModelTask, before: Map<string, number>): void {
    if (one.status === 'D') return;
    before.set(one.status, (before.get(one.status) ?? 0) - 1);
    before.set('G', (before.get('G') ?? 0) + 1);
    one.status = 'G';
    one.attempts = 0;
    one.current = -1;
  }

  async function readIds(made: InsertedWorkflow, ids: number[][], kinds: Map<number, number>): Promise<void> {
    const rows = await database().read<{ id: number; task_id: number; task_resources_id: number }>(
      'SELECT id, task_id, task_resources_id FROM task_instance WHERE workflow_run_id = ? ORDER BY id',
      [made.workflow_run_id],
    );
    for (const list of ids) list.length = 0;
    for (const row of rows) {
      ids[made.task_ids.indexOf(row.task_id)]!.push(row.id);
      kinds.set(row.id, row.task_resources_id);
    }
  }

  async function expectRows(made: InsertedWorkflow, model: readonly ModelTask[], ids: readonly number[][]): Promise<void> {
    const tasks = await database().read<{ status: string; num_attempts: number }>(
      'SELECT status, num_attempts FROM task WHERE workflow_id = ? ORDER BY id',
      [made.workflow_id],
    );
    expect(tasks).toEqual(model.map(({ status, attempts }) => ({ status, num_attempts: attempts })));
    const all = ids.flat();
    if (all.length === 0) return;
    const rows = new Map((await standing(database(), all)).map((row) => [row.id, row.status]));
    expect(ids.map((list) => list.map((id) => rows.get(id)))).toEqual(model.map((one) => one.tries.map(({ status }) => status)));
  }
});

type Word = 'running' | 'other' | 'beat' | 'D' | 'E' | 'Z' | 'U' | 'F';

/** Where an attempt of a client run goes, by what stands and what is said; absent: stays. */
const SAID: Readonly<Record<Word, Readonly<Record<string, string>>>> = {
  running: { I: 'R', O: 'R', T: 'R', K: 'F', X: 'E' },
  other: { I: 'R', O: 'R', K: 'F', X: 'E' },
  beat: { T: 'R' },
  D: { R: 'D', T: 'D', K: 'D' },
  E: { R: 'E', T: 'E', X: 'E' },
  Z: { R: 'Z', T: 'Z', O: 'Z' },
  U: { R: 'U', T: 'U', O: 'U' },
  F: { T: 'F', O: 'F', K: 'F' },
};

describeOnDatabases('reports on a client run', (database, kind) => {
  const HOLDERS = { running: 11, other: 12 } as const;

  function reportOf(id: number, word: Word): Report {
    switch (word) {
      case 'running':
      case 'other':
        return {
          name: 'log_running',
          request: { task_instance_id: id, process_group_id: HOLDERS[word], next_report_increment: 279, nodename: 'n1' },
        };
      case 'beat':
        return { name: 'log_report_by', request: { task_instance_id: id, next_report_increment: 279 } };
      case 'D':
        return { name: 'log_done', request: { task_instance_id: id } };
      default:
        return { name: 'log_error_worker_node', request: { task_instance_id: id, error_state: word, error_description: 'why' } };
    }
  }

  const said = fc.record({
    task,
    isOlder: fc.boolean(),
    word: fc.constantFrom('running', 'other', 'beat', 'D', 'E', 'Z', 'U', 'F') as fc.Arbitrary<Word>,
  });
  const letters = fc.constantFrom('I', 'O', 'R', 'T', 'K', 'X');

  test('do what the model does to the current attempt and to an older one', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(letters, { minLength: TASKS, maxLength: TASKS }),
        fc.array(letters, { minLength: TASKS, maxLength: TASKS }),
        fc.array(fc.array(said, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 6 }),
        async (current, older, batches) => {
          const follows: Record<string, string> = { I: 'I', O: 'O', R: 'R', T: 'R', K: 'R', X: 'O' };
          const made = await insertWorkflow(database(), {
            driver: 'client',
            tasks: TASKS,
            max_attempts: MAX_ATTEMPTS,
            instance_status: (at) => older[at] as 'I',
            task_status: (at) => follows[current[at]!] as 'I',
          });
          const newer: number[] = [];
          for (const [at, letter] of current.entries()) newer.push(await insertNewer(made, at, letter));
          const before = await countTasks(database(), made.workflow_id);
          const { machine } = startMachine(database());
          const model = current.map((letter, at): ModelTask => ({
            status: follows[letter]!,
            attempts: MAX_ATTEMPTS - (at % 2),
            current: 1,
            tries: [
              { status: older[at]!, holder: 0 },
              { status: letter, holder: 0 },
            ],
          }));
          for (const batch of batches) {
            const answers = replies(
              await machine.report(
                batch.map(({ task: at, isOlder, word }) => reportOf(isOlder ? made.task_instance_ids[at]! : newer[at]!, word)),
              ),
            );
            expect(answers.map((answer) => answer.status)).toEqual(
              batch.map(({ task: at, isOlder, word }) => sayInModel(model[at]!, isOlder ? 0 : 1, word)),
            );
            const rows = await standing(database(), [...made.task_instance_ids, ...newer]);
            expect(rows.map((row) => [row.status, row.task_status])).toEqual([
              ...model.map((one) => [one.tries[0]!.status, one.status]),
              ...model.map((one) => [one.tries[1]!.status, one.status]),
            ]);
          }
          await expectTruth(database(), made.workflow_id, before);
        },
      ),
      { numRuns: kind.name === 'sqlite' ? 60 : 20 },
    );
  }, 120_000);

  async function insertNewer(made: InsertedWorkflow, at: number, status: string): Promise<number> {
    const id = await execute(
      database(),
      'INSERT INTO task_instance (workflow_run_id, array_id, task_id, task_resources_id, array_batch_num, array_step_id, status) ' +
        'VALUES (?, ?, ?, ?, 2, ?, ?)',
      [made.workflow_run_id, made.array_id, made.task_ids[at]!, made.task_resources_id, at, status],
    );
    await execute(database(), 'UPDATE task SET current_task_instance_id = ?, num_attempts = ? WHERE id = ?', [
      id,
      MAX_ATTEMPTS - (at % 2),
      made.task_ids[at]!,
    ]);
    return id;
  }

  /** What is answered. While an attempt runs, another caller reads F and changes nothing. */
  function sayInModel(one: ModelTask, index: number, word: Word): string {
    const attempt = one.tries[index]!;
    if (word === 'running' || word === 'other') {
      const holder = HOLDERS[word];
      if ('RT'.includes(attempt.status) && attempt.holder !== holder) return 'F';
      attempt.holder = holder;
    }
    const to = SAID[word][attempt.status];
    if (to !== undefined) go(one, index, to);
    return attempt.status;
  }
});
