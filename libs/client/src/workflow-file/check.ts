/** Checks a file's values against a schema, and says what is wrong where, in words. */
import { z } from 'zod';
import { didYouMean, shown, type Problems } from './problem';
import { SETTINGS } from './schema';
import type { Path, Source } from './source';

type Issue = z.core.$ZodIssue;

/** Issues that become problems: the first ones say it all. */
const ISSUES_MAX = 200;

/** What people coming from elsewhere write, and how it is called here. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  depends_on: 'needs',
  dependencies: 'needs',
  upstreams: 'needs',
  upstream_tasks: 'needs',
  run: 'command',
  command_template: 'command',
  with: 'args',
  retries: 'max_attempts',
  compute_resources: 'resources',
  default_compute_resources: 'resources',
  tool_resources: 'resources',
  task_template_resources: 'resources',
  resource_scales: 'scales',
  tool_scales: 'scales',
  max_concurrently_running: 'limit',
  cluster_name: 'cluster',
  default_cluster_name: 'cluster',
  workflow_args: 'args',
  jobs: 'tasks',
  workflow_attributes: 'attributes',
};

/** What people write at the top. */
const DEFAULTS: readonly string[] = Object.keys(SETTINGS);

/** What is checked: a value, and the path at which it stands in the source. */
interface Checked {
  readonly schema: z.ZodType;
  readonly value: unknown;
  readonly source: Source;
  readonly base: Path;
}

/** Tells every problem of `value`, which stands at `base` of the source, and answers the paths in it that are wrong. */
export function check(schema: z.ZodType, value: unknown, source: Source, problems: Problems, base: Path = []): Path[] {
  const result = schema.safeParse(value);
  if (result.success) return [];
  const issues = result.error.issues.slice(0, ISSUES_MAX).flatMap((issue) => leaves(issue));
  for (const issue of issues) tell(issue, { schema, value, source, base }, problems);
  return issues.map(({ path }) => path as Path);
}

/** Of a union's alternatives the one that was meant: the only one whose kind (map, list, …) fits. The union itself when none or several fit. */
function leaves(issue: Issue): Issue[] {
  if (issue.code !== 'invalid_union') return [issue];
  const meant = issue.errors.filter((errors) => errors.length > 0 && errors.every(({ path }) => path.length > 0));
  const strict = issue.errors.filter((errors) => errors.some(({ code }) => code === 'unrecognized_keys'));
  const chosen = meant.length === 1 ? meant[0]! : strict.length === 1 ? strict[0]! : undefined;
  if (chosen === undefined) return [issue];
  return chosen.flatMap((inner) => leaves({ ...inner, path: [...issue.path, ...inner.path] } as Issue));
}

function tell(issue: Issue, checked: Checked, problems: Problems): void {
  const path = issue.path as Path;
  const { schema, value: root, source, base } = checked;
  const placeOf = (at: Path, what?: 'key' | 'value') => source.positionOf([...base, ...at], what);
  if (issue.code === 'unrecognized_keys') {
    for (const key of issue.keys) problems.add(placeOf([...path, key], 'key'), unknownKey(key, path, checked));
    return;
  }
  const parent = path.slice(0, -1);
  const key = String(path.at(-1));
  if (issue.code === 'invalid_key') {
    problems.add(placeOf(path, 'key'), `expected ${issue.issues[0]?.message ?? issue.message}, found ${shown(key)}`);
    return;
  }
  const within = valueAt(root, parent);
  const isThere = path.length === 0 || (typeof within === 'object' && within !== null && key in within);
  if (!isThere) {
    problems.add(placeOf(parent, 'key'), `the key '${key}' is missing: expected ${issue.message}`);
    return;
  }
  // A key that is none of the known ones would be the name of a cluster; a misspelt one has no map behind it.
  const known = knownKeys(schema, parent);
  if (known.isOpen && path.length > 0 && !known.keys.includes(key) && issue.code === 'invalid_type') {
    problems.add(placeOf(path, 'key'), unknownKey(key, parent, checked));
    return;
  }
  const value = valueAt(root, path);
  const isUnquoted = issue.code === 'invalid_type' && issue.expected === 'string' && ['number', 'boolean'].includes(typeof value);
  const cure = isUnquoted ? '; put it in quotes' : '';
  problems.add(placeOf(path), `expected ${issue.message}, found ${shown(value)}${cure}`);
}

function unknownKey(key: string, path: Path, { schema, base }: Checked): string {
  const { keys, isOpen } = knownKeys(schema, path);
  const whole = [...base, ...path];
  const other = OTHER_NAMES[key];
  const isSetting = whole.length === 0 && DEFAULTS.includes(other ?? key);
  const meant = isSetting
    ? `; it belongs under 'defaults'`
    : other !== undefined && keys.includes(other)
      ? `; did you mean '${other}'?`
      : didYouMean(key, keys);
  const where = whole.length === 0 ? 'here' : `in '${whole.join('.')}'`;
  const clusters = isOpen ? ', and names of clusters with a map behind them' : '';
  return `unknown key '${key}' ${where}${meant || `; known are ${keys.join(', ')}${clusters}`}`;
}

/** The keys that the schema knows in the map at a path; `isOpen` when it takes others too. */
function knownKeys(schema: z.ZodType, path: Path): { keys: string[]; isOpen: boolean } {
  let at = alternatives(schema);
  for (const segment of path) at = at.flatMap((one) => inside(one, segment)).flatMap(alternatives);
  const objects = at.filter((one) => one instanceof z.ZodObject);
  const isOpen = objects.some(({ def }) => def.catchall !== undefined && !(def.catchall instanceof z.ZodNever));
  return { keys: [...new Set(objects.flatMap(({ shape }) => Object.keys(shape)))], isOpen };
}

function alternatives(schema: z.core.$ZodType): z.core.$ZodType[] {
  if (schema instanceof z.ZodOptional) return alternatives(schema.def.innerType);
  if (schema instanceof z.ZodUnion) return schema.def.options.flatMap(alternatives);
  return [schema];
}

function inside(schema: z.core.$ZodType, segment: string | number): z.core.$ZodType[] {
  if (schema instanceof z.ZodArray) return [schema.def.element];
  if (schema instanceof z.ZodRecord) return [schema.def.valueType];
  if (!(schema instanceof z.ZodObject)) return [];
  const own = (schema.shape as Record<string, z.core.$ZodType>)[segment] ?? schema.def.catchall;
  return own === undefined ? [] : [own];
}

function valueAt(root: unknown, path: Path): unknown {
  let at = root;
  for (const segment of path) at = typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[segment] : undefined;
  return at;
}
