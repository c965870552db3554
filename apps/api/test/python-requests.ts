/**
 * A good request for each operation of the Python protocol, and what is true of it: which rows it adds and changes, whether a
 * repeat is another thing, what it answers for ids that do not exist. `bad-input.db.spec.ts` makes the bad ones out of them.
 */
import { Driver } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { insertWorkflow, type InsertedWorkflow, type WorkflowToInsert } from '@jobmon/testkit';
import type { Difference } from './rows';

/** What requests are about: a workflow with its run and attempts, and another one that has nothing to do with it. */
export interface World extends InsertedWorkflow {
  readonly other: InsertedWorkflow;
  /** An argument that no template has yet. */
  readonly arg_id: number;
  /** The queue `null.q` of `multiprocess`, and its cluster. */
  readonly cluster_id: number;
  /** A graph that still takes edges. */
  readonly open_dag_id: number;
  /** Part of names that no other world has. */
  readonly mark: string;
}

/** Kinds of wrong values, as `bad-input.db.spec.ts` has them. */
export type WrongKind =
  | 'text'
  | 'truth'
  | 'number'
  | 'list'
  | 'odd list'
  | 'object'
  | 'negative'
  | 'huge'
  | 'beyond all'
  | 'fraction'
  | 'long'
  | 'null';

export type Taken = Readonly<Record<string, readonly WrongKind[]>>;

export interface PythonRequest {
  /** The world that it needs; four tasks with attempts in Q, I, O and R when absent. */
  readonly world?: WorkflowToInsert;
  /** Path, query and body in one, as the operation takes them. */
  readonly good: (world: World) => Record<string, unknown>;
  /** 200 when absent. */
  readonly status?: number;
  /** Rows that it adds and changes, times apart; none when absent. */
  readonly effect?: Difference;
  /**
   * A repeat does it `again` (a new row each time), or changes nothing and is answered `otherwise`; when absent it changes nothing and is
   * answered alike.
   */
  readonly repeat?: 'again' | 'otherwise';
  /** Status for an unknown id in a field, where it is not 404. */
  readonly unknown?: Readonly<Record<string, number>>;
  /** Wrong kinds of values that a field takes nevertheless. */
  readonly takes?: (world: World) => Taken;
  /** Bad requests of its own, with their status: ids of another workflow first of all. None of them changes a row. */
  readonly bad?: (world: World) => Readonly<Record<string, readonly [request: Record<string, unknown>, status: number]>>;
}

export const UNKNOWN_ID = 2_000_000_000;

const ATTEMPTS = ['Q', 'I', 'O', 'R'] as const;
let worlds = 0;

export async function makeWorld(database: Database, wanted: WorkflowToInsert = {}): Promise<World> {
  const usual: WorkflowToInsert = {
    tasks: 4,
    upstreams: (position) => (position === 3 ? [0, 1, 2] : []),
    driver: Driver.CLIENT,
    cluster: 'multiprocess',
  };
  const attempts: WorkflowToInsert = {
    instance_status: (position) => ATTEMPTS[position % 4]!,
    task_status: (position) => ATTEMPTS[position % 4]!,
  };
  const own = await insertWorkflow(database, { ...usual, ...(Object.keys(wanted).length > 0 ? wanted : attempts) });
  const other = await insertWorkflow(database, { ...usual, ...attempts });
  worlds += 1;
  const mark = `bad input ${worlds}`;
  const arg_id = await database.write({ label: 'test.arg' }, function* () {
    return (yield { sql: 'INSERT INTO arg (name) VALUES (?)', params: [mark] }).insert_id;
  });
  const open_dag_id = await database.write({ label: 'test.dag' }, function* () {
    return (yield { sql: 'INSERT INTO dag (hash) VALUES (?)', params: [`7${'0'.repeat(20)}${arg_id}`] }).insert_id;
  });
  const [queue] = await database.read<{ cluster_id: number }>('SELECT cluster_id FROM queue WHERE id = ?', [own.queue_id]);
  return { ...own, other, arg_id, cluster_id: Number(queue?.cluster_id), open_dag_id, mark };
}
