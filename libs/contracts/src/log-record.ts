/**
 * Log records that the house keeps and answers for: warnings and above of every process, and whatever is said about an attempt.
 *
 * A record's id is text of 26 letters and digits that sorts by time: 10 of milliseconds, 10 of the process that said it (chosen by chance at its
 * start), 6 of a number that counts its records. So the same record sent twice has the same id and is stored once; the order of ids is the
 * order of time, as the clocks of the senders had it; and an id is the place from which a list goes on.
 */
import { z } from 'zod';
import { Id, ID_MAX } from './id';
import { event, operation } from './operation';

/** Levels by their number, as pino has them. */
export const LOG_LEVELS = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60 } as const;
export type LogLevel = keyof typeof LOG_LEVELS;
export const LogLevel = z.enum(Object.keys(LOG_LEVELS) as [LogLevel, ...LogLevel[]]);

/** Characters of a record's text; what is longer is cut by its sender and ends in an ellipsis. */
export const LOG_TEXT_CHARS_MAX = 8_000;
/** Characters of a record's other members as JSON. */
export const LOG_DETAIL_CHARS_MAX = 16_000;

/** Digits of record ids: those of Crockford's base 32, whose order as text is their order as numbers. */
export const LOG_RECORD_DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const TIME_DIGITS = 10;
/** Digits that name the sender. */
export const LOG_SENDER_DIGITS = 10;
const SEQUENCE_DIGITS = 6;
/** Records of one sender are numbered below this, and from 0 again after it. */
export const LOG_SEQUENCE_MAX = 32 ** SEQUENCE_DIGITS;
/** What 10 digits hold, in milliseconds: the year 37,648. */
const TIME_MS_MAX = 32 ** TIME_DIGITS - 1;

/** A place in the order of records. */
export const LogRecordId = z.string().regex(/^[0-9A-HJKMNP-TV-Z]{26}$/, 'must be 26 letters and digits');

/** The id of a record. `time_ms`: of its sender's clock, since 1970; a time before that counts as 1970. */
export function logRecordId(time_ms: number, sender: string, sequence: number): string {
  const time = Math.min(Math.max(0, Math.floor(time_ms)), TIME_MS_MAX);
  return digitsOf(time, TIME_DIGITS) + sender + digitsOf(sequence % LOG_SEQUENCE_MAX, SEQUENCE_DIGITS);
}

/** The place before all records of that millisecond. */
export function logRecordIdAt(time_ms: number): string {
  return logRecordId(time_ms, '0'.repeat(LOG_SENDER_DIGITS), 0);
}

/** Milliseconds since 1970. */
export function timeOfLogRecord(record_id: string): number {
  let time = 0;
  for (const digit of record_id.slice(0, TIME_DIGITS)) time = time * 32 + LOG_RECORD_DIGITS.indexOf(digit);
  return time;
}

function digitsOf(value: number, count: number): string {
  let text = '';
  for (let rest = value; text.length < count; rest = Math.floor(rest / 32))
    text = (LOG_RECORD_DIGITS[rest % 32] as string) + text;
  return text;
}

const OneId = z.number().int().positive().max(ID_MAX).nullable();

/** A record as its sender gives it away. Ids that it does not know are null; the sink fills in those that follow from others. */
export const SentLogRecord = z.object({
  record_id: LogRecordId,
  level: LogLevel,
  /** Which part of the house: `api`, `state-machine`, `local`. */
  service: z.string().max(64),
  /** Which process of it. */
  instance: z.string().max(150),
  request_id: z.string().max(255).nullable(),
  workflow_id: OneId,
  workflow_run_id: OneId,
  task_id: OneId,
  task_instance_id: OneId,
  trace_id: z.string().max(64).nullable(),
  text: z.string().max(LOG_TEXT_CHARS_MAX),
  /** All else that the record says. */
  detail: z.record(z.string(), z.unknown()),
});
export type SentLogRecord = z.output<typeof SentLogRecord>;

/**
 * A place in the order in which records came: the number of the last one before it. Numbers rise with the commits of all sinks, so whoever has
 * read up to a place and goes on from there misses nothing, however late a record comes.
 */
export const LogArrival = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

/** A record as it is answered. */
export const LogRecord = SentLogRecord.extend({
  /** `YYYY-MM-DD HH:MM:SS.mmm`, UTC, by the clock of its sender. */
  time: z.string(),
  /** Its number in the order in which records came; 0 for those from before there were such numbers. */
  arrival: z.number().int(),
});
export type LogRecord = z.output<typeof LogRecord>;

/** The moment of a record, as answers show it. */
export function timeTextOf(record_id: string): string {
  const date = new Date(timeOfLogRecord(record_id));
  return Number.isNaN(date.getTime()) ? '9999-12-31 23:59:59.999' : date.toISOString().slice(0, 23).replace('T', ' ');
}

/** `2026-11-22`, `2026-11-22 10:15:00` or `2026-11-22 10:15:00.250`, with a `T` and a `Z` too; UTC. */
const Moment = z
  .string()
  .regex(
    /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,3})?)?Z?)?$/,
    'must be a date, or date and time, in UTC: 2026-11-22 10:15:00.250',
  )
  .refine((text) => !Number.isNaN(timeOfMoment(text)), 'must be a date that exists');

/** Milliseconds since 1970 of a moment in a request. */
export function timeOfMoment(text: string): number {
  const [date, time = '00:00'] = text.replace('Z', '').split(/[T ]/) as [string, string?];
  return Date.parse(`${date}T${time}Z`);
}

/** All that are given must hold. */
const Filters = {
  task_instance_id: Id.optional(),
  task_id: Id.optional(),
  workflow_run_id: Id.optional(),
  workflow_id: Id.optional(),
  /** This level and those above it. */
  level: LogLevel.default('trace'),
  service: z.string().min(1).max(64).optional(),
  /** From this moment on. */
  since: Moment.optional(),
  /** Stands in the text, or in what it says besides; upper and lower case count as one among the letters a to z. */
  text: z.string().min(1).max(200).optional(),
};

/**
 * A page. It may hold fewer records than asked for, even none, where many that do not fit had to be looked at: `next` goes on behind what was
 * looked at. NOT_FOUND: there is no such task, attempt or run.
 */
export const listLogRecords = operation({
  name: 'log_record.list',
  owner: 'log-sink',
  summary: 'Log records of a workflow, run, task or attempt, or of the whole house, a page at a time.',
  http: { method: 'GET', path: '/api/v4/logs' },
  request: z.object({
    ...Filters,
    /** Before this moment. */
    until: Moment.optional(),
    order: z.enum(['newest', 'oldest']).default('newest'),
    /** Only records behind this one in the order that is asked for: `next` of the page before. */
    after: LogRecordId.optional(),
    limit: z.coerce.number().int().min(1).max(1_000).default(100),
  }),
  reply: z.object({
    records: z.array(LogRecord),
    next: LogRecordId.nullable(),
    /** The place up to which records had come when the page was begun: to be followed from there. */
    arrival: LogArrival,
  }),
});

/**
 * Records in the order in which they came, those with numbers above `after`; without it none, and the place where they stand now. A page may be short or empty as in `log_record.list`; `arrival` is the place up to which it
 * has looked, and `has_more` whether others stood behind it already.
 */
export const listArrivedLogRecords = operation({
  name: 'log_record.list_arrived',
  owner: 'log-sink',
  summary: 'Log records in the order in which they came.',
  request: z.object({ ...Filters, after: LogArrival.optional(), limit: z.number().int().min(1).max(1_000) }),
  reply: z.object({ records: z.array(LogRecord), arrival: LogArrival, has_more: z.boolean() }),
});

/**
 * Records as they come, in that order, without an end. First those of `since` that stand there already, by their time; without `since`
 * and `after` only those that come from now on. Whoever was cut off asks again with `after`: the `arrival` of the last event.
 */
export const followLogRecords = operation({
  name: 'log_record.follow',
  owner: 'api',
  summary: 'Log records as they come.',
  http: { method: 'GET', path: '/api/v4/logs/follow', stream: true },
  request: z.object({ ...Filters, after: LogArrival.optional() }),
  reply: z.object({
    records: z.array(LogRecord),
    /** The place to go on from; null as long as those of `since` that stand there already are told. */
    arrival: LogArrival.nullable(),
  }),
});

/**
 * Log records of an agent, which is on no bus: stored once, however often they are sent (unless its clock is wrong by more than a day), as said by `agent`, whatever they claim, with the agent's number in `detail`.
 * UNAVAILABLE: the sink has enough to do; the agent keeps them as long as it has room. NOT_FOUND: there is no such agent.
 */
export const appendLogRecords = operation({
  name: 'log_record.append',
  owner: 'log-sink',
  summary: 'Log records of an agent.',
  http: { method: 'POST', path: '/api/v4/agents/{agent_id}/logs' },
  request: z.object({ agent_id: Id, records: z.array(SentLogRecord).min(1).max(500) }),
  reply: z.object({
    /** Those that are new. */
    stored: z.number().int(),
  }),
});

/** Records were stored. */
export const logRecordStored = event({
  name: 'log_record.stored',
  payload: z.object({}),
});
