/**
 * `npm run chaos -- [--tasks N] [--minutes M] [--seed S] [--python N] [--grace N]`: the services apart under fire, for so long; its last line counts tasks,
 * faults and violations, and a violation is exit code 1. Of the tasks, one of 40 or as many as `--python` says are driven by the published
 * Python client. Things must go on within a lease and 5 s, or as many as `--grace` says. Without MariaDB, NATS or Python it is skipped and says why; with CI=true that is a failure. `npm run chaos -- --rounds N [--seed N] [--kinds sqlite,mariadb]`: rounds of a
 * workflow under fire in the house of one process on each database; their table is bench/results/chaos.md. Tests by hand, too long for every
 * run of the tests.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { buildHouse, freePort, ROOT, UserFolder } from '@jobmon/testkit';
import SqliteHandle from 'better-sqlite3';
import { createConnection } from 'mysql2/promise';
import { brokenRules, type Query } from './check';
import { LEASE_SECONDS, Round, type RoundFacts, type RoundSettings } from './round';
import { Missing, playServices, type Story } from './services';
import { told } from './verdict';
import { TASKS } from './workflow';

const CORES = 12;

/** tools/mariadb.mjs, which is no part of the bundle. */
interface MariadbTool {
  startMariadb(folder: string, again?: { port: number; password: string }): Promise<MariadbServer>;
}
interface MariadbServer {
  readonly url: string;
  readonly port: number;
  readonly password: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** A small generator (mulberry32), so that a round's choices can be made again by its seed. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Where a round keeps its data. */
interface Place {
  readonly url: string;
  readonly query: Query;
  readonly killDatabase?: () => Promise<void>;
}

function sqlitePlace(user: UserFolder): Place {
  const file = join(user.path, 'jobmon.sqlite');
  const query = async <Row>(sql: string): Promise<Row[]> => {
    const handle = new SqliteHandle(file, { readonly: true, timeout: 5_000 });
    try {
      return handle.prepare(sql).all() as Row[];
    } finally {
      handle.close();
    }
  };
  return { url: `sqlite:${file}`, query };
}

class Mariadb {
  private constructor(
    private readonly tool: MariadbTool,
    private readonly folder: string,
    private server: MariadbServer,
  ) {}

  static async start(folder: string): Promise<Mariadb> {
    const load = new Function('url', 'return import(url)') as (url: string) => Promise<MariadbTool>;
    const tool = await load(pathToFileURL(join(ROOT, 'tools', 'mariadb.mjs')).href);
    return new Mariadb(tool, folder, await tool.startMariadb(folder));
  }

  async place(round: number): Promise<Place> {
    const name = `jobmon_chaos_${round}`;
    const ask = async <Row>(database: string | undefined, sql: string): Promise<Row[]> => {
      const { port, password } = this.server;
      const connection = await createConnection({ host: '127.0.0.1', port, user: 'jobmon', password, database });
      try {
        return (await connection.query(sql))[0] as Row[];
      } finally {
        connection.destroy();
      }
    };
    await ask(undefined, `CREATE DATABASE ${name}`);
    return { url: `${this.server.url}/${name}`, query: (sql) => ask(name, sql), killDatabase: () => this.kill() };
  }

  stop(): Promise<void> {
    return this.server.stop();
  }

  private async kill(): Promise<void> {
    process.kill(this.server.pid, 'SIGKILL');
    await this.server.stop();
    const { port, password } = this.server;
    this.server = await this.tool.startMariadb(this.folder, { port, password });
  }
}

interface Line {
  readonly kind: string;
  readonly number: number;
  readonly seed: number;
  readonly settings: RoundSettings;
  readonly facts: RoundFacts | null;
  readonly commands: number;
  readonly broken: readonly string[];
}

async function playRound(
  kind: string,
  number: number,
  seed: number,
  placeOf: (user: UserFolder) => Promise<Place> | Place,
): Promise<Line> {
  const user = new UserFolder({
    JOBMON__AGENT__CORES: String(CORES),
    JOBMON__AGENT__LEASE_SECONDS: String(LEASE_SECONDS),
  });
  user.env.JOBMON__AGENT__STATE_DIRECTORY = join(user.path, 'agent');
  const place = await placeOf(user);
  const settings: RoundSettings = {
    number,
    user,
    ...place,
    port: await freePort(),
    hasOwnAgent: number % 2 === 0,
    isFailing: number % 3 === 0,
    random: randomFrom(seed),
  };
  const round = new Round(settings);
  const broken: string[] = [];
  let facts: RoundFacts | null = null;
  try {
    facts = await round.run();
    broken.push(...facts.left);
  } catch (error) {
    broken.push((error as Error).message);
  }
  const log = round.witness;
  broken.push(...(await brokenRules(place.query, log, settings.isFailing, facts?.done ?? [])));
  if (broken.length === 0) await user.remove();
  else console.log(`  what is left of the round: ${user.path}`);
  return { kind, number, seed, settings, facts, commands: log.filter(({ what }) => what === 'start').length, broken };
}

const FAULTS = ['house', 'house away', 'house frozen', 'agent', 'agent frozen', 'launcher', 'command', 'database'] as const;

function report(lines: readonly Line[]): string {
  const cells = ({ kind, number, seed, settings, facts, commands, broken }: Line): string =>
    `| ${[
      kind,
      number,
      seed,
      settings.hasOwnAgent ? 'own' : 'house',
      settings.isFailing ? 'yes' : 'no',
      facts?.submits ?? '',
      ...FAULTS.map((fault) => facts?.faults[fault] ?? ''),
      commands,
      facts === null ? '' : facts.seconds.toFixed(0),
      broken.length === 0 ? 'none' : [...broken.slice(0, 3), broken.length > 3 ? `… ${broken.length}` : ''].join('; '),
    ].join(' | ')} |`;
  const heads = [
    'database',
    'round',
    'seed',
    'agent',
    'failing tasks',
    'submits',
    ...FAULTS,
    'commands',
    'seconds',
    'broken rules',
  ];
  return `# Under fire

A workflow of ${TASKS} tasks in six tiers on \`multiprocess\`, ${CORES} commands at a time, a lease of ${LEASE_SECONDS} s. Two of ten tasks fail once or twice before
they succeed; in rounds with failing tasks five never do. Meanwhile, at random moments: \`kill -9\` of the house (also while the
workflow is being submitted), of an agent in a process of its own, of launchers, of single commands, of MariaDB; the house away, or the
house or the agent stopped by SIGSTOP, for longer than the lease. Each number is how often that was done.

The check: the run ends as its commands say; no task that was done runs again; no attempt is started twice; no two commands of a task run
at once (a lock of the kernel tells, not a clock); each end is what the command itself wrote down; histories have no gaps; kept counts equal
counted ones; no attempt is left live; no process is left.

Repeat it with \`npm run chaos -- --rounds ${Math.max(...lines.map(({ number }) => number))}\`; ${availableParallelism()} cores.

| ${heads.join(' | ')} |
| ${heads.map(() => '---').join(' | ')} |
${lines.map(cells).join('\n')}
`;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string' },
      tasks: { type: 'string', default: '300' },
      python: { type: 'string' },
      grace: { type: 'string', default: '5' },
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      kinds: { type: 'string', default: 'sqlite,mariadb' },
      first: { type: 'string', default: '1' },
    },
  });
  if (values.rounds === undefined) {
    const [tasks, seed] = [Number(values.tasks), Number(values.seed)];
    const python_tasks = Number(values.python ?? Math.max(6, Math.ceil(tasks / 40)));
    console.log(`seed ${seed}`);
    const [minutes, grace_seconds] = [Number(values.minutes), Number(values.grace)];
    let story: Story;
    try {
      story = await playServices({ tasks, python_tasks, minutes, grace_seconds, random: randomFrom(seed) });
    } catch (error) {
      if (!(error instanceof Missing) || process.env.CI === 'true') throw error;
      console.log(`chaos: skipped: ${error.message}`);
      return 0;
    }
    const isClean = story.violations.length === 0;
    if (!isClean || story.deaths.length > 0) console.log(`what is left of the run: ${story.folder}`);
    console.log(told(story, tasks));
    return isClean ? 0 : 1;
  }
  buildHouse();
  const lines: Line[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'jobmon-chaos-'));
  let mariadb: Mariadb | undefined;
  try {
    for (const kind of values.kinds.split(',')) {
      if (kind === 'mariadb') mariadb = await Mariadb.start(folder);
      const placeOf = (number: number) => (user: UserFolder) =>
        mariadb === undefined ? sqlitePlace(user) : mariadb.place(number);
      for (let number = Number(values.first); number < Number(values.first) + Number(values.rounds); number += 1) {
        const line = await playRound(kind, number, Number(values.seed) + number, placeOf(number));
        lines.push(line);
        const faults = Object.entries(line.facts?.faults ?? {}).map(([fault, count]) => `${fault} ${count}`);
        console.log(
          `${kind} ${number} (seed ${line.seed}): ${line.facts?.seconds.toFixed(0)} s, ${line.commands} commands, ${faults.join(', ')}`,
        );
        for (const rule of line.broken.slice(0, 20)) console.log(`  BROKEN: ${rule}`);
      }
    }
  } finally {
    await mariadb?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  const results = join(ROOT, 'bench', 'results');
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, 'chaos.md'), report(lines));
  return lines.some(({ broken }) => broken.length > 0) ? 1 : 0;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
