/**
 * How what a task asks for grows when an attempt ran out of it (spec/cli-and-gui.md C.3). People write numbers, lists, iterators and
 * functions; the server, which is alone when it happens, is given numbers and lists.
 */
import { DEFAULT_RESOURCE_SCALES, JobmonError, RESOURCES_MAX } from '@jobmon/contracts';
import { READ } from './compute-resources';

/** A figure of a resource: a number, or text with a unit as in `ComputeResources`. */
export type Figure = number | string;

/**
 * How one resource grows. A number s: times (1 + s), on and on; 0 keeps it. A list or any other iterable: the values of attempt 2, 3, …, the
 * last one for all that follow; of an endless one as many are taken as there are attempts. A function: from the old value to the new
 * one (GiB, seconds, cores), called when the workflow is bound.
 */
export type ResourceScale = number | Iterable<Figure> | Iterator<Figure> | ((old: number) => Figure);

/** By resource: `memory`, `runtime`, `cores`, or a number that only the cluster's plug-in knows. */
export type ResourceScales = { readonly [resource: string]: ResourceScale | undefined };

/** As they are sent. */
export type ListedScales = Record<string, number | number[]>;

/** Largest factor that is added to 1: beyond this it is a slip, as 50 for 50 %. */
const SCALE_MAX = 1_000;
/** Attempts for which values are listed; later ones keep the last. */
const LISTED_MAX = 100;
/** Characters that all lists of a task may have together (the column of spec/data-model.md section 2). */
const CHARACTERS_MAX = 1_000;

/** Scales of which each iterable is read once, however many tasks use it: an iterator cannot be begun anew. */
export type KeptScales = Readonly<Record<string, number | FiguresSoFar | ((old: number) => Figure)>>;

/** The values that an iterable has given so far, and the rest of it. */
class FiguresSoFar {
  readonly #values: Figure[] = [];
  #rest: Iterator<Figure> | undefined;

  constructor(figures: Iterable<Figure> | Iterator<Figure>) {
    this.#rest = Symbol.iterator in figures ? figures[Symbol.iterator]() : figures;
  }

  /** Its first values, at most `count`. */
  first(count: number): readonly Figure[] {
    while (this.#values.length < count && this.#rest !== undefined) {
      const { done, value } = this.#rest.next();
      if (done) this.#rest = undefined;
      else this.#values.push(value);
    }
    return this.#values.slice(0, count);
  }
}

/** Checks scales as they were given and makes their iterables repeatable. Throws MALFORMED naming the resource and the rule. */
export function keptScales(scales: ResourceScales): KeptScales {
  const kept: Record<string, number | FiguresSoFar | ((old: number) => Figure)> = {};
  for (const [resource, scale] of Object.entries(scales)) {
    if (scale === undefined || scale === null) continue;
    if (typeof scale === 'number') {
      if (!(scale >= 0 && scale <= SCALE_MAX)) throw refused(resource, `a factor must be from 0 to ${SCALE_MAX}, not ${scale}`);
      kept[resource] = scale;
    } else if (typeof scale === 'function') {
      kept[resource] = scale;
    } else if (
      typeof scale === 'object' &&
      (Symbol.iterator in scale || typeof (scale as Iterator<Figure>).next === 'function')
    ) {
      kept[resource] = new FiguresSoFar(Array.isArray(scale) ? [...(scale as Figure[])] : scale);
    } else {
      throw refused(resource, `must be a number, a list, an iterator or a function, not ${JSON.stringify(scale)}`);
    }
  }
  return kept;
}

/**
 * The scales of a task with these attempts and this request, nearest giver last; a nearer one replaces single entries, and beneath all of
 * them stand memory and runtime by one half. Throws MALFORMED naming the resource and the rule.
 */
export function listedScales(
  givers: readonly (KeptScales | undefined)[],
  maxAttempts: number,
  requested: Readonly<Record<string, unknown>>,
): ListedScales {
  const listed: ListedScales = {};
  const scales = Object.assign({ ...DEFAULT_RESOURCE_SCALES }, ...givers) as KeptScales;
  const count = Math.min(maxAttempts - 1, LISTED_MAX);
  for (const [resource, scale] of Object.entries(scales)) {
    if (typeof scale === 'number') listed[resource] = scale;
    else if (typeof scale === 'function') {
      if (count > 0) listed[resource] = grown(resource, scale, count, requested[resource]);
    } else {
      const values = scale.first(Math.max(count, 1)).map((value) => figureOf(resource, value));
      if (values.length === 0) throw refused(resource, 'the list is empty; give 0 for a resource that does not grow');
      listed[resource] = values;
    }
  }
  return shortened(listed);
}

function grown(resource: string, scale: (old: number) => Figure, count: number, first: unknown): number[] {
  if (typeof first !== 'number') {
    throw refused(resource, `the function is given the old value, and the task asks for no ${resource}; ask for some`);
  }
  const values: number[] = [];
  for (let old = first; values.length < count;) {
    let figure: Figure;
    try {
      figure = scale(old);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new JobmonError('MALFORMED', `the scale of ${resource} failed for ${old}: ${why}`, undefined, { cause });
    }
    // Cores and seconds are whole, whatever a factor makes of them.
    const rounded = typeof figure === 'number' && resource !== 'memory' ? Math.ceil(figure) : figure;
    const most = RESOURCES_MAX[resource as keyof typeof RESOURCES_MAX] ?? Number.MAX_SAFE_INTEGER;
    // What grows beyond all machines stays at what is the most; the queue's limit is met long before.
    old = typeof rounded === 'number' && rounded > most && rounded !== Infinity ? most : figureOf(resource, rounded);
    values.push(old);
    if (old === most) break;
  }
  return values;
}

function figureOf(resource: string, value: unknown): number {
  const read = Object.hasOwn(READ, resource) ? READ[resource as keyof typeof READ] : otherFigure;
  try {
    return read(value);
  } catch (error) {
    throw refused(resource, (error as Error).message);
  }
}

function otherFigure(value: unknown): number {
  if (typeof value === 'number' && value > 0 && Number.isFinite(value)) return value;
  throw new JobmonError('MALFORMED', `must be a number above 0, not ${String(value)}`);
}

/** Takes values from the end of the longest list until all fit: what grew that often is beyond every queue. */
function shortened(listed: ListedScales): ListedScales {
  while (JSON.stringify(listed).length > CHARACTERS_MAX) {
    const lists = Object.values(listed).filter((scale) => typeof scale !== 'number');
    const [longest] = lists.sort((a, b) => b.length - a.length);
    if (longest === undefined || longest.length < 2) {
      throw new JobmonError('MALFORMED', `the resource scales have more than ${CHARACTERS_MAX} characters`);
    }
    longest.pop();
  }
  return listed;
}

function refused(resource: string, what: string): JobmonError {
  return new JobmonError('MALFORMED', `the scale of ${resource}: ${what}`);
}
