/**
 * Where stories of the published Python clients are played: one house on one kind of database, for each story a folder of its own and a
 * recorder of its own before the house, so that stories run side by side and each knows its own requests.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Connection } from '@jobmon/client';
import {
  HouseProcess,
  PythonSite,
  ROOT,
  UserFolder,
  WireRecorder,
  type DatabaseKind,
  type Exchange,
  type PythonProcess,
} from '@jobmon/testkit';
import SqliteHandle from 'better-sqlite3';
import { createConnection, type RowDataPacket } from 'mysql2/promise';

export const SCRIPTS = path.join(ROOT, 'apps', 'local', 'test', 'python');
const FLOW = path.join(SCRIPTS, 'flow.py');

/** An answer other than 200 that a story expects. */
export interface Expectation {
  /** Of the protocol: `E56`. */
  readonly operation: string;
  /** 0: no answer came, since the caller was gone. */
  readonly status: number;
  readonly reason: string;
}

/**
 * What may happen in any story: a client at its end interrupts its distributor, which spends its time on E60 and E21, wherever it is; between
 * the head of a request and its body too.
 */
export const ALWAYS_EXPECTED: readonly Expectation[] = ['E60', 'E21'].map((operation) => ({
  operation,
  status: 0,
  reason: 'the distributor was interrupted in the middle of a request',
}));

export interface Story {
  readonly title: string;
  /** Answers other than 200 that belong to the story; any other fails it. */
  readonly expected?: readonly Expectation[];
  /** Longer than this it does not take; 240 when absent. */
  readonly seconds_max?: number;
  readonly tell: (scene: Scene) => Promise<void>;
}

const STORY_SECONDS_MAX = 240;

/** What flow.py prints at its end. */
export interface FlowResult {
  readonly workflow_id: number;
  readonly workflow_run_id: number;
  /** Letter of the run. */
  readonly status: string;
  /** Letter of each task, by its name. */
  readonly tasks: Record<string, string>;
  readonly task_ids: Record<string, number>;
  readonly array_id: number;
  /** Newest error of each task that failed for good. */
  readonly errors: Record<string, string[]>;
}

/** One story's part of the stage. */
export class Scene {
  constructor(
    readonly site: PythonSite,
    readonly recorder: WireRecorder,
    readonly query: <Row>(sql: string) => Promise<Row[]>,
    /** The native way to the house, past the recorder. */
    readonly connection: Connection,
  ) {}

  /** Starts flow.py. */
  flow(args: readonly string[], settings: NodeJS.ProcessEnv = {}): PythonProcess {
    return this.site.start('python', [FLOW, ...args], settings);
  }

  /** Sends a request of the Python protocol, as a program that is not the client does. */
  async ask<Reply>(method: string, route: string, body?: unknown): Promise<Reply> {
    const init = { method, headers: { 'content-type': 'application/json' } };
    const text = body === undefined ? {} : { body: JSON.stringify(body) };
    const answer = await fetch(`${this.recorder.url}/api/v3${route}`, { ...init, ...text });
    return (await answer.json()) as Reply;
  }
}

/** A cluster of the kind that sites add: its plug-in is in `plugins/`, its two queues bound memory. */
const METERED = [
  `INSERT INTO cluster_type (id, name) VALUES (40, 'metered')`,
  `INSERT INTO cluster (id, name, cluster_type_id, connection_parameters) VALUES (40, 'metered', 40, '{"parallelism": 4}')`,
  `INSERT INTO queue (id, name, cluster_id, parameters) VALUES (40, 'small.q', 40, '{"memory": (1, 4)}')`,
  `INSERT INTO queue (id, name, cluster_id, parameters) VALUES (41, 'large.q', 40, '{"memory": (1, 100)}')`,
];

/** What became of every attempt of tasks that had more than one. */
const ATTEMPTS =
  'SELECT t.workflow_id, t.name, ti.id, ti.workflow_run_id, ti.status, ti.report_by_date, h.sequence, h.from_status, h.to_status, h.actor, h.reason, ' +
  'h.date FROM task_instance ti JOIN task t ON t.id = ti.task_id JOIN task_instance_history h ON h.task_instance_id = ti.id ' +
  'WHERE t.id IN (SELECT task_id FROM task_instance GROUP BY task_id HAVING COUNT(*) > 1) ORDER BY ti.id, h.sequence';

/** Statements past the house, on either database. */
async function statement<Row>(url: string, sql: string): Promise<Row[]> {
  if (url.startsWith('sqlite:')) {
    const handle = new SqliteHandle(url.slice('sqlite:'.length), { timeout: 5_000 });
    try {
      const prepared = handle.prepare<[], Row>(sql);
      if (prepared.reader) return prepared.all();
      prepared.run();
      return [];
    } finally {
      handle.close();
    }
  }
  const connection = await createConnection({ uri: url.replace(/^mariadb:/, 'mysql:') });
  try {
    const [rows] = await connection.query<RowDataPacket[]>(sql);
    return rows as Row[];
  } finally {
    await connection.end();
  }
}

/** What serves the stories. */
export interface Served {
  /** Where requests go, in turn. */
  readonly urls: readonly [string, ...string[]];
  connection(): Connection;
  close(): Promise<void>;
}

/** The house in one process. */
async function oneHouse(user: UserFolder, database_url: string): Promise<Served> {
  const house = await HouseProcess.start(user, ['--port', '0', '--db', database_url]);
  return { urls: [house.url!], connection: () => house.connection(), close: async () => void (await house.end('SIGTERM')) };
}

export class Stage {
  /** What every story that was played took, by its title. */
  readonly played = new Map<string, { readonly exchanges: readonly Exchange[]; readonly seconds: number }>();
  #scenes = 0;

  private constructor(
    readonly user: UserFolder,
    private readonly served: Served,
    private readonly place: Awaited<ReturnType<DatabaseKind['place']>>,
    private readonly programs: string,
  ) {}

  /** A house on an empty database, with the metered cluster in it; `serve` starts something else in its place. */
  static async open(kind: DatabaseKind, programs: string, serve = oneHouse): Promise<Stage> {
    const user = new UserFolder();
    const place = await kind.place();
    const served = await serve(user, place.url);
    for (const sql of METERED) await statement(place.url, sql);
    return new Stage(user, served, place, programs);
  }

  async close(): Promise<void> {
    await this.served.close();
    await this.user.remove();
    await this.place.remove();
  }

  /** Starts playing all stories, so many at one time, in their order; answers each one's end by its title. */
  playAll(stories: readonly Story[], atOnce: number): ReadonlyMap<string, Promise<void>> {
    const plays = new Map<string, Promise<void>>();
    let running = 0;
    const waiting: (() => void)[] = [];
    for (const story of stories) {
      const turn = running < atOnce ? Promise.resolve() : new Promise<void>((resolve) => waiting.push(resolve));
      running += 1;
      const play = turn.then(() => this.play(story)).finally(() => waiting.shift()?.());
      // Whoever asks for a story's end is told how it went; until then nobody listens.
      play.catch(() => undefined);
      plays.set(story.title, play);
    }
    return plays;
  }

  /** Plays a story; throws when it goes wrong, takes too long, or an answer was neither 200 nor expected. */
  async play({ title, tell, expected = [], seconds_max = STORY_SECONDS_MAX }: Story): Promise<void> {
    const recorder = await WireRecorder.start(...this.served.urls);
    const started = Date.now();
    this.#scenes += 1;
    const settings = { PYTHONPATH: path.join(SCRIPTS, 'plugins') };
    const site = new PythonSite(this.user, `story-${this.#scenes}`, this.programs, recorder.url, settings);
    try {
      await within(
        seconds_max,
        tell(new Scene(site, recorder, (sql) => statement(this.place.url, sql), this.served.connection())),
      );
      const odd = recorder.exchanges
        .filter(({ status }) => status !== 200)
        .filter((one) => !isExpected(one, [...ALWAYS_EXPECTED, ...expected]));
      if (odd.length > 0) throw new Error(`answers that nobody expected:\n${odd.slice(0, 10).map(lineOf).join('\n')}`);
    } catch (error) {
      const said = site.clear();
      const folder = process.env.JOBMON_TEST_TRAFFIC;
      if (folder)
        writeFileSync(path.join(folder, `${title}.jsonl`), recorder.exchanges.map((one) => `${JSON.stringify(one)}\n`).join(''));
      const last = recorder.exchanges.slice(-12).map(lineOf).join('\n');
      const attempts = await statement<object>(this.place.url, ATTEMPTS);
      // A new error: Jest shows of an assertion's own only the difference.
      throw new Error(
        `${(error as Error).message}\nlast requests:\n${last}\nstill running:\n${said}\ndiary: ${JSON.stringify(site.diary())}\n` +
          `attempts of tasks that had several:\n${attempts.map((row) => JSON.stringify(row)).join('\n')}`,
        { cause: error },
      );
    } finally {
      site.clear();
      this.played.set(title, { exchanges: recorder.exchanges, seconds: (Date.now() - started) / 1_000 });
      await recorder.stop();
    }
  }
}

async function within(seconds: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the story takes more than ${seconds} s`)), seconds * 1_000);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function isExpected({ operation, status }: Exchange, expected: readonly Expectation[]): boolean {
  return expected.some((one) => one.status === status && (one.operation === '*' || operation.startsWith(`${one.operation} `)));
}

function lineOf({ operation, path: route, query, request, status, answer }: Exchange): string {
  return `${status} ${operation} (${route}?${query}) ${request.slice(0, 300)} -> ${answer.slice(0, 300)}`;
}
