/**
 * The form of a workflow file, and of the resource files that it may include. One source: the check, the messages (the text
 * given with each schema says what was expected) and the JSON schema for editors come from here.
 */
import { PRIORITY_MAX } from '@jobmon/contracts';
import { z } from 'zod';
import { memoryGib, runtimeSeconds } from '../compute-resources';

/** The same bound as for tasks of any client. */
const ATTEMPTS_MAX = 1_000_000;
const CORES_MAX = 100_000;
/** 1 PiB, in GiB. */
const MEMORY_GIB_MAX = 2 ** 20;
/** Ten years. */
const RUNTIME_SECONDS_MAX = 315_360_000;
/** Widths of the columns that hold them. */
const NAME_CHARS_MAX = 255;
const ARG_CHARS_MAX = 2_048;
const DESCRIPTION_CHARS_MAX = 16_000;

const text = (max: number, expected = `text of 1 to ${max} characters`) => z.string(expected).min(1, expected).max(max, expected);
const whole = (min: number, max: number) => {
  const expected = `a whole number from ${min} to ${max}`;
  return z.number(expected).int(expected).min(min, expected).max(max, expected);
};
const listOf = <Item extends z.ZodType>(item: Item, expected: string) => z.array(item, expected);
const oneOrMore = <Item extends z.ZodType>(item: Item, expected: string) => z.union([item, z.array(item, expected)], expected);
const isWithin = (measure: (given: number | string) => number, max: number) => (given: number | string) => {
  try {
    return measure(given) <= max;
  } catch {
    return false;
  }
};

/** Names of templates and tasks: what `needs` and other files call them. */
export const NAME_PATTERN = /^[A-Za-z_][A-Za-z0-9_.-]*$/;
const NAME_RULE = 'a name of letters, digits, _, - and ., beginning with a letter';
const Name = z.string(NAME_RULE).max(200, NAME_RULE).regex(NAME_PATTERN, NAME_RULE);
/** Placeholders of commands are plain words. */
const ARG_RULE = 'the name of an argument: letters, digits and _, beginning with a letter';
const Arg = z
  .string(ARG_RULE)
  .max(NAME_CHARS_MAX, ARG_RULE)
  .regex(/^[A-Za-z_]\w*$/, ARG_RULE);

const VALUE_RULE = `text, a number, true or false; text has at most ${ARG_CHARS_MAX} characters`;
/** The value of an argument. It is taken as it is written: `007` stays `007`. */
export const Value = z
  .union([z.string(VALUE_RULE).max(ARG_CHARS_MAX, VALUE_RULE), z.number(VALUE_RULE), z.boolean(VALUE_RULE)], VALUE_RULE)
  .meta({ id: 'value', description: 'The value of an argument, taken as it is written: 007 stays 007.' });

const MEMORY_RULE = 'memory above 0 and up to 1 PiB: a number of GiB, or text such as 512M, 1.5G or 2TiB (units B, K, M, G, T)';
const MEMORY_PATTERN = /^\s*\d+(\.\d+)?\s*([KMGTkmgt]([iI]?[bB])?|[bB])?\s*$/;
const Memory = z
  .union([z.number(MEMORY_RULE), z.string(MEMORY_RULE).regex(MEMORY_PATTERN, MEMORY_RULE)], MEMORY_RULE)
  .refine(isWithin(memoryGib, MEMORY_GIB_MAX), MEMORY_RULE);
const RUNTIME_RULE = 'a run time above 0 and up to 10 years: a number of seconds, or text such as 90s, 10m, 1.5h or 10:00:00';
const RUNTIME_PATTERN = /^\s*(\d+:[0-5]\d:[0-5]\d|\d+(\.\d+)?\s*[smhSMH]?)\s*$/;
const Runtime = z
  .union([z.number(RUNTIME_RULE), z.string(RUNTIME_RULE).regex(RUNTIME_PATTERN, RUNTIME_RULE)], RUNTIME_RULE)
  .refine(isWithin(runtimeSeconds, RUNTIME_SECONDS_MAX), RUNTIME_RULE);
const Cores = whole(1, CORES_MAX);
const Queue = text(NAME_CHARS_MAX);

/** Entries by the one they describe, so that a resource file of Python's may hold others. */
const RESOURCES = {
  cores: Cores.meta({ description: 'Cores of the machine, a whole number.' }).optional(),
  memory: Memory.meta({
    description: 'A number of GiB, or text with a unit: 512M, 1.5G, 2TiB.',
    examples: ['512M', '4G'],
  }).optional(),
  runtime: Runtime.meta({
    description: 'A number of seconds, or text: 90s, 10m, 1.5h, 10:00:00. Attempts that take longer are ended.',
    examples: ['10m', '1.5h', '10:00:00'],
  }).optional(),
  queue: Queue.meta({ description: "The cluster's default queue when absent." }).optional(),
  project: text(NAME_CHARS_MAX).meta({ description: 'The account or project that the cluster charges.' }).optional(),
  constraints: text(NAME_CHARS_MAX).meta({ description: 'Properties of machines that the cluster knows.' }).optional(),
  stdout: text(ARG_CHARS_MAX).meta({ description: 'Folder for standard output; relative to the working folder.' }).optional(),
  stderr: text(ARG_CHARS_MAX).meta({ description: 'Folder for standard error; relative to the working folder.' }).optional(),
};
const RESOURCES_RULE = 'a map of resources: cores, memory, runtime, queue, …';
const ClusterResources = z.strictObject(RESOURCES, RESOURCES_RULE).meta({ id: 'cluster_resources' });
export const Resources = z.object(RESOURCES, RESOURCES_RULE).catchall(ClusterResources).meta({
  id: 'resources',
  description:
    'What a task asks of its cluster. A map under the name of a cluster holds for that cluster only, and before the rest.',
});
export type Resources = z.output<typeof Resources>;

const SCALE_RULE = 'a factor from 0 to 1000 (0.5 is half as much again), or a list of the values of the following attempts';
const factor = z.number(SCALE_RULE).min(0, SCALE_RULE).max(1_000, SCALE_RULE);
const scaleOf = <Item extends z.ZodType>(item: Item) =>
  z.union([factor, z.array(item, SCALE_RULE).min(1, SCALE_RULE)], SCALE_RULE);
const SCALES = { cores: scaleOf(Cores).optional(), memory: scaleOf(Memory).optional(), runtime: scaleOf(Runtime).optional() };
const SCALES_RULE = 'a map of scales: cores, memory, runtime';
export const Scales = z
  .object(SCALES, SCALES_RULE)
  .catchall(z.strictObject(SCALES, SCALES_RULE).meta({ id: 'cluster_scales' }))
  .meta({
    id: 'scales',
    description:
      'How resources grow when an attempt ran out of them: 0.5 is half as much again; a list holds the values of the second, third, … attempt, the last one for all that follow. A map under the name of a cluster holds for that cluster only.',
  });
export type Scales = z.output<typeof Scales>;

const MaxAttempts = whole(1, ATTEMPTS_MAX).meta({
  description: 'Attempts of a task in all, the first included; 3 when nothing says another number.',
});
const Limit = whole(1, 2_147_483_647);
const FALLBACK_RULE = 'a list of queues';
const ATTRIBUTE_RULE = `text of at most ${NAME_CHARS_MAX} characters, a number, true or false`;
const Attribute = z.union(
  [z.string(ATTRIBUTE_RULE).max(NAME_CHARS_MAX, ATTRIBUTE_RULE), z.number(ATTRIBUTE_RULE), z.boolean(ATTRIBUTE_RULE)],
  ATTRIBUTE_RULE,
);
const Attributes = z
  .record(text(NAME_CHARS_MAX), Attribute, 'a map of names and values')
  .meta({ description: 'Names and values that are kept with it.' });

/** Keys that defaults, templates and tasks share; a nearer one replaces single entries. */
export const SETTINGS = {
  max_attempts: MaxAttempts.optional(),
  resources: Resources.optional(),
  scales: Scales.optional(),
  fallback_queues: listOf(Queue, FALLBACK_RULE)
    .meta({ description: 'Queues that are tried in order when grown resources no longer fit.' })
    .optional(),
};
const Cluster = text(NAME_CHARS_MAX);

const ARGS_RULE = 'a list of argument names';
const TEMPLATE_RULE = "a map with a 'command'";
const Command = text(65_535, 'a command: text, in quotes when it begins with a brace').meta({
  description: 'A command line. {name} stands for an argument; write {{ and }} for braces themselves.',
});
export const Template = z
  .strictObject(
    {
      command: Command,
      node_args: listOf(Arg, ARGS_RULE)
        .meta({ description: 'Arguments that tell tasks of one workflow apart; whatever is neither a task nor an op argument.' })
        .optional(),
      task_args: listOf(Arg, ARGS_RULE)
        .meta({ description: 'Arguments that tell workflows apart, such as a version of the data.' })
        .optional(),
      op_args: listOf(Arg, ARGS_RULE)
        .meta({ description: 'Arguments that change nothing of the result, such as a path.' })
        .optional(),
      cluster: Cluster.meta({ description: 'Where its tasks run, when a task does not say another.' }).optional(),
      ...SETTINGS,
      limit: Limit.meta({ description: 'Tasks of this template that run at one time.' }).optional(),
    },
    TEMPLATE_RULE,
  )
  .meta({ id: 'template', description: 'A command with placeholders from which tasks are made.' });
export type Template = z.output<typeof Template>;

const RANGE_RULE = 'a range: from, to, and step when it is not 1';
const bound = whole(-1_000_000_000, 1_000_000_000);
const Range = z
  .strictObject({ from: bound, to: bound, step: whole(1, 1_000_000_000).optional() }, RANGE_RULE)
  .meta({ id: 'range', description: 'The whole numbers from `from` to `to`, both included.' });
export type Range = z.output<typeof Range>;
const VALUES_RULE = 'a list of values, or a range such as {from: 1990, to: 2020}';
const MATRIX_RULE = 'a map of arguments with lists of values, or a list of maps';
const Matrix = z
  .union(
    [
      z.record(Arg, z.union([listOf(Value, VALUES_RULE), Range], VALUES_RULE), MATRIX_RULE),
      z.array(z.record(Arg, Value, 'a map with a value for each argument'), MATRIX_RULE),
    ],
    MATRIX_RULE,
  )
  .meta({
    description: 'One task for each combination of values; or, as a list of maps, one task for each map.',
    examples: [{ location: [6, 101, 102], year: { from: 1990, to: 2020 } }],
  });
export type Matrix = z.output<typeof Matrix>;

const MATCH_RULE = "'same', 'all', or a list of argument names";
const NEED_RULE = "the name of a task, or a map with 'task' and 'match'";
const Need = z
  .strictObject(
    {
      task: Name.meta({ description: 'What must be done before.' }),
      match: z
        .union([z.literal(['same', 'all'], MATCH_RULE), listOf(Arg, MATCH_RULE)], MATCH_RULE)
        .meta({
          description:
            'same (the default): the tasks with the same values in all arguments that both matrices have; a list: in these arguments only; all: every task.',
        })
        .optional(),
    },
    NEED_RULE,
  )
  .meta({ id: 'need' });
const NEEDS_RULE = "the name of a task, or a list of names and of maps with 'task' and 'match'";
const Needs = z
  .union([Name, Need, z.array(z.union([Name, Need], NEED_RULE), NEEDS_RULE)], NEEDS_RULE)
  .meta({ description: 'Tasks that must be done before this one starts.' });
export type Needs = z.output<typeof Needs>;

const TASK_RULE = "a map: 'template' or 'command', args, matrix, needs, …";
export const TaskGroup = z
  .strictObject(
    {
      template: Name.meta({
        description: 'Its template; the one of the same name when neither template nor command is given.',
      }).optional(),
      command: Command.optional(),
      args: z
        .record(Arg, Value, 'a map of arguments and values')
        .meta({ description: 'Values of arguments, the same for all tasks of the matrix.' })
        .optional(),
      matrix: Matrix.optional(),
      needs: Needs.optional(),
      name: text(NAME_CHARS_MAX)
        .meta({ description: 'Name of the task, with {argument} for values; made from the key and the matrix when absent.' })
        .optional(),
      attributes: Attributes.optional(),
      cluster: Cluster.meta({ description: 'Where it runs.' }).optional(),
      ...SETTINGS,
    },
    TASK_RULE,
  )
  .meta({ id: 'task', description: 'One task, or with a matrix one for each combination of values.' });
export type TaskGroup = z.output<typeof TaskGroup>;

const FILES_RULE = 'a file name, or a list of file names';
const Include = oneOrMore(text(4_096, FILES_RULE), FILES_RULE).meta({
  description:
    'Resource files, relative to this one: tool_resources, tool_scales, task_template_resources and task_template_scales, by cluster. Of two files the later one wins, and this file before both.',
});

const FILE_RULE = 'a workflow: a map with tool, templates, tasks, …';
export const WorkflowDescription = z
  .strictObject(
    {
      $schema: z.string('text').meta({ description: 'Where this schema is, for editors.' }).optional(),
      tool: text(NAME_CHARS_MAX).meta({ description: 'The programme of work that the templates belong to.' }),
      name: text(NAME_CHARS_MAX).meta({ description: "The workflow's name; the file's when absent." }).optional(),
      args: Value.meta({
        description:
          'Tells workflows apart: the same args with the same tasks are the same workflow, which can be resumed. When absent every run is a new workflow.',
      }).optional(),
      description: text(DESCRIPTION_CHARS_MAX).optional(),
      attributes: Attributes.optional(),
      cluster: Cluster.meta({ description: 'Where tasks run whose template and task do not say another.' }).optional(),
      limit: Limit.meta({ description: 'Tasks of the workflow that run at one time.' }).optional(),
      priority: whole(-PRIORITY_MAX, PRIORITY_MAX)
        .meta({ description: 'Which workflow comes first; higher first, 0 when absent.' })
        .optional(),
      include: Include.optional(),
      defaults: z
        .strictObject(SETTINGS, 'a map: max_attempts, resources, scales, fallback_queues')
        .meta({ description: 'For all tasks whose template and task do not say otherwise.' })
        .optional(),
      templates: z.record(Name, Template, 'a map of names and templates').optional(),
      tasks: z.record(Name, TaskGroup, 'a map of names and tasks'),
    },
    FILE_RULE,
  )
  .meta({ title: 'Jobmon workflow file', description: 'Run it by `jobmon run FILE`.' });
export type WorkflowDescription = z.output<typeof WorkflowDescription>;

/** Resources of one cluster as Python's files hold them: what we know is checked, what the cluster's plug-in knows is passed on. */
const LooseResources = z.looseObject(RESOURCES, RESOURCES_RULE);
const LooseScales = z.looseObject(SCALES, SCALES_RULE);
const BY_CLUSTER_RULE = 'a map by cluster';
const BY_TEMPLATE_RULE = 'a map by task template';
const byCluster = <Item extends z.ZodType>(item: Item) => z.record(z.string(), item.nullable(), BY_CLUSTER_RULE).nullable();
const byTemplate = <Item extends z.ZodType>(item: Item) => z.record(z.string(), byCluster(item), BY_TEMPLATE_RULE).nullable();

/** The sections of a resource file. Other keys are left alone: such files serve other programs too. */
export const RESOURCE_FILE = {
  include: Include.nullable(),
  tool_resources: byCluster(LooseResources),
  tool_scales: byCluster(LooseScales),
  task_template_resources: byTemplate(LooseResources),
  task_template_scales: byTemplate(LooseScales),
} as const;
export const RESOURCE_FILE_RULE = `a map with one of ${Object.keys(RESOURCE_FILE).slice(1).join(', ')}`;

/** The JSON schema of a workflow file, for editors (draft 7, which they all know). */
export function workflowFileSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(WorkflowDescription, { target: 'draft-07', io: 'input' }) as Record<string, unknown>;
  // Keys that hold nothing but anchors for aliases.
  return { ...schema, patternProperties: { [X_KEY.source]: {} } };
}

/** The schema as `jobmon run --schema` prints it and as docs/workflow-file.schema.json holds it. */
export function workflowFileSchemaText(): string {
  return `${JSON.stringify(workflowFileSchema(), undefined, 2)}\n`;
}

/** Top-level keys that are left alone. */
export const X_KEY = /^x-/;
