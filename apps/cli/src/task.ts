/** `jobmon task list`, `show`, `log` and `why`. */
import {
  explainTask,
  getTask,
  listTasks,
  taskMachine,
  type ReplyOf,
  type TaskInstanceView,
  type TaskReason,
  type TaskStatus,
  type TaskView,
} from '@jobmon/contracts';
import type { Command } from 'commander';
import { printFields, printList, printOne, type Column, type Fields } from './print';
import { ask, gather, parseCount, parseId, statusParser } from './server';
import { isForPrograms, tell, widthOf } from './settings';
import { instanceLabel } from './task-instance';
import { addLogCommand } from './task-log';
import { bytesText, countOf, durationText, oneLine, wrapped } from './text';

/** Tasks of one answer of the api. */
export const TASKS_PAGE_MAX = 1_000;

/** Sentences are broken here at the latest. */
const PROSE_COLUMNS_MAX = 100;

/** The words for `--status`. */
export const TASK_STATUS_WORDS = `${Object.values(taskMachine.states)
  .map(({ label }) => label)
  .join(', ')}; FATAL is ERROR_FATAL`;

export function addTaskCommands(jobmon: Command): void {
  const task = jobmon
    .command('task')
    .description('Tasks: the commands of a workflow.')
    .addHelpText('after', '\nExamples:\n  jobmon task list 7\n  jobmon task why 12');
  task
    .command('list')
    .description('Tasks of a workflow, by id.')
    .argument('<workflow id>', 'workflow id', parseId)
    .option('-n, --limit <count>', 'at most so many', parseCount, 50)
    .option('-s, --status <status>', `${TASK_STATUS_WORDS}; repeat it, or a,b`, parseTaskStatuses)
    .option('-t, --template <name>', 'only of this task template')
    .option('--after <id>', 'only tasks with a larger id: for the next page', parseId)
    .addHelpText('after', '\nExamples:\n  jobmon task list 7\n  jobmon task list 7 --status FATAL -n 1000 -o json')
    .action(list);
  task
    .command('show')
    .description('One task with its attempts: what each asked for, used and came to.')
    .argument('<id>', 'task id', parseId)
    .addHelpText('after', '\nExample:\n  jobmon task show 12')
    .action(show);
  addLogCommand(task);
  task
    .command('why')
    .description('Why a task does not run, as it stands now; what matters most comes first.')
    .argument('<id>', 'task id', parseId)
    .addHelpText('after', '\nExample:\n  jobmon task why 12')
    .action(why);
}

/** For an option that is repeated, or given `a,b`. */
export const parseTaskStatuses = statusParser(taskMachine.states, { FATAL: 'ERROR_FATAL' });

const taskLabel = (letter: TaskStatus): string => taskMachine.states[letter].label;

const TASK_FIELDS: Fields<TaskView> = {
  task_id: (row) => row.task_id,
  name: (row) => row.name,
  task_template: (row) => row.task_template,
  status: (row) => taskLabel(row.status),
  status_date: (row) => row.status_date,
  num_attempts: (row) => row.num_attempts,
  max_attempts: (row) => row.max_attempts,
  wallclock_seconds: (row) => row.wallclock_seconds,
  command: (row) => row.command,
  error: (row) => row.error,
};

const TASK_COLUMNS: Column<TaskView>[] = [
  { title: 'ID', of: (row) => row.task_id, align: 'right' },
  { title: 'STATUS', of: (row) => taskLabel(row.status), isStatus: true },
  { title: 'ATTEMPTS', of: (row) => `${row.num_attempts}/${row.max_attempts}`, align: 'right' },
  { title: 'SECONDS', of: (row) => row.wallclock_seconds?.toFixed(1), align: 'right' },
  { title: 'NAME', of: (row) => row.name, isFlexible: true },
  { title: 'COMMAND', of: (row) => row.command, isFlexible: true },
];

export function printTasks(tasks: readonly TaskView[]): void {
  printList(tasks, TASK_FIELDS, TASK_COLUMNS);
}

interface ListFlags {
  limit: number;
  status?: TaskStatus[];
  template?: string;
  after?: number;
}

async function list(workflow_id: number, { limit, status = [], template, after: from = 0 }: ListFlags): Promise<void> {
  const { rows, hasMore } = await gather<TaskView, number>(limit, TASKS_PAGE_MAX, async (after = from, count) => {
    const { tasks, next } = await ask(listTasks, { workflow_id, status, task_template: template, after, limit: count });
    return { rows: tasks, next };
  });
  printTasks(rows);
  if (rows.length === 0) tell('There are no such tasks.');
  if (hasMore) tell(`There are more than ${rows.length}; the next page: --after ${rows.at(-1)!.task_id}`);
}

type Shown = ReplyOf<typeof getTask>;

const SHOWN_FIELDS: Fields<Shown> = {
  ...Object.fromEntries(Object.entries(TASK_FIELDS).map(([name, of]) => [name, ({ task }: Shown) => of(task)])),
  workflow_id: (row) => row.workflow_id,
  attempts: (row) =>
    row.instances.map((instance) => ({
      ...instance,
      status: instanceLabel(instance.status),
      history: instance.history.map((step) => ({
        ...step,
        from_status: step.from_status === null ? null : instanceLabel(step.from_status),
        to_status: instanceLabel(step.to_status),
      })),
    })),
};

async function show(task_id: number): Promise<void> {
  const reply = await ask(getTask, { task_id });
  const { task, workflow_id, instances } = reply;
  printOne(reply, SHOWN_FIELDS, () => {
    printFields([
      ['task', task.task_id],
      ['name', task.name],
      ['workflow', workflow_id],
      ['template', task.task_template],
      ['status', taskLabel(task.status)],
      ['attempts', `${task.num_attempts} of ${task.max_attempts}`],
      ['changed', task.status_date],
      ['command', task.command],
    ]);
    instances.forEach((instance, i) => {
      process.stdout.write(`\nattempt ${i + 1}\n`);
      printFields(attemptFields(instance).map(([name, value]) => [`  ${name}`, value] as const));
      for (const step of instance.history) process.stdout.write(`    ${stepText(step)}\n`);
    });
    if (!['D', 'R'].includes(task.status)) tell(`\nWhy it does not run: jobmon task why ${task_id}`);
  });
}

function attemptFields(instance: TaskInstanceView): (readonly [string, string | number | null | undefined])[] {
  const { requested_resources: asked, wallclock_seconds: seconds, max_rss_bytes: rss, cpu_seconds: cpu } = instance;
  return [
    ['instance', instance.task_instance_id],
    ['status', instanceLabel(instance.status)],
    ['exit code', instance.exit_code],
    ['asked for', askedText(asked, instance.queue)],
    [
      'used',
      [
        seconds !== null && `${seconds.toFixed(2)} s`,
        rss !== null && `${bytesText(rss)} of memory`,
        cpu !== null && `${cpu.toFixed(2)} s of processor`,
      ]
        .filter(Boolean)
        .join(', '),
    ],
    ['host', instance.nodename],
    ['output', instance.stdout],
    ['errors', instance.stderr],
    ...instance.errors.map(({ description }) => ['error', description] as const),
  ];
}

/** `2 cores, 4 GiB, 1 h 0 min, in all.q`. What else a plug-in takes follows by name. */
function askedText({ cores, memory, runtime, ...rest }: Record<string, unknown>, queue: string | null): string {
  const others = Object.entries(rest).filter(
    ([name, value]) => !['stdout', 'stderr'].includes(name) && value !== null && value !== '',
  );
  const words = [
    ...(cores === undefined ? [] : [countOf(Number(cores), 'core')]),
    ...(memory === undefined ? [] : [typeof memory === 'number' ? bytesText(memory * 2 ** 30) : String(memory)]),
    ...(runtime === undefined ? [] : [typeof runtime === 'number' ? durationText(runtime) : String(runtime)]),
    ...others.map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`),
  ];
  return [...(words.length === 0 ? ['nothing'] : words), ...(queue === null ? [] : [`in ${queue}`])].join(', ');
}

function stepText({ date, from_status, to_status, reason }: TaskInstanceView['history'][number]): string {
  const way = from_status === null ? instanceLabel(to_status) : `${instanceLabel(from_status)} → ${instanceLabel(to_status)}`;
  return `${date}  ${way.padEnd(24)}  ${oneLine(reason)}`;
}

const REASON_FIELDS: Fields<TaskReason & { task_id: number; status: TaskStatus }> = {
  task_id: (row) => row.task_id,
  status: (row) => taskLabel(row.status),
  rule: (row) => row.rule,
  message: (row) => row.message,
  details: (row) => row.details,
};

async function why(task_id: number): Promise<void> {
  const { name, status, workflow_id, reasons } = await ask(explainTask, { task_id });
  const rows = reasons.map((reason) => ({ ...reason, task_id, status }));
  if (isForPrograms()) return printList(rows, REASON_FIELDS, []);
  process.stdout.write(`task ${task_id} ${oneLine(name)} of workflow ${workflow_id} is ${taskLabel(status)}:\n`);
  const columns = Math.min(PROSE_COLUMNS_MAX, widthOf(process.stdout));
  for (const { message } of reasons) process.stdout.write(`${wrapped(`- ${oneLine(message)}`, columns, '  ').join('\n')}\n`);
}
