/**
 * What swarms and distributors of client runs ask for many attempts at once: E2 to E5, E21, E30, E61. A lane of its own beside that of
 * agents; each request is done in pieces of up to 1,000 rows, each a transaction in its turn, so that a long list holds up nobody.
 * When a piece fails the request fails, and its repeat finds the pieces before it done.
 */
import {
  instantiateTaskInstances,
  JobmonError,
  logDistributorIds,
  logReportByBatch,
  queueTaskBatch,
  setStatusForTriaging,
  taskChanged,
  transitionToKilled,
  transitionToLaunched,
  type Operation,
  type ReplyOf,
  type RequestOf,
} from '@jobmon/contracts';
import type { Procedure } from '@jobmon/entities';
import { replyOf, type Messenger, type Outcome } from '@jobmon/messaging';
import { batchAt, distributorIdsIn, endKilledBatch, launchBatch, queueBatch, requireArray, storeDistributorIds } from './array';
import { batchesOf, callOf, extendDeadlines, instantiate, type TakenInstance } from './distributor';
import { Lane } from './lane';
import type { StateMachineContext } from './state-machine';
import { ascending, type ChangedTasks } from './transition';
import { isFull, SILENCES, silentInstances, triage, workflowOf } from './triage';

/** Rows of one transaction, and ids of one event. */
const PIECE_ROWS = 1_000;
/** Pieces that wait; each is a transaction of its own. */
const WAITING_MAX = 2_000;
/** A look for silent attempts ends after this, before the bus gives its caller up; the next one goes on. */
const TRIAGE_MS_MAX = 10_000;
/** The Python system's defaults: seconds between two heartbeats of a worker, and how many of them may be missed. */
const HEARTBEAT_DEFAULT = { task_instance_interval: 90, report_by_buffer: 3.1 };

interface Piece {
  readonly turn: string;
  readonly run: () => Promise<unknown>;
}

export class ClientRuns {
  private readonly lane: Lane<Piece, unknown>;
  private readonly writer: string;
  /** Looks for silent attempts that are under way, by workflow: who asks meanwhile waits for the same one. */
  private readonly triages = new Map<number, Promise<void>>();

  constructor(private readonly context: StateMachineContext) {
    this.writer = `${(context.writer ?? 'state-machine').slice(0, 50)}/client`;
    this.lane = new Lane<Piece, unknown>({
      name: 'client runs',
      log: context.log,
      rows_max: 1,
      bytes_max: 1,
      waiting_max: WAITING_MAX,
      sizeOf: () => 1,
      keyOf: (piece) => piece.turn,
      write: async ([piece]) => [{ ok: await (piece as Piece).run() }],
    });
  }

  /** Answers its operations on the messenger. */
  handle(messenger: Messenger): void {
    const answer = <O extends Operation>(operation: O, reply: (request: RequestOf<O>) => Promise<ReplyOf<O>>): void =>
      messenger.handle(operation, (requests) =>
        Promise.all(requests.map((request) => this.outcomeOf(operation, () => reply(request)))),
      );
    answer(queueTaskBatch, (request) => this.queueTaskBatch(request));
    answer(transitionToLaunched, (request) => this.transitionToLaunched(request));
    answer(transitionToKilled, (request) => this.transitionToKilled(request));
    answer(logDistributorIds, (request) => this.logDistributorIds(request));
    answer(logReportByBatch, (request) => this.logReportByBatch(request));
    answer(instantiateTaskInstances, (request) => this.instantiate(request));
    answer(setStatusForTriaging, (request) => this.setStatusForTriaging(request));
  }

  /** Takes nothing new and waits for what was taken. */
  async drain(): Promise<void> {
    await this.lane.drain();
  }

  /** E2. An empty list is looked at too: its array and run must exist. */
  async queueTaskBatch(request: RequestOf<typeof queueTaskBatch>): Promise<ReplyOf<typeof queueTaskBatch>> {
    const { dialect } = this.context.database;
    const standing = new Map<number, string>();
    const ids = ascending(request.task_ids);
    for (let from = 0; from === 0 || from < ids.length; from += PIECE_ROWS) {
      const piece = ids.slice(from, from + PIECE_ROWS);
      const done = await this.piece(`run ${request.workflow_run_id}`, 'array.queue_task_batch', () =>
        queueBatch(dialect, this.writer, request, piece),
      );
      this.publish(done.changed);
      for (const [id, status] of done.statuses) standing.set(id, status);
    }
    const tasks_by_status: Record<string, number[]> = {};
    for (const id of new Set(request.task_ids)) {
      const status = standing.get(id);
      if (status !== undefined) (tasks_by_status[status] ??= []).push(id);
    }
    return { tasks_by_status };
  }

  /** E3. */
  async transitionToLaunched(request: RequestOf<typeof transitionToLaunched>): Promise<ReplyOf<typeof transitionToLaunched>> {
    const { database } = this.context;
    const ids = await batchAt(database, request.array_id, request.batch_number, 'I');
    await this.pieces(`array ${request.array_id}`, 'array.transition_to_launched', ids, (piece) =>
      launchBatch(database.dialect, this.writer, piece, request.next_report_increment),
    );
    return {};
  }

  /** E4. */
  async transitionToKilled(request: RequestOf<typeof transitionToKilled>): Promise<ReplyOf<typeof transitionToKilled>> {
    const { database } = this.context;
    const ids = await batchAt(database, request.array_id, request.batch_number, 'K');
    await this.pieces(`array ${request.array_id}`, 'array.transition_to_killed', ids, (piece) =>
      endKilledBatch(database.dialect, this.writer, piece),
    );
    return {};
  }

  /** E5. */
  async logDistributorIds({ array_id, ...body }: RequestOf<typeof logDistributorIds>): Promise<{ success: true }> {
    const { database } = this.context;
    const entries = distributorIdsIn(body);
    let own = 0;
    for (let from = 0; from < entries.length; from += PIECE_ROWS) {
      const piece = entries.slice(from, from + PIECE_ROWS);
      own += await this.piece(`array ${array_id}`, 'array.log_distributor_id', () =>
        storeDistributorIds(database.dialect, array_id, piece),
      );
    }
    if (own === 0) await requireArray(database, array_id);
    return { success: true };
  }

  /** E21. */
  async logReportByBatch(request: RequestOf<typeof logReportByBatch>): Promise<ReplyOf<typeof logReportByBatch>> {
    const ids = ascending(request.task_instance_ids ?? []);
    const { dialect } = this.context.database;
    for (let from = 0; from < ids.length; from += PIECE_ROWS) {
      const piece = ids.slice(from, from + PIECE_ROWS);
      await this.piece('beats', 'task_instance.log_report_by_batch', () =>
        extendDeadlines(dialect, piece, request.next_report_increment),
      );
    }
    return { is_empty: ids.length === 0 };
  }

  /** E30. */
  async instantiate(request: RequestOf<typeof instantiateTaskInstances>): Promise<ReplyOf<typeof instantiateTaskInstances>> {
    const { dialect } = this.context.database;
    const call = callOf(request.task_instance_ids);
    const ids = ascending(request.task_instance_ids);
    const taken: TakenInstance[] = [];
    for (let from = 0; from < ids.length; from += PIECE_ROWS) {
      const piece = ids.slice(from, from + PIECE_ROWS);
      const done = await this.piece('instantiate', 'task_instance.instantiate', () =>
        instantiate(dialect, this.writer, piece, call),
      );
      this.publish(done.changed);
      taken.push(...done.taken);
    }
    return batchesOf(taken);
  }

  /** E61. Clients of some versions ask without a pause, so those who ask about one workflow at a time share a look. */
  async setStatusForTriaging(request: RequestOf<typeof setStatusForTriaging>): Promise<ReplyOf<typeof setStatusForTriaging>> {
    const workflowId = await workflowOf(this.context.database, request.workflow_run_id);
    let underWay = this.triages.get(workflowId);
    if (underWay === undefined) {
      underWay = this.triage(workflowId).finally(() => this.triages.delete(workflowId));
      this.triages.set(workflowId, underWay);
    }
    await underWay;
    return {};
  }

  private async triage(workflowId: number): Promise<void> {
    const { database } = this.context;
    const { task_instance_interval, report_by_buffer } = this.context.config?.heartbeat ?? HEARTBEAT_DEFAULT;
    const old_seconds = 2 * report_by_buffer * task_instance_interval;
    const served_seconds = (await this.context.clientsServed?.()) ?? Infinity;
    const until = Date.now() + TRIAGE_MS_MAX;
    for (const silence of SILENCES) {
      for (let after: number | undefined = 0; after !== undefined && Date.now() < until;) {
        const ids: number[] = await silentInstances(database, workflowId, silence, { old_seconds, served_seconds }, after);
        await this.pieces(`workflow ${workflowId}`, 'workflow_run.set_status_for_triaging', ids, (piece) =>
          triage(database.dialect, this.writer, silence, piece),
        );
        after = isFull(ids) ? ids.at(-1) : undefined;
      }
    }
  }

  /** Each thousand of these ids in a transaction of its own. */
  private async pieces(
    turn: string,
    label: string,
    ids: readonly number[],
    procedure: (ids: readonly number[]) => Procedure<ChangedTasks[]>,
  ): Promise<void> {
    for (let from = 0; from < ids.length; from += PIECE_ROWS) {
      const piece = ids.slice(from, from + PIECE_ROWS);
      this.publish(await this.piece(turn, label, () => procedure(piece)));
    }
  }

  /** One transaction in its turn; its error is thrown. */
  private async piece<T>(turn: string, label: string, procedure: () => Procedure<T>): Promise<T> {
    const run = (): Promise<T> => this.context.database.write({ label }, procedure);
    return replyOf((await this.lane.add({ turn, run })) as Outcome<T>);
  }

  private async outcomeOf<T>(operation: Operation, answer: () => Promise<T>): Promise<Outcome<T>> {
    try {
      return { ok: await answer() };
    } catch (thrown) {
      if (!(thrown instanceof JobmonError))
        this.context.log.error({ error: thrown, operation: operation.name }, 'a request failed');
      return { error: JobmonError.from(thrown).toBody() };
    }
  }

  private publish(changed: readonly ChangedTasks[]): void {
    for (const run of changed) this.context.messenger.publish(taskChanged, run);
  }
}
