/**
 * Recorded traffic, played again. The recorded conversation (`traffic/`, one request a line: method, path, query, body, status,
 * answer) is between unmodified Python clients and the Python server. Ids depend on the history of a database and times on the
 * clock, so both are mapped: where an answer names a recorded id for the first time, it stands from then on for the id that our
 * answer has in the same place. Everything else of an answer must be equal.
 *
 * Fields that are called after a table (`task_id`, `task_ids`) are known to be ids; `SHAPES` tells where else ids, times and free
 * texts stand, by the number of the operation.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PYTHON_OPERATIONS, type Operation } from '@jobmon/contracts';
import { LosslessNumber, parse, stringify } from 'lossless-json';

export interface Recorded {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly query: string;
  readonly body: string;
  readonly status: number;
  readonly answer: string;
}

/** The sessions in the order in which they were recorded; each needs what those before it have left. */
export const SESSIONS = [
  'sequential-workflow',
  'multiprocess-workflow',
  'failing-workflow',
  'resume',
  'client-3.3.0-multiprocess',
] as const;
export type Session = (typeof SESSIONS)[number];

/**
 * Lines that were written behind another line although their request was answered before it: the two overlapped, and the answer shows
 * the rows as they stood before the other was committed. They are sent just before it.
 */
const OVERLAPPED: Readonly<Partial<Record<Session, readonly { line: number; before: number }[]>>> = {
  // The swarm's look at its tasks (E49) shows I, and the launch that makes O of it (E3) stands before it.
  'multiprocess-workflow': [{ line: 42, before: 41 }],
};

/** The requests of a session with the numbers of their lines, in the order in which they took effect. */
export function recordedTraffic(session: Session): (Recorded & { line: number })[] {
  const text = readFileSync(join(__dirname, 'traffic', `${session}.jsonl`), 'utf8').trimEnd();
  const lines = text.split('\n').map((line, at) => ({ ...(JSON.parse(line) as Recorded), line: at + 1 }));
  for (const { line, before } of OVERLAPPED[session] ?? []) lines.splice(before - 1, 0, ...lines.splice(line - 1, 1));
  return lines;
}

/** Tables whose ids are mapped; each has a space of its own. */
const KINDS = [
  'arg',
  'array',
  'cluster',
  'dag',
  'error_log',
  'node',
  'queue',
  'task',
  'task_instance',
  'task_resources',
  'task_template',
  'task_template_version',
  'tool',
  'tool_version',
  'workflow',
  'workflow_run',
] as const;
type Kind = (typeof KINDS)[number];

/**
 * What stands at a place of a value: an id, a time, a sentence that is ours to choose, the cursor of the swarm; a list by
 * position, a list of one thing, an object by its keys, or whatever the fields' names say.
 */
type Shape =
  Kind | 'time' | 'cursor' | 'text' | null | readonly Shape[] | { each: Shape } | { keys: Kind; values: Shape } | Fields;
interface Fields {
  fields: { readonly [name: string]: Shape };
}

const fields = (shapes: Fields['fields']): Fields => ({ fields: shapes });
const each = (shape: Shape): Shape => ({ each: shape });
const keyed = (keys: Kind, values: Shape = null): Shape => ({ keys, values });

const TEMPLATE_VERSION: Shape = ['task_template_version', null, null, null, null, { each: 'arg' }, 'task_template'];
const TASKS_BY_STATUS = fields({ tasks_by_status: each(each('task')) });

/** Where ids, times and texts stand in bodies and answers, unless the names of fields say so. */
const SHAPES: { readonly [protocol: string]: { body?: Shape; answer?: Shape } } = {
  S1: { answer: fields({ msg: 'text' }) },
  E2: { answer: TASKS_BY_STATUS },
  E5: { body: keyed('task_instance') },
  E8: { answer: fields({ cluster: ['cluster'] }) },
  E11: {
    body: fields({ nodes: each(fields({ node_args: keyed('arg') })) }),
    answer: fields({ nodes: keyed('task_template_version', 'node') }),
  },
  E10: { body: fields({ edges_to_add: each(fields({ upstream_node_ids: each('node'), downstream_node_ids: each('node') })) }) },
  E12: { answer: fields({ queue: ['queue'] }) },
  E13: {
    body: fields({ tasks: each(['node', null, 'array', 'task_resources']) }),
    answer: fields({ tasks: each(['task']) }),
  },
  E14: { body: fields({ task_args: each(['task', 'arg']) }) },
  E15: { body: fields({ task_attributes: keyed('task') }) },
  E16: { answer: 'task_resources' },
  E19: { answer: fields({ task_instance: ['task_instance', null, 'workflow_run', 'task', null, null, 'workflow'] }) },
  E24: { answer: fields({ task_instance_error_log: each(['error_log', 'time']) }) },
  E27: { answer: fields({ message: 'text' }) },
  E30: {
    answer: fields({ task_instance_batches: each(['array', null, null, 'task_resources', each('task_instance')]) }),
  },
  E32: { answer: fields({ task_template_versions: each(TEMPLATE_VERSION) }) },
  E33: { answer: fields({ task_template_version: TEMPLATE_VERSION }) },
  E36: { answer: fields({ tool: ['tool'] }) },
  E37: { answer: fields({ tool_versions: each(['tool_version', 'tool']) }) },
  E39: { answer: fields({ tool_version: ['tool_version', 'tool'] }) },
  E40: { answer: fields({ task_templates: each(['task_template', 'tool_version']) }) },
  E42: { answer: fields({ matching_workflows: each([null, 'tool_version']) }) },
  E49: { body: fields({ last_sync: 'cursor' }), answer: TASKS_BY_STATUS },
  E60: { answer: fields({ status_updates: each(each('task_instance')) }) },
};

const TIME = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/;

/** The operation that a recorded request is for, and the parameters in its path; undefined when there is none. */
export function operationOf({
  method,
  path,
}: Recorded): { operation: Operation; parameters: Record<string, string> } | undefined {
  for (const operation of PYTHON_OPERATIONS) {
    if (operation.http?.method !== method) continue;
    const pattern = operation.http.path.replace(/\{(\w+)\}/g, '(?<$1>[^/]+)');
    const match = new RegExp(`^${pattern}$`).exec(path);
    if (match !== null) return { operation, parameters: { ...match.groups } };
  }
  return undefined;
}

/** Recorded ids and times, and what they are called here. Sessions that build upon each other share one. */
export class Mapping {
  private readonly ids = new Map<string, number>();
  private readonly owners = new Map<string, string>();
  /** The time that the swarm sends back as `last_sync`: as it was recorded, and as it was answered here. */
  private readonly cursors = new Map<string, string>();

  /** A recorded request in the words of this database. */
  request(recorded: Recorded): { path: string; body: string | undefined } {
    const found = operationOf(recorded);
    let path = recorded.path;
    if (found !== undefined) {
      path = found.operation.http!.path.replace(/\{(\w+)\}/g, (_, name: string) => {
        const value = found.parameters[name] as string;
        const kind = kindOf(name);
        return kind === undefined ? value : String(this.idOf(kind, value));
      });
    }
    if (recorded.query !== '') path += `?${recorded.query}`;
    if (recorded.body === '') return { path, body: undefined };
    const shape = SHAPES[found?.operation.protocol ?? '']?.body ?? null;
    return { path, body: stringify(this.translated(parse(recorded.body, null, numberOf), shape)) };
  }

  /**
   * The recorded answer in the words of this database. Ids that are new are learnt from `ours`, which stands in the same place;
   * times and free texts are taken from it when they are what they should be.
   */
  answer(recorded: Recorded, ours: unknown): unknown {
    const shape = SHAPES[operationOf(recorded)?.operation.protocol ?? '']?.answer ?? null;
    return this.translated(JSON.parse(recorded.answer), shape, { value: ours });
  }

  /** The id by which this database knows a recorded one; the recorded one itself when no answer has named it. */
  idOf(kind: Kind, recorded: unknown): unknown {
    return this.ids.get(`${kind} ${String(recorded)}`) ?? recorded;
  }

  private translated(value: unknown, shape: Shape, ours?: { value: unknown }): unknown {
    if (typeof shape === 'string') return this.leaf(value, shape, ours);
    const inside = (key: string | number): { value: unknown } | undefined =>
      ours && { value: (ours.value as Record<string, unknown> | undefined | null)?.[key] };
    if (Array.isArray(value)) {
      const of = (at: number): Shape => (isByPosition(shape) ? (shape[at] ?? null) : eachOf(shape));
      return value.map((item, at) => this.translated(item, of(at), inside(at)));
    }
    if (typeof value !== 'object' || value === null || value instanceof LosslessNumber) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => {
        if (shape !== null && !isByPosition(shape) && 'keys' in shape) {
          // A key may be an id with something behind it: "<task template version>:<hash>".
          const [, id = '', rest = ''] = /^(\d+)(.*)$/s.exec(name) ?? [];
          const key = `${String(this.idOf(shape.keys, id))}${rest}`;
          return [key, this.translated(item, shape.values, inside(key))];
        }
        return [name, this.translated(item, shapeOfField(name, shape), inside(name))];
      }),
    );
  }

  private leaf(value: unknown, shape: Kind | 'time' | 'cursor' | 'text', ours: { value: unknown } | undefined): unknown {
    if (Array.isArray(value)) return this.translated(value, { each: shape }, ours);
    if (value === null) return null;
    if (shape === 'cursor') return this.cursors.get(String(value)) ?? value;
    if (shape === 'text') return typeof ours?.value === 'string' && ours.value !== '' ? ours.value : value;
    if (shape === 'time') {
      if (typeof ours?.value !== 'string' || !TIME.test(ours.value)) return value;
      this.cursors.set(String(value), ours.value);
      return ours.value;
    }
    if (ours !== undefined) this.learn(shape, value, ours.value);
    return this.idOf(shape, value);
  }

  /** One recorded id has one id here, and the other way round: two names for one thing would hide that things were mixed up. */
  private learn(kind: Kind, recorded: unknown, ours: unknown): void {
    const [name, own] = [`${kind} ${String(recorded)}`, `${kind} ${String(ours)}`];
    if (this.ids.has(name) || this.owners.has(own) || typeof ours !== 'number') return;
    this.ids.set(name, ours);
    this.owners.set(own, name);
  }
}

/** Numbers as they were written: those that would be written otherwise, or lose digits, stay text that is written as a number. */
function numberOf(text: string): number | LosslessNumber {
  return String(Number(text)) === text && Number.isSafeInteger(Number(text)) ? Number(text) : new LosslessNumber(text);
}

function isByPosition(shape: Shape): shape is readonly Shape[] {
  return Array.isArray(shape);
}

function eachOf(shape: Shape): Shape {
  return shape !== null && typeof shape === 'object' && 'each' in shape ? shape.each : null;
}

function shapeOfField(name: string, shape: Shape): Shape {
  if (shape !== null && typeof shape === 'object') {
    if ('each' in shape) return shape.each;
    if ('fields' in shape && name in shape.fields) return shape.fields[name] as Shape;
  }
  if (name === 'time' || name === 'created_date') return 'time';
  return kindOf(name) ?? null;
}

/** `task_id` and `task_ids` hold ids of the table `task`. */
function kindOf(name: string): Kind | undefined {
  return KINDS.find((kind) => name === `${kind}_id` || name === `${kind}_ids`);
}
