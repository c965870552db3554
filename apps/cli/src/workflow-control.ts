/** `jobmon workflow pause|drain|cancel|resume|retry|reset|limit|priority`: the verbs. Each is done on the server and kept in its history. */
import path from 'node:path';
import {
  cancelWorkflow,
  drainWorkflow,
  FACTOR_MAX,
  getTask,
  getWorkflow,
  JobmonError,
  listTasks,
  listWorkflowTemplates,
  pauseWorkflow,
  PRIORITY_MAX,
  resumeWorkflow,
  RETRY_IDS_MAX,
  retryTasks,
  setWorkflowLimits,
  setWorkflowPriority,
  startOverWorkflow,
  VERSION,
  type ControlReply,
  type ReplyOf,
  type ResourceChange,
  type ResumeMode,
  type TaskStatus,
  type TaskView,
  type WorkflowDetails,
} from '@jobmon/contracts';
import { loginName, requestedResources, taskCounts, workflowStatusLabel } from '@jobmon/client';
import { InvalidArgumentError, type Command } from 'commander';
import { confirm } from './confirm';
import { WrongUsage } from './failure';
import { printList, printOne, type Fields } from './print';
import { standingOf } from './progress';
import { ask, gather, parseId, parseIds, parseTexts } from './server';
import { settings, tell } from './settings';
import { parseTaskStatuses, printTasks, TASK_STATUS_WORDS, TASKS_PAGE_MAX } from './task';
import { countOf, oneLine } from './text';
import { watchAndPrint } from './watch';
import { limitOf, runLabel } from './workflow-record';

/** What every verb takes. */
interface Flags {
  reason?: string;
}
interface Careful extends Flags {
  yes?: true;
  dryRun?: true;
}

export function addControlCommands(workflow: Command): void {
  const verb = (name: string, description: string): Command =>
    workflow
      .command(name)
      .description(description)
      .argument('<id>', 'workflow id', parseId)
      .option('-r, --reason <text>', 'why; kept in its history');
  const careful = (command: Command): Command =>
    command.option('-y, --yes', 'do not ask').option('--dry-run', 'say what would be done, and do nothing');

  verb('pause', 'Hold a workflow: nothing new starts, what runs goes on. `resume` lifts it.')
    .addHelpText('after', '\nExample:\n  jobmon workflow pause 7 --reason "the disk is full"')
    .action(pause);
  verb('drain', 'Stop a workflow when what runs has finished.')
    .addHelpText('after', '\nExample:\n  jobmon workflow drain 7 --reason "maintenance at noon"')
    .action(drain);
  careful(verb('cancel', 'Stop a workflow and kill what runs. Asks first.'))
    .addHelpText('after', '\nExample:\n  jobmon workflow cancel 7 --yes --reason "wrong input"')
    .action(cancel);
  verb('resume', 'Go on with a workflow: lift its pause, or run what is not done again, with changed resources if you like.')
    .option('--hot', 'let attempts of a former run that still run finish; else they are killed first')
    .option(
      '--set <resource=value>',
      'from now on: cores=4, memory=8G, runtime=2h, cluster=…, queue=…; TEMPLATE:… for one template',
      parseTexts,
    )
    .option('--times <resource=factor>', 'times what is asked for now: memory=1.5; TEMPLATE:… for one template', parseTexts)
    .option('--working-directory <folder>', "where commands start; the newest run's folder when absent")
    .option('--dry-run', 'say what would be done, and do nothing')
    .option('--watch', 'follow it then, as `watch` does')
    .addHelpText(
      'after',
      '\nExamples:\n  jobmon workflow resume 7\n  jobmon workflow resume 7 --times fit:memory=2 --set runtime=4h --watch',
    )
    .action(resume);
  verb('retry', 'Run chosen tasks again, with no attempts counted: all failed ones, or those that the options choose.')
    .option('--task <ids>', 'these tasks; repeat it, or 1,2,3', parseIds)
    .option('-t, --template <name>', 'the failed tasks of this task template')
    .option('-s, --status <status>', `in place of failed tasks those in: ${TASK_STATUS_WORDS}`, parseTaskStatuses)
    .option('--with-downstream', 'and all that stand behind them')
    .option('--working-directory <folder>', "where commands start; the newest run's folder when absent")
    .option('--dry-run', 'list the tasks, and do nothing')
    .option('--watch', 'follow the workflow then, as `watch` does')
    .addHelpText(
      'after',
      '\nExamples:\n  jobmon workflow retry 7\n  jobmon workflow retry 7 --task 12,13\n  jobmon workflow retry 7 --template fit --dry-run',
    )
    .action(retry);
  careful(verb('reset', 'Back to the beginning: no task done, no attempt counted, nothing started. Asks first.'))
    .option('--keep-done', 'tasks that are done stay done')
    .addHelpText('after', '\nExample:\n  jobmon workflow reset 7 --keep-done --yes')
    .action(reset);
  verb('limit', 'Set how many tasks may run at one time, of the workflow or of one of its templates; without options, tell.')
    .option('-w, --workflow <count>', 'of the workflow; none for no limit', parseLimit)
    .option('-t, --template <name=count>', 'of a task template; none for no limit; may be repeated', parseTexts)
    .addHelpText(
      'after',
      '\nExamples:\n  jobmon workflow limit 7 --workflow 100 --template count=20\n  jobmon workflow limit 7 --workflow none',
    )
    .action(limit);
  verb('priority', 'Set which workflows come first: 0 is usual, higher goes first.')
    .argument('<priority>', `from -${PRIORITY_MAX} to ${PRIORITY_MAX}`, parsePriority)
    .addHelpText('after', '\nExamples:\n  jobmon workflow priority 7 10\n  jobmon workflow priority 7 -5')
    .action(priority);
}

/** Commander takes null for no value at all: none stays a word here. */
function parseLimit(text: string): number | 'none' {
  if (text.toLowerCase() === 'none') return 'none';
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number, or none.');
  return Number(text);
}

function parsePriority(text: string): number {
  const number = /^[+-]?\d{1,4}$/.test(text) ? Number(text) : Infinity;
  if (Math.abs(number) > PRIORITY_MAX)
    throw new InvalidArgumentError(`It must be a whole number from -${PRIORITY_MAX} to ${PRIORITY_MAX}.`);
  return number;
}

const who = ({ reason = '' }: Flags): { user: string; reason: string } => ({ user: loginName(), reason });

interface Done extends ControlReply {
  readonly verb: string;
  readonly tasks?: number;
}

const DONE_FIELDS: Fields<Done> = {
  workflow_id: (row) => row.workflow_id,
  verb: (row) => row.verb,
  status: (row) => workflowStatusLabel(row.workflow_status),
  workflow_run_id: (row) => row.workflow_run_id,
  workflow_run_status: (row) => runLabel(row.workflow_run_status),
  is_paused: (row) => row.is_paused,
  is_changed: (row) => row.is_changed,
  is_pending: (row) => row.is_pending,
  tasks: (row) => row.tasks,
};

/** `sentence` is what a person is told when something changed. */
function printDone(verb: string, reply: ControlReply & { tasks?: number }, sentence: string): void {
  printOne({ verb, ...reply }, DONE_FIELDS, () => {
    const told = reply.is_changed ? sentence : 'it stood so already, nothing was changed';
    process.stdout.write(`workflow ${reply.workflow_id}: ${told}\n`);
  });
}

async function pause(workflow_id: number, flags: Flags): Promise<void> {
  const reply = await ask(pauseWorkflow, { workflow_id, ...who(flags) });
  printDone('pause', reply, `paused; what runs goes on, nothing new starts (jobmon workflow resume ${workflow_id} lifts it)`);
}

async function drain(workflow_id: number, flags: Flags): Promise<void> {
  const reply = await ask(drainWorkflow, { workflow_id, ...who(flags) });
  printDone('drain', reply, reply.is_pending ? 'stops when what runs has finished' : 'stopped, nothing of it runs');
}

async function cancel(workflow_id: number, flags: Careful): Promise<void> {
  const details = await ask(getWorkflow, { workflow_id });
  const { running, scheduled } = taskCounts(details.tasks);
  if (flags.dryRun)
    return printPlan(details, 'cancel', running + scheduled, `${countOf(running, 'running command')} would be killed`);
  if (!flags.yes) await confirm(`Cancel ${nameOf(details)} and kill its ${countOf(running, 'running command')}?`);
  const reply = await ask(cancelWorkflow, { workflow_id, ...who(flags) });
  printDone('cancel', reply, reply.is_pending ? 'cancelled; what runs is being killed' : 'cancelled, nothing of it runs');
}

async function reset(workflow_id: number, flags: Careful & { keepDone?: true }): Promise<void> {
  const details = await ask(getWorkflow, { workflow_id });
  const counts = taskCounts(details.tasks);
  const tasks = flags.keepDone ? counts.total - counts.done : counts.total;
  const lost = flags.keepDone ? '' : `, ${counts.done} of them done`;
  if (flags.dryRun) return printPlan(details, 'reset', tasks, `${countOf(tasks, 'task')} would go back to the beginning${lost}`);
  if (!flags.yes) await confirm(`Set ${countOf(tasks, 'task')} of ${nameOf(details)} back to the beginning${lost}?`);
  const reply = await ask(startOverWorkflow, { workflow_id, keep_done: flags.keepDone === true, ...who(flags) });
  printDone(
    'reset',
    reply,
    `${countOf(reply.tasks, 'task')} set back; nothing is started (jobmon workflow resume ${workflow_id} does that)`,
  );
}

interface ResumeFlags extends Flags {
  hot?: true;
  set?: string[];
  times?: string[];
  workingDirectory?: string;
  dryRun?: true;
  watch?: true;
}

async function resume(workflow_id: number, flags: ResumeFlags): Promise<void> {
  const resources = [...(flags.times ?? []).map(timesOf), ...(flags.set ?? []).map(setOf)];
  const mode: ResumeMode = flags.hot ? 'hot' : 'cold';
  if (flags.dryRun) {
    const details = await ask(getWorkflow, { workflow_id });
    // As the command itself would be refused.
    if (details.status === 'D') throw new JobmonError('CONFLICT', `workflow ${workflow_id} is DONE: nothing is left to run`);
    const counts = taskCounts(details.tasks);
    if (details.is_paused && details.status === 'R') return printPlan(details, 'resume', 0, 'its pause would be lifted');
    const tasks = counts.total - counts.done;
    return printPlan(
      details,
      'resume',
      tasks,
      `what is not done would run: ${countOf(tasks, 'task')}, ${counts.fatal} of them failed before`,
    );
  }
  const reply = await ask(resumeWorkflow, {
    workflow_id,
    mode,
    resources,
    ...folderOf(flags),
    client_version: VERSION,
    ...who(flags),
  });
  const sentence = reply.is_pending ? 'goes on as soon as its former run has ended' : `goes on in run ${reply.workflow_run_id}`;
  await printAndWatch('resume', reply, sentence, flags.watch);
}

/** `[TEMPLATE:]NAME=VALUE`. */
function partsOf(text: string, option: string): { task_template?: string; name: string; value: string } {
  const [, template, name, value] = /^(?:(.+):)?([a-z]+)=(.+)$/i.exec(text) ?? [];
  if (name === undefined || value === undefined)
    throw new WrongUsage(`${option} takes NAME=VALUE or TEMPLATE:NAME=VALUE, not '${oneLine(text)}'`);
  return { ...(template === undefined ? {} : { task_template: template }), name: name.toLowerCase(), value };
}

const AMOUNTS = ['cores', 'memory', 'runtime'];
const PLACES = ['cluster', 'queue'];

function timesOf(text: string): ResourceChange {
  const { name, value, ...of } = partsOf(text, '--times');
  if (!AMOUNTS.includes(name)) throw new WrongUsage(`--times: '${oneLine(name)}' is none of ${AMOUNTS.join(', ')}`);
  const factor = Number(value);
  if (!(factor > 0 && factor <= FACTOR_MAX)) {
    throw new WrongUsage(
      `--times: the factor of ${name} must be a number above 0, at most ${FACTOR_MAX}, not '${oneLine(value)}'`,
    );
  }
  return { ...of, times: { [name]: factor } };
}

function setOf(text: string): ResourceChange {
  const { name, value, ...of } = partsOf(text, '--set');
  if (PLACES.includes(name)) {
    // A queue is found in its cluster: `cluster=slurm/long.q`.
    const [cluster, queue] = value.split('/', 2) as [string, string?];
    if (name === 'queue') throw new WrongUsage('--set: a queue is given with its cluster: --set cluster=CLUSTER/QUEUE');
    return { ...of, set: { cluster, ...(queue === undefined ? {} : { queue }) } };
  }
  if (!AMOUNTS.includes(name)) throw new WrongUsage(`--set: '${oneLine(name)}' is none of ${[...AMOUNTS, ...PLACES].join(', ')}`);
  try {
    return { ...of, set: requestedResources({ [name]: value }).requested };
  } catch (error) {
    throw error instanceof JobmonError ? new WrongUsage(`--set: ${error.message}`) : error;
  }
}

/** As it is meant here, wherever the server and its agents are. */
function folderOf({ workingDirectory }: { workingDirectory?: string }): { working_directory?: string } {
  return workingDirectory === undefined ? {} : { working_directory: path.resolve(workingDirectory) };
}

interface RetryFlags extends Flags {
  task?: number[];
  template?: string;
  status?: TaskStatus[];
  withDownstream?: true;
  workingDirectory?: string;
  dryRun?: true;
  watch?: true;
}

async function retry(workflow_id: number, flags: RetryFlags): Promise<void> {
  const { task, template, status } = flags;
  if (task !== undefined && (template !== undefined || status !== undefined)) {
    throw new WrongUsage('--task names the tasks; --template and --status choose them: give one or the other');
  }
  if (flags.dryRun) {
    const tasks = task === undefined ? await tasksLike(workflow_id, flags) : await tasksOf(workflow_id, task);
    printTasks(tasks);
    if (tasks.length === 0) tell('There is no such task: nothing would run again.');
    return;
  }
  const isChosen = template !== undefined || status !== undefined;
  const ids = task ?? (isChosen ? (await tasksLike(workflow_id, flags)).map(({ task_id }) => task_id) : undefined);
  if (ids?.length === 0) throw new JobmonError('NOT_FOUND', `workflow ${workflow_id} has no such task`);
  const request = {
    workflow_id,
    with_downstream: flags.withDownstream === true,
    ...folderOf(flags),
    client_version: VERSION,
    ...who(flags),
  };
  let reply: (ControlReply & { tasks: number }) | undefined;
  for (let from = 0; from === 0 || from < (ids?.length ?? 0); from += RETRY_IDS_MAX) {
    const piece = await ask(retryTasks, { ...request, task_ids: ids?.slice(from, from + RETRY_IDS_MAX) ?? 'failed' });
    reply = { ...piece, tasks: (reply?.tasks ?? 0) + piece.tasks, is_changed: piece.is_changed || reply?.is_changed === true };
  }
  await printAndWatch('retry', reply!, `${countOf(reply!.tasks, 'task')} run${reply!.tasks === 1 ? 's' : ''} again`, flags.watch);
}

/** Those of a template, in chosen statuses or failed. */
async function tasksLike(workflow_id: number, { template, status = ['F'] }: RetryFlags): Promise<TaskView[]> {
  const { rows } = await gather<TaskView, number>(Infinity, TASKS_PAGE_MAX, async (after = 0, count) => {
    const { tasks, next } = await ask(listTasks, { workflow_id, after, limit: count, status, task_template: template });
    return { rows: tasks, next };
  });
  return rows;
}

/** Refused as the retry itself would be. */
async function tasksOf(workflow_id: number, ids: readonly number[]): Promise<TaskView[]> {
  const found: ReplyOf<typeof getTask>[] = [];
  for (const task_id of ids) found.push(await ask(getTask, { task_id }));
  const strangers = found.filter((reply) => reply.workflow_id !== workflow_id).map(({ task }) => task.task_id);
  if (strangers.length > 0) {
    throw new JobmonError('MALFORMED', `all tasks must be of workflow ${workflow_id}, but tasks ${strangers.join(', ')} are not`);
  }
  return found.map(({ task }) => task);
}

async function printAndWatch(verb: string, reply: ControlReply, sentence: string, isWatched: true | undefined): Promise<void> {
  if (!isWatched) return printDone(verb, reply, sentence);
  if (settings.output === 'table') printDone(verb, reply, sentence);
  await watchAndPrint(reply.workflow_id, reply.is_pending ? { after_run: reply.workflow_run_id } : {});
}

async function limit(workflow_id: number, flags: Flags & { workflow?: number | 'none'; template?: string[] }): Promise<void> {
  const task_templates = Object.fromEntries(
    (flags.template ?? []).map((text) => {
      const at = text.lastIndexOf('=');
      if (at < 1) throw new WrongUsage(`--template takes NAME=COUNT, not '${oneLine(text)}'`);
      try {
        return [text.slice(0, at), limitIn(parseLimit(text.slice(at + 1)))];
      } catch {
        throw new WrongUsage(`--template: the limit must be a whole number, or none, not '${oneLine(text.slice(at + 1))}'`);
      }
    }),
  );
  if (flags.workflow === undefined && flags.template === undefined) return printLimits(workflow_id);
  const whole = flags.workflow === undefined ? {} : { max_concurrently_running: limitIn(flags.workflow) };
  const reply = await ask(setWorkflowLimits, { workflow_id, ...whole, task_templates, ...who(flags) });
  const limits = [
    ...(flags.workflow === undefined ? [] : [`the workflow ${flags.workflow}`]),
    ...Object.entries(task_templates).map(([name, max]) => `${oneLine(name)} ${max ?? 'none'}`),
  ];
  printDone('set_limits', reply, `limits are now: ${limits.join(', ')}`);
}

const limitIn = (limit: number | 'none'): number | null => (limit === 'none' ? null : limit);

/** What stands: a row for the workflow, whose template is null, and one for each template. */
async function printLimits(workflow_id: number): Promise<void> {
  const { max_concurrently_running } = await ask(getWorkflow, { workflow_id });
  const { task_templates } = await ask(listWorkflowTemplates, { workflow_id });
  const rows = [{ task_template: null, max_concurrently_running }, ...task_templates];
  printList<(typeof rows)[number]>(
    rows,
    { task_template: (row) => row.task_template, max_concurrently_running: (row) => limitOf(row.max_concurrently_running) },
    [
      { title: 'OF', of: (row) => row.task_template ?? `workflow ${workflow_id}`, isFlexible: true },
      { title: 'LIMIT', of: (row) => limitOf(row.max_concurrently_running) ?? 'none', align: 'right' },
    ],
  );
}

async function priority(workflow_id: number, value: number, flags: Flags): Promise<void> {
  const reply = await ask(setWorkflowPriority, { workflow_id, priority: value, ...who(flags) });
  printDone('set_priority', reply, `its priority is now ${value}`);
}

function nameOf(details: WorkflowDetails): string {
  return `workflow ${details.workflow_id} '${oneLine(details.name)}' (${standingOf(details)})`;
}

/** What a verb would do; nothing was done. */
function printPlan(details: WorkflowDetails, verb: string, tasks: number, sentence: string): void {
  const plan = { workflow_id: details.workflow_id, verb, status: workflowStatusLabel(details.status), tasks, is_dry_run: true };
  printOne(
    plan,
    Object.fromEntries(Object.keys(plan).map((name) => [name, (row: typeof plan) => row[name as keyof typeof plan]])),
    () => process.stdout.write(`${nameOf(details)}: ${sentence}\n`),
  );
}

/** What an event tells besides verb and reason, in a few words. */
export function detailText(detail: Record<string, unknown>): string {
  return Object.entries(detail)
    .filter(([, value]) => value !== null && value !== '' && !(Array.isArray(value) && value.length === 0))
    .map(([name, value]) => `${name.replaceAll('_', ' ')} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
    .join(', ');
}
