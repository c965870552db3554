/** `jobmon task list`, `show` and `log`. */
import {
  getTask,
  JobmonError,
  listTasks,
  taskInstanceMachine,
  taskMachine,
  type TaskInstanceStatus,
  type TaskInstanceView,
  type TaskStatus,
  type TaskView,
} from '@jobmon/contracts';
import { InvalidArgumentError, type Command } from 'commander';
import { output, oneLine, printFields, printRecord, printTable, type Shape } from './print';
import { ask, parseCount, parseId } from './server';

/** Tasks of one answer of the api. */
const PAGE_MAX = 1_000;

export function addTaskCommands(jobmon: Command): void {
  const task = jobmon
    .command('task')
    .description('Tasks: the commands of a workflow.')
    .addHelpText('after', '\nExamples:\n  jobmon task list 7\n  jobmon task log 12');
  const words = `${Object.values(taskMachine.states)
    .map(({ label }) => label)
    .join(', ')}; FATAL is ERROR_FATAL`;
  task
    .command('list')
    .description('Tasks of a workflow, by id.')
    .argument('<workflow id>', 'workflow id', parseId)
    .option('-n, --limit <count>', 'at most so many', parseCount, 50)
    .option('-s, --status <status>', words, parseStatus)
    .addOption(output())
    .addHelpText('after', '\nExamples:\n  jobmon task list 7\n  jobmon task list 7 --status FATAL -n 1000 -o json')
    .action(list);
  task
    .command('show')
    .description('One task with its attempts and what became of each.')
    .argument('<id>', 'task id', parseId)
    .addOption(output())
    .addHelpText('after', '\nExample:\n  jobmon task show 12')
    .action(show);
  task
    .command('log')
    .description('What the command printed: the last 10,000 characters of an attempt.')
    .argument('<id>', 'task id', parseId)
    .option('-a, --attempt <number>', 'attempt, the first is 1; the latest when absent', parseCount)
    .option('-e, --stderr', 'standard error in place of standard output')
    .addOption(output())
    .addHelpText('after', '\nExamples:\n  jobmon task log 12\n  jobmon task log 12 --attempt 1 --stderr')
    .action(log);
}

function parseStatus(text: string): TaskStatus {
  const word = text.toUpperCase() === 'FATAL' ? 'ERROR_FATAL' : text.toUpperCase();
  const states = Object.entries(taskMachine.states) as [TaskStatus, { label: string }][];
  const found = states.find(([letter, { label }]) => letter === word || label === word);
  if (found === undefined)
    throw new InvalidArgumentError(`It must be one of ${states.map(([, { label }]) => label).join(', ')}.`);
  return found[0];
}

async function list(
  workflow_id: number,
  { limit, status, output: shape }: { limit: number; status?: TaskStatus; output: Shape },
): Promise<void> {
  const tasks: TaskView[] = [];
  let after: number | null = 0;
  while (after !== null && tasks.length < limit) {
    const request = { workflow_id, status, after, limit: Math.min(PAGE_MAX, limit - tasks.length) };
    const page: { tasks: TaskView[]; next: number | null } = await ask(listTasks, request);
    tasks.push(...page.tasks);
    after = page.next;
  }
  if (shape === 'json') return printRecord(tasks);
  printTable(
    [
      { title: 'ID', of: (row: TaskView) => row.task_id, align: 'right' },
      { title: 'STATUS', of: (row) => taskMachine.states[row.status].label, isStatus: true },
      { title: 'ATTEMPTS', of: (row) => `${row.num_attempts}/${row.max_attempts}`, align: 'right' },
      { title: 'SECONDS', of: (row) => row.wallclock_seconds?.toFixed(1) ?? null, align: 'right' },
      { title: 'NAME', of: (row) => row.name, isFlexible: true },
      { title: 'COMMAND', of: (row) => row.command, isFlexible: true },
    ],
    tasks,
  );
  if (after !== null) process.stderr.write(`There are more than ${limit}; ask for more with --limit.\n`);
}

async function show(task_id: number, { output: shape }: { output: Shape }): Promise<void> {
  const reply = await ask(getTask, { task_id });
  if (shape === 'json') return printRecord(reply);
  const { task, workflow_id, instances } = reply;
  printFields([
    ['task', task.task_id],
    ['name', task.name],
    ['workflow', workflow_id],
    ['template', task.task_template],
    ['status', taskMachine.states[task.status].label],
    ['attempts', `${task.num_attempts} of ${task.max_attempts}`],
    ['changed', task.status_date],
    ['command', task.command],
  ]);
  instances.forEach((instance, i) => {
    process.stdout.write(`\nattempt ${i + 1}\n`);
    printFields(attemptFields(instance).map(([name, value]) => [`  ${name}`, value] as const));
    for (const step of instance.history) process.stdout.write(`    ${stepText(step)}\n`);
  });
}

function attemptFields(instance: TaskInstanceView): (readonly [string, string | number | null])[] {
  return [
    ['instance', instance.task_instance_id],
    ['status', instanceLabel(instance.status)],
    ['exit code', instance.exit_code],
    ['seconds', instance.wallclock_seconds?.toFixed(2) ?? null],
    ['host', instance.nodename],
    ['output', instance.stdout],
    ['errors', instance.stderr],
    ...instance.errors.map(({ description }) => ['error', description] as const),
  ];
}

function instanceLabel(letter: string): string {
  return taskInstanceMachine.states[letter as TaskInstanceStatus]?.label ?? letter;
}

function stepText({ date, from_status, to_status, reason }: TaskInstanceView['history'][number]): string {
  const way = from_status === null ? instanceLabel(to_status) : `${instanceLabel(from_status)} → ${instanceLabel(to_status)}`;
  return `${date}  ${way.padEnd(24)}  ${reason}`;
}

async function log(
  task_id: number,
  { attempt, stderr, output: shape }: { attempt?: number; stderr?: true; output: Shape },
): Promise<void> {
  const { task, instances } = await ask(getTask, { task_id });
  const number = attempt ?? instances.length;
  const instance = instances[number - 1];
  if (instance === undefined) {
    const have = instances.length === 0 ? 'was not started yet' : `has no attempt ${number}: the latest is ${instances.length}`;
    throw new JobmonError('NOT_FOUND', `task ${task_id} (${oneLine(task.name)}) ${have}`);
  }
  if (shape === 'json') {
    const { task_instance_id, stdout, stdout_log, stderr: stderr_file, stderr_log } = instance;
    return printRecord({ task_id, attempt: number, task_instance_id, stdout, stdout_log, stderr: stderr_file, stderr_log });
  }
  const [text, file] = stderr ? [instance.stderr_log, instance.stderr] : [instance.stdout_log, instance.stdout];
  if (text === null) {
    const where = file === null ? '' : `; its output goes to ${oneLine(file)} on ${instance.nodename ?? 'its host'}`;
    process.stderr.write(`Attempt ${number} is ${instanceLabel(instance.status)}${where}.\n`);
    return;
  }
  process.stdout.write(text === '' || text.endsWith('\n') ? text : `${text}\n`);
  if (text === '') process.stderr.write(`Attempt ${number} printed nothing there.\n`);
  if (!stderr && instance.stderr_log) process.stderr.write('There is more on standard error: add --stderr.\n');
}
