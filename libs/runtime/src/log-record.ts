/**
 * A written log line as a record that can be kept. What can't be kept as it is, is cut or cleaned and never lost whole:
 *
 * - Control characters other than tab and newline, and halves of characters that have two, become U+FFFD, the sign for "not a character".
 *   (Bytes that are no UTF-8 are that sign already when Node has read them.)
 * - A text is cut at 8,000 characters and ends in an ellipsis; a text among the other members at 4,000.
 * - Members deeper than 6 levels, and of a list or an object those behind the 100th, are left away.
 * - Where the other members are longer than 16,000 characters as JSON, the last of them are left away until they fit, and
 *   `cut: true` stands among them.
 * - An id that is no whole number from 1 to 2,147,483,647 is no id: it stays among the other members.
 */
import {
  ID_MAX,
  LOG_DETAIL_CHARS_MAX,
  LOG_LEVELS,
  LOG_TEXT_CHARS_MAX,
  logRecordId,
  type LogLevel,
  type SentLogRecord,
} from '@jobmon/contracts';

const MEMBER_CHARS_MAX = 4_000;
const DEPTH_MAX = 6;
const MEMBERS_MAX = 100;
const NO_CHARACTER = '\uFFFD';

/** What is no member of `detail`: these have columns of their own, and the process's number stands in `instance`. */
const OWN = ['workflow_id', 'workflow_run_id', 'task_id', 'task_instance_id'] as const;

/** The record of one line of the log. `sender` and `sequence` make its id together with the line's time. Never throws. */
export function recordOfLine(line: string, sender: string, sequence: number): SentLogRecord {
  let said: Record<string, unknown>;
  try {
    said = JSON.parse(line) as Record<string, unknown>;
  } catch {
    said = { message: line };
  }
  const { level, time, service, instance, pid, message, request_id, trace_id, ...rest } = said;
  const parsed = typeof time === 'string' ? Date.parse(time) : Number.NaN;
  const ids = Object.fromEntries(OWN.map((name) => [name, idIn(rest, name)])) as Record<(typeof OWN)[number], number | null>;
  return {
    record_id: logRecordId(Number.isNaN(parsed) ? Date.now() : parsed, sender, sequence),
    level: typeof level === 'string' && level in LOG_LEVELS ? (level as LogLevel) : 'info',
    service: cleaned(textIn(service) ?? 'unknown', 64),
    instance: cleaned(textIn(instance) ?? textIn(pid) ?? 'unknown', 150),
    request_id: labelIn(request_id, 255),
    trace_id: labelIn(trace_id, 64),
    ...ids,
    text: cleaned(textIn(message) ?? '', LOG_TEXT_CHARS_MAX),
    detail: boundedDetail(rest),
  };
}

/** A text with only what can be stored and shown, cut at `chars_max` (in the units in which JavaScript counts). */
export function cleaned(text: string, chars_max: number): string {
  const cut = text.length > chars_max ? `${text.slice(0, chars_max - 1).replace(/[\uD800-\uDBFF]$/, '')}…` : text;
  return cut.replace(/[\u0000-\u0008\u000B-\u001F\u007F-\u009F]|\p{Surrogate}/gu, NO_CHARACTER);
}

/** Takes an id out of the members when it is one. */
function idIn(members: Record<string, unknown>, name: string): number | null {
  const id = members[name];
  if (typeof id !== 'number' || !Number.isInteger(id) || id < 1 || id > ID_MAX) return null;
  delete members[name];
  return id;
}

function textIn(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return value === undefined || value === null ? undefined : JSON.stringify(value);
}

function labelIn(value: unknown, chars_max: number): string | null {
  const text = textIn(value);
  return text === undefined || text === '' ? null : cleaned(text, chars_max);
}

function boundedDetail(members: Record<string, unknown>): Record<string, unknown> {
  const detail = bounded(members, 0) as Record<string, unknown>;
  if (JSON.stringify(detail).length <= LOG_DETAIL_CHARS_MAX) return detail;
  const kept: Record<string, unknown> = {};
  let chars = '{"cut":true}'.length;
  for (const [name, value] of Object.entries(detail)) {
    chars += JSON.stringify(name).length + JSON.stringify(value).length + 2;
    if (chars > LOG_DETAIL_CHARS_MAX) break;
    kept[name] = value;
  }
  return { ...kept, cut: true };
}

function bounded(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return cleaned(value, MEMBER_CHARS_MAX);
  if (typeof value !== 'object' || value === null) return value;
  if (depth >= DEPTH_MAX) return NO_CHARACTER;
  if (Array.isArray(value)) return value.slice(0, MEMBERS_MAX).map((item) => bounded(item, depth + 1));
  const entries = Object.entries(value).slice(0, MEMBERS_MAX);
  return Object.fromEntries(entries.map(([name, member]) => [cleaned(name, 200), bounded(member, depth + 1)]));
}
