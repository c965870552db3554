/**
 * One key under `tasks`: a single task, or with a matrix one for each combination of values. Here a group is checked in itself
 * (its template, its arguments, its name, its cluster); who waits for whom is looked at in needs.ts.
 */
import { JobmonError, TaskToRegister } from '@jobmon/contracts';
import { fillCommandTemplate, parseCommandTemplate, type CommandTemplate } from '../command-template';
import type { Includes } from './include';
import { ONE_ROW, rowsOf, type Rows } from './matrix';
import { didYouMean, type Problems } from './problem';
import { NAME_PATTERN, type TaskGroup, type Template, type WorkflowDescription } from './schema';
import { settingsOf, type Settings } from './settings';
import type { Path, Source } from './source';

/** Longest name that is made of arguments. */
const NAME_CHARS_MAX = 249;

/** A template as its tasks need it. */
export interface UsedTemplate {
  readonly name: string;
  readonly command: string;
  readonly parsed: CommandTemplate;
  /** Names of the placeholders, each once. */
  readonly names: readonly string[];
  readonly nodeArgs: readonly string[];
  readonly taskArgs: readonly string[];
  readonly opArgs: readonly string[];
  readonly limit: number | undefined;
}

export interface Group {
  readonly key: string;
  readonly template: UsedTemplate;
  readonly rows: Rows;
  readonly settings: Settings;
  readonly attributes: Readonly<Record<string, string>>;
  /** The name of the task of a row: not unique, made of what names may hold. */
  nameOf(row: number): string;
  /** The value of a placeholder in a row. */
  valueOf(row: number, name: string): string;
}

/** What all groups of a file are checked against. */
export interface Surroundings {
  readonly file: WorkflowDescription;
  readonly source: Source;
  readonly problems: Problems;
  readonly includes: Includes;
  /** Templates that are right in themselves, by name. */
  readonly templates: ReadonlyMap<string, UsedTemplate>;
  /** The names of all templates, those with something wrong included. */
  readonly templateNames: readonly string[];
  /** Where all tasks run, whatever the file says. */
  readonly clusterName: string | undefined;
  /** Values of arguments in place of those under `args`. */
  readonly values: ReadonlyMap<string, string>;
  /** Told once: what one task lacks, mostly all lack. */
  readonly tellNoCluster: (key: string) => void;
  /** The cluster that a name means: the oldest clients name executors. */
  readonly clusterMeant: (name: string) => string;
}

/** A template of the file, its command taken apart. Undefined when something is wrong with it, which has been told then. */
export function usedTemplate(
  name: string,
  template: Template,
  source: Source,
  problems: Problems,
  path: Path = ['templates', name],
): UsedTemplate | undefined {
  const parsed = parsedCommand(template.command.trim(), source, [...path, 'command'], problems);
  if (parsed === undefined) return undefined;
  const names = [...new Set(parsed.names)];
  const kinds = { node_args: template.node_args, task_args: template.task_args ?? [], op_args: template.op_args ?? [] };
  let isRight = true;
  const seen = new Map<string, string>();
  for (const [kind, args] of Object.entries(kinds)) {
    for (const [i, arg] of (args ?? []).entries()) {
      const at = source.positionOf([...path, kind, i]);
      const first = seen.get(arg);
      if (!names.includes(arg)) problems.add(at, `the command has no placeholder {${arg}}${orKnown(arg, names, 'placeholder')}`);
      else if (first !== undefined) problems.add(at, `'${arg}' stands under ${first} already; an argument is of one kind`);
      else {
        seen.set(arg, kind);
        continue;
      }
      isRight = false;
    }
  }
  const left = names.filter((arg) => !seen.has(arg));
  if (kinds.node_args !== undefined && left.length > 0) {
    const message = `the placeholder {${left[0]}} of the command stands neither here nor under task_args or op_args`;
    problems.add(source.positionOf([...path, 'node_args'], 'key'), message);
    isRight = false;
  }
  if (!isRight) return undefined;
  const { task_args: taskArgs, op_args: opArgs } = kinds;
  const nodeArgs = kinds.node_args ?? left;
  return { name, command: template.command.trim(), parsed, names, nodeArgs, taskArgs, opArgs, limit: template.limit };
}

/** Undefined when something is wrong with the group, which has been told then. */
export function groupOf(key: string, given: TaskGroup, around: Surroundings): Group | undefined {
  const { source, problems, file } = around;
  const path: Path = ['tasks', key];
  const template = templateOf(key, given, around);
  const rows = given.matrix === undefined ? ONE_ROW : rowsOf(given.matrix, source, [...path, 'matrix'], problems);
  const ofTemplate = given.command === undefined ? file.templates?.[given.template ?? key] : undefined;
  const named = around.clusterName ?? given.cluster ?? ofTemplate?.cluster ?? file.cluster;
  if (named === undefined) around.tellNoCluster(key);
  const cluster = named === undefined ? undefined : around.clusterMeant(named);
  if (template === undefined || rows === undefined || cluster === undefined) return undefined;
  if (!areArgsRight(key, given, template, rows, around)) return undefined;
  const nameOf = namer(key, given, rows, around);
  if (nameOf === undefined) return undefined;
  const args = new Map(
    Object.keys(given.args ?? {}).map((arg) => [arg, around.values.get(arg) ?? source.textOf(given.args!, arg)]),
  );
  const valueOf = (row: number, name: string): string => args.get(name) ?? rows.valueOf(row, rows.args.indexOf(name));
  const attributes = Object.keys(given.attributes ?? {}).map((name) => [name, source.textOf(given.attributes!, name)] as const);
  return {
    key,
    template,
    rows,
    settings: settingsOf(cluster, file, template.name, ofTemplate, given, around.includes),
    attributes: Object.fromEntries(attributes),
    nameOf: (row) => nameOf((name) => valueOf(row, name)),
    valueOf,
  };
}

function templateOf(key: string, given: TaskGroup, around: Surroundings): UsedTemplate | undefined {
  const { source, problems, templates, templateNames } = around;
  const path: Path = ['tasks', key];
  if (given.command !== undefined) {
    if (given.template !== undefined) {
      problems.add(source.positionOf([...path, 'command'], 'key'), `task '${key}' has a template and a command; take one away`);
    } else if (templateNames.includes(key)) {
      const message = `there is a template '${key}' too; take this command away to use it, or rename one of the two`;
      problems.add(source.positionOf([...path, 'command'], 'key'), message);
    } else {
      return usedTemplate(key, { command: given.command }, source, problems, path);
    }
    return undefined;
  }
  const name = given.template ?? key;
  if (templateNames.includes(name)) return templates.get(name);
  if (given.template === undefined) {
    problems.add(
      source.positionOf(path, 'key'),
      `task '${key}' has neither a template nor a command${didYouMean(key, templateNames)}`,
    );
  } else {
    const message = `there is no template '${name}'${orKnown(name, templateNames, 'template')}`;
    problems.add(source.positionOf([...path, 'template']), message);
  }
  return undefined;
}

/** Each placeholder has one value, and nothing else has. */
function areArgsRight(
  key: string,
  given: TaskGroup,
  template: UsedTemplate,
  rows: Rows,
  { source, problems }: Surroundings,
): boolean {
  const path: Path = ['tasks', key];
  let isRight = true;
  const tell = (at: Path, what: 'key' | 'value', message: string): void => {
    problems.add(source.positionOf(at, what), message);
    isRight = false;
  };
  const args = Object.keys(given.args ?? {});
  const whose = given.command === undefined ? `template '${template.name}'` : 'the command';
  const pathOf = (arg: string): Path => {
    if (args.includes(arg)) return [...path, 'args', arg];
    return Array.isArray(given.matrix) ? [...path, 'matrix', 0, arg] : [...path, 'matrix', arg];
  };
  for (const arg of [...args, ...rows.args]) {
    if (template.names.includes(arg)) continue;
    tell(pathOf(arg), 'key', `${whose} has no placeholder {${arg}}${orKnown(arg, template.names, 'placeholder')}`);
  }
  for (const arg of rows.args.filter((one) => args.includes(one))) {
    tell(pathOf(arg), 'key', `'${arg}' has a value here and values in the matrix; take one of the two away`);
  }
  for (const arg of template.names) {
    if (args.includes(arg) || rows.args.includes(arg)) continue;
    tell(path, 'key', `the placeholder {${arg}} of ${whose} has no value; give it one under 'args', or several under 'matrix'`);
  }
  return isRight;
}

/** How tasks of the group are called, by the values of their arguments. */
function namer(
  key: string,
  given: TaskGroup,
  rows: Rows,
  { source, problems }: Surroundings,
): ((valueOf: (arg: string) => string) => string) | undefined {
  const whole = (name: string): string =>
    // A pair of surrogates is one character: half of it is no text.
    (/^\d/.test(name) ? `_${name}` : name).slice(0, NAME_CHARS_MAX).replace(/[\uD800-\uDBFF]$/, '');
  const plain = (value: string): string => value.slice(0, NAME_CHARS_MAX).replace(/[/\\'"\s]/g, '_');
  if (given.name === undefined) {
    return (valueOf) => whole(rows.args.reduce((name, arg) => `${name}_${arg}-${plain(valueOf(arg))}`, key));
  }
  const path: Path = ['tasks', key, 'name'];
  const parsed = parsedCommand(given.name, source, path, problems);
  if (parsed === undefined) return undefined;
  const known = [...Object.keys(given.args ?? {}), ...rows.args];
  const stranger = parsed.names.find((name) => !known.includes(name));
  if (stranger !== undefined) {
    problems.add(source.positionOf(path), `the task has no argument {${stranger}}${orKnown(stranger, known, 'argument')}`);
    return undefined;
  }
  const sample = TaskToRegister.shape.name.safeParse(fillCommandTemplate(parsed, () => '_'));
  if (!sample.success) {
    problems.add(source.positionOf(path), `the name ${sample.error.issues[0]?.message ?? 'is no name'}`);
    return undefined;
  }
  return (valueOf) => whole(fillCommandTemplate(parsed, (arg) => plain(valueOf(arg))));
}

function parsedCommand(command: string, source: Source, path: Path, problems: Problems): CommandTemplate | undefined {
  try {
    return parseCommandTemplate(command);
  } catch (error) {
    if (!(error instanceof JobmonError)) throw error;
    problems.add(source.positionOf(path), error.message);
    return undefined;
  }
}

function orKnown(wrong: string, names: readonly string[], noun: string): string {
  if (names.length === 0) return `; there is no ${noun}`;
  const few = names.filter((name) => NAME_PATTERN.test(name)).slice(0, 10);
  return (
    didYouMean(wrong, names) || `; there ${few.length === 1 ? 'is' : 'are'} ${few.join(', ')}${names.length > 10 ? ', …' : ''}`
  );
}
