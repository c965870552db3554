/**
 * `jobmon log`: what the services said, warnings and whatever is about an attempt; as it stands, or as it comes. (What a task's command prints is
 * `jobmon task log`.)
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  followLogRecords,
  JobmonError,
  listLogRecords,
  LOG_LEVELS,
  type LogLevel,
  type LogRecord,
  type RequestOf,
} from '@jobmon/contracts';
import { InvalidArgumentError, type Command } from 'commander';
import { Interrupted, sentenceOf, WrongUsage } from './failure';
import { csvLine, printList, recordOf, type Column, type Fields } from './print';
import { ask, connect, gather, parseCount, parseId } from './server';
import { isForPrograms, settings, tell } from './settings';
import { oneLine } from './text';
import { parseMoment } from './workflow';

/** Records of one answer of the api. */
const PAGE_MAX = 1_000;
/** For how long a server that went away is waited for. */
const PATIENCE_MS = 600_000;
const PAUSE_MS_MIN = 200;
const PAUSE_MS_MAX = 5_000;

export function addServiceLogCommand(jobmon: Command): void {
  jobmon
    .command('log')
    .description('What the services said: warnings and errors, and what became of attempts. The newest, in the order of time.')
    .option('-w, --workflow <id>', 'about this workflow', parseId)
    .option('-r, --run <id>', 'about this run of a workflow', parseId)
    .option('-t, --task <id>', 'about this task', parseId)
    .option('-a, --attempt <id>', 'about this attempt, by its task_instance_id', parseId)
    .option('-l, --level <level>', `this level and above: ${Object.keys(LOG_LEVELS).join(', ')}`, parseLevel)
    .option('-s, --service <name>', 'of this service: api, state-machine, scheduler, reaper, log-sink, local')
    .option('-g, --grep <text>', 'with this text, upper or lower case')
    .option('--since <time>', 'from this time on: 2026-11-22, "2026-11-22 10:00" (UTC), or 2d, 6h ago', parseMoment)
    .option('--until <time>', 'before this time', parseMoment)
    .option('-n, --limit <count>', 'at most so many', parseCount, 100)
    .option('--oldest', 'the oldest in place of the newest')
    .option(
      '--after <record>',
      'behind this record, by its record_id: for the next page, older or with --oldest newer',
      parseRecord,
    )
    .option('-f, --follow', 'go on with what comes, until Ctrl-C')
    .addHelpText(
      'after',
      '\nExamples:\n  jobmon log --level error --since 1d   errors of the last day\n  jobmon log --task 12                  what became of its attempts, and why\n' +
        '  jobmon log --workflow 7 --follow      as it comes\n  jobmon log --grep "disk full" -o jsonl',
    )
    .action(log);
}

function parseLevel(text: string): LogLevel {
  const level = text.toLowerCase();
  if (!(level in LOG_LEVELS)) throw new InvalidArgumentError(`It must be one of ${Object.keys(LOG_LEVELS).join(', ')}.`);
  return level as LogLevel;
}

function parseRecord(text: string): string {
  if (!/^[0-9A-HJKMNP-TV-Z]{26}$/.test(text)) throw new InvalidArgumentError('It must be the record_id of a record.');
  return text;
}

interface Flags {
  workflow?: number;
  run?: number;
  task?: number;
  attempt?: number;
  level?: LogLevel;
  service?: string;
  grep?: string;
  since?: string;
  until?: string;
  limit: number;
  oldest?: true;
  after?: string;
  follow?: true;
}

const FIELDS: Fields<LogRecord> = {
  record_id: (row) => row.record_id,
  time: (row) => row.time,
  level: (row) => row.level,
  service: (row) => row.service,
  instance: (row) => row.instance,
  request_id: (row) => row.request_id,
  workflow_id: (row) => row.workflow_id,
  workflow_run_id: (row) => row.workflow_run_id,
  task_id: (row) => row.task_id,
  task_instance_id: (row) => row.task_instance_id,
  trace_id: (row) => row.trace_id,
  text: (row) => row.text,
  detail: (row) => row.detail,
};

const COLUMNS: Column<LogRecord>[] = [
  { title: 'TIME', of: (row) => row.time },
  { title: 'LEVEL', of: (row) => row.level },
  { title: 'SERVICE', of: (row) => row.service, isFlexible: true },
  { title: 'WORKFLOW', of: (row) => row.workflow_id, align: 'right' },
  { title: 'TASK', of: (row) => row.task_id, align: 'right' },
  { title: 'TEXT', of: (row) => textOf(row), isFlexible: true },
];

async function log(flags: Flags): Promise<void> {
  const { until, limit, oldest, after, follow } = flags;
  if (follow && (until !== undefined || oldest || after !== undefined))
    throw new WrongUsage('--follow goes on from now: leave --until, --oldest and --after away');
  const filters = filtersOf(flags);
  const order = oldest ? 'oldest' : 'newest';
  let place: number | undefined;
  const { rows, hasMore } = await gather<LogRecord, string>(limit, PAGE_MAX, async (at = after, count) => {
    const { records, next, arrival } = await ask(listLogRecords, { ...filters, until, order, after: at, limit: count });
    place ??= arrival;
    return { rows: records, next };
  });
  const next = rows.at(-1)?.record_id;
  if (!oldest) rows.reverse();
  if (follow) return followLog(filters, rows, place ?? 0);
  printList(rows, FIELDS, COLUMNS);
  if (rows.length === 0) tell('Nothing like that was said.');
  if (hasMore) tell(`There may be ${oldest ? 'newer' : 'older'} ones: ${oldest ? '--oldest ' : ''}--after ${next}`);
}

function filtersOf({ workflow, run, task, attempt, level, service, grep, since }: Flags) {
  return {
    workflow_id: workflow,
    workflow_run_id: run,
    task_id: task,
    task_instance_id: attempt,
    level,
    service,
    text: grep,
    since,
  };
}

/** What had come by a place, and what comes behind it, each record once; over as many connections as it takes. */
async function followLog(filters: ReturnType<typeof filtersOf>, last: readonly LogRecord[], place: number): Promise<void> {
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort(new Interrupted());
  process.once('SIGINT', onInterrupt);
  let at = place;
  let heard = performance.now();
  let isAway = false;
  if (settings.output === 'csv') process.stdout.write(csvLine(Object.keys(FIELDS)));
  for (const record of last) if (record.arrival <= place) printFollowed(record);
  try {
    for (let pause_ms = PAUSE_MS_MIN; ; pause_ms = Math.min(pause_ms * 2, PAUSE_MS_MAX)) {
      try {
        const request = { ...filters, after: at } as RequestOf<typeof followLogRecords>;
        const stream = (await connect()).stream(followLogRecords, request, { signal: stop.signal, tries_max: 0 });
        for await (const { records, arrival } of stream) {
          if (isAway) tell('The server is back.');
          [heard, isAway, pause_ms] = [performance.now(), false, PAUSE_MS_MIN];
          for (const record of records) printFollowed(record);
          at = arrival ?? at;
        }
      } catch (error) {
        const isOver = performance.now() - heard > PATIENCE_MS;
        if (stop.signal.aborted || isOver || !(error instanceof JobmonError && error.kind.retryable)) throw error;
        if (!isAway) tell(`${sentenceOf(error)}; waiting for it.`);
        isAway = true;
      }
      await sleep(pause_ms, undefined, { signal: stop.signal });
    }
  } catch (error) {
    throw stop.signal.aborted ? stop.signal.reason : error;
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}

function printFollowed(row: LogRecord): void {
  if (!isForPrograms()) {
    const about =
      row.task_id === null ? (row.workflow_id === null ? '' : ` workflow ${row.workflow_id}:`) : ` task ${row.task_id}:`;
    return void process.stdout.write(
      `${row.time} ${row.level.padEnd(5)} ${oneLine(row.service)}${about} ${oneLine(textOf(row))}\n`,
    );
  }
  const record = recordOf(row, FIELDS);
  process.stdout.write(settings.output === 'csv' ? csvLine(Object.values(record)) : `${JSON.stringify(record)}\n`);
}

/** The text, and behind it the cause and what else is short enough for a line. */
function textOf({ text, detail }: LogRecord): string {
  const { error, part: _part, ...rest } = detail as { error?: { message?: unknown }; part?: unknown };
  const cause = typeof error?.message === 'string' ? `: ${error.message}` : '';
  const others = Object.entries(rest)
    .filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value))
    .map(([name, value]) => `${name}=${String(value)}`);
  return `${text}${cause}${others.length === 0 ? '' : ` (${others.join(', ')})`}`;
}
