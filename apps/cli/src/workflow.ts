/** `jobmon workflow …`: looking at workflows, and following one. The verbs that change one stand in `workflow-control.ts`. */
import {
  getWorkflow,
  getWorkflowHistory,
  groupWorkflowErrors,
  listWorkflowErrors,
  listWorkflowRuns,
  listWorkflows,
  listWorkflowTemplates,
  workflowMachine,
  type WorkflowDetails,
  type WorkflowError,
  type WorkflowErrorGroup,
  type WorkflowEvent,
  type WorkflowRunView,
  type WorkflowStatus,
  type TaskTemplateProgress,
  type WorkflowView,
} from '@jobmon/contracts';
import { loginName, taskCounts } from '@jobmon/client';
import { InvalidArgumentError, type Command } from 'commander';
import { printFields, printList, printRecord, printTable, recordOf, type Column, type Fields } from './print';
import { gistOf, standingOf } from './progress';
import { ask, gather, parseAttributes, parseCount, parseId, parseSeconds, parseTexts, parseWords, statusParser } from './server';
import { isForPrograms, tell } from './settings';
import { oneLine } from './text';
import { exitOf, watchAndPrint, watchWorkflow } from './watch';
import { addControlCommands, detailText } from './workflow-control';
import {
  ERROR_FIELDS,
  ERROR_GROUP_FIELDS,
  EVENT_FIELDS,
  limitOf,
  RUN_FIELDS,
  runLabel,
  TEMPLATE_FIELDS,
  WORKFLOW_FIELDS,
} from './workflow-record';

/** Workflows, runs and events of one answer of the api; errors, which are long, fewer. */
const PAGE_MAX = 500;
const ERRORS_PAGE_MAX = 200;
/** Runs that `show` names; `-o json` and the rest has all that are asked for. */
const RUNS_SHOWN = 5;

export function addWorkflowCommands(jobmon: Command): void {
  const workflow = jobmon
    .command('workflow')
    .alias('wf')
    .description('Workflows: graphs of tasks.')
    .addHelpText(
      'after',
      '\nExamples:\n  jobmon workflow list\n  jobmon workflow watch 7\n  jobmon workflow pause 7 --reason "disk full"',
    );
  const words = Object.values(workflowMachine.states).map(({ label }) => label);
  const parseStatuses = statusParser(workflowMachine.states);
  workflow
    .command('list')
    .description('Workflows, newest first. Filters of different kinds must all hold.')
    .option('-n, --limit <count>', 'at most so many', parseCount, 20)
    .option('-u, --user <name>', 'ran by this user in any of its runs; repeat it, or a,b', parseWords)
    .option('--mine', 'ran by you')
    .option('-t, --tool <name>', 'of this tool; may be repeated', parseTexts)
    .option('--name <name>', 'with this name; * stands for any characters; may be repeated', parseTexts)
    .option('-s, --status <status>', `one of ${words.join(', ')}; repeat it, or a,b`, parseStatuses)
    .option('--attribute <key=value>', 'with this attribute, or with KEY at all; all that are given must hold', parseAttributes)
    .option('--since <time>', 'bound at this time or later: 2026-11-22, "2026-11-22 10:00" (UTC), or 2d, 6h ago', parseMoment)
    .option('--until <time>', 'bound before this time', parseMoment)
    .option('--before <id>', 'older than this workflow: for the next page', parseId)
    .addHelpText(
      'after',
      '\nExamples:\n  jobmon workflow list --mine --since 2d\n  jobmon workflow list --status FAILED,HALTED -o json',
    )
    .action(list);
  workflow
    .command('show')
    .description('One workflow: what it is, its tasks by template, its runs, and who did what to it last.')
    .argument('<id>', 'workflow id', parseId)
    .option('--templates', 'its task templates alone')
    .option('--runs', 'its runs alone')
    .option('-n, --limit <count>', 'at most so many runs', parseCount, 100)
    .addHelpText('after', '\nExamples:\n  jobmon workflow show 7\n  jobmon workflow show 7 --templates -o csv')
    .action(show);
  workflow
    .command('status')
    .description('How many tasks stand where, counted as they stand now, of these workflows or of your newest five.')
    .argument('[ids...]', 'workflow ids', (text: string, former: number[] | undefined) => [...(former ?? []), parseId(text)])
    .option('-u, --user <name>', 'the newest of this user', parseWords)
    .option('-n, --limit <count>', 'at most so many', parseCount, 5)
    .addHelpText('after', '\nExamples:\n  jobmon workflow status 7 8\n  jobmon workflow status --user ada')
    .action(status);
  workflow
    .command('watch')
    .description('Follow a workflow to its end; exit code 6 when it does not end DONE. Ctrl-C leaves it running.')
    .argument('<id>', 'workflow id', parseId)
    .option('--timeout <time>', 'give up then, with exit code 7: 90, 5m, 2h', parseSeconds)
    .addHelpText(
      'after',
      '\nExamples:\n  jobmon workflow watch 7 && echo all done\n  jobmon workflow watch 7 -o jsonl   a record a change',
    )
    .action(watch);
  workflow
    .command('wait')
    .description('As watch, and silent.')
    .argument('<id>', 'workflow id', parseId)
    .option('--timeout <time>', 'give up then, with exit code 7: 90, 5m, 2h', parseSeconds)
    .addHelpText('after', '\nExample:\n  jobmon workflow wait 7 --timeout 2h')
    .action(wait);
  workflow
    .command('errors')
    .description('Errors of its attempts, newest first, or alike ones together.')
    .argument('<id>', 'workflow id', parseId)
    .option('-n, --limit <count>', 'at most so many', parseCount, 20)
    .option('-g, --group', 'alike errors together, the largest group first')
    .option('-t, --template <name>', 'only of this task template')
    .option('--before <id>', 'older than this error: for the next page', parseId)
    .addHelpText(
      'after',
      '\nExamples:\n  jobmon workflow errors 7 --group\n  jobmon workflow errors 7 --template fit -n 100 -o jsonl',
    )
    .action(errors);
  workflow
    .command('history')
    .description('What people did to it, newest first: when, who, what and why.')
    .argument('<id>', 'workflow id', parseId)
    .option('-n, --limit <count>', 'at most so many', parseCount, 50)
    .addHelpText('after', '\nExample:\n  jobmon workflow history 7')
    .action(history);
  addControlCommands(workflow);
}

/** A date with or without a time, in UTC; or how long ago. */
export function parseMoment(text: string): string {
  if (/^\d+(\.\d+)?\s*[smhd]$/.test(text)) {
    return new Date(Date.now() - parseSeconds(text) * 1_000).toISOString().slice(0, 19).replace('T', ' ');
  }
  const isMoment = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?Z?)?$/.test(text);
  if (!isMoment || Number.isNaN(Date.parse(text.replace(' ', 'T')))) {
    throw new InvalidArgumentError('It must be a date, a date and time like "2026-11-22 10:00" in UTC, or a time ago like 2d.');
  }
  return text;
}

const WORKFLOW_COLUMNS: Column<WorkflowView>[] = [
  { title: 'ID', of: (row) => row.workflow_id, align: 'right' },
  { title: 'STATUS', of: (row) => standingOf(row), isStatus: true },
  { title: 'DONE', of: (row) => `${taskCounts(row.tasks).done}/${taskCounts(row.tasks).total}`, align: 'right' },
  { title: 'FAILED', of: (row) => taskCounts(row.tasks).fatal, align: 'right' },
  { title: 'CREATED', of: (row) => row.created_date },
  { title: 'USER', of: (row) => row.user, isFlexible: true },
  { title: 'NAME', of: (row) => row.name || '-', isFlexible: true },
];

interface ListFlags {
  limit: number;
  user?: string[];
  mine?: true;
  tool?: string[];
  name?: string[];
  status?: WorkflowStatus[];
  attribute?: string[];
  since?: string;
  until?: string;
  before?: number;
}

async function list({ limit, before: from, mine, user = [], ...filters }: ListFlags): Promise<void> {
  const users = mine ? [...user, loginName()] : user;
  const { rows, hasMore } = await gather<WorkflowView, number>(limit, PAGE_MAX, async (before = from, count) => {
    const { workflows, next } = await ask(listWorkflows, { ...filters, user: users, before, limit: count });
    return { rows: workflows, next };
  });
  printList(rows, WORKFLOW_FIELDS, WORKFLOW_COLUMNS);
  const isFiltered = users.length > 0 || Object.values(filters).some((filter) => filter !== undefined);
  if (rows.length === 0) tell(isFiltered ? 'No workflow is like that.' : 'There are no workflows yet.');
  if (hasMore) tell(`There may be more; the next page: --before ${rows.at(-1)!.workflow_id}`);
}

const DETAIL_FIELDS: Fields<WorkflowDetails> = {
  ...(WORKFLOW_FIELDS as Fields<WorkflowDetails>),
  retries: (row) => row.retries,
  runs: (row) => row.runs,
  description: (row) => row.description,
  workflow_args: (row) => row.workflow_args,
  attributes: (row) => row.attributes,
  last_event: (row) => row.last_event,
};

const TEMPLATE_COLUMNS: Column<TaskTemplateProgress>[] = [
  { title: 'TEMPLATE', of: (row) => row.task_template, isFlexible: true },
  { title: 'TASKS', of: (row) => taskCounts(row.tasks).total, align: 'right' },
  { title: 'WAITING', of: (row) => taskCounts(row.tasks).pending, align: 'right' },
  { title: 'QUEUED', of: (row) => taskCounts(row.tasks).scheduled, align: 'right' },
  { title: 'RUNNING', of: (row) => taskCounts(row.tasks).running, align: 'right' },
  { title: 'DONE', of: (row) => taskCounts(row.tasks).done, align: 'right' },
  { title: 'FAILED', of: (row) => taskCounts(row.tasks).fatal, align: 'right' },
  { title: 'RETRIES', of: (row) => row.retries, align: 'right' },
  { title: 'LIMIT', of: (row) => limitOf(row.max_concurrently_running), align: 'right' },
];

const RUN_COLUMNS: Column<WorkflowRunView>[] = [
  { title: 'RUN', of: (row) => row.workflow_run_id, align: 'right' },
  { title: 'STATUS', of: (row) => (row.is_paused && row.status === 'R' ? 'PAUSED' : runLabel(row.status)), isStatus: true },
  { title: 'DRIVER', of: (row) => row.driver },
  { title: 'CREATED', of: (row) => row.created_date },
  { title: 'CHANGED', of: (row) => row.status_date },
  { title: 'USER', of: (row) => row.user, isFlexible: true },
  { title: 'VERSION', of: (row) => row.client_version, isFlexible: true },
];

async function show(workflow_id: number, flags: { templates?: true; runs?: true; limit: number }): Promise<void> {
  if (flags.templates)
    return printList((await ask(listWorkflowTemplates, { workflow_id })).task_templates, TEMPLATE_FIELDS, TEMPLATE_COLUMNS);
  if (flags.runs) return printList((await runsOf(workflow_id, flags.limit)).rows, RUN_FIELDS, RUN_COLUMNS);
  const details = await ask(getWorkflow, { workflow_id });
  if (isForPrograms()) return printRecord(recordOf(details, DETAIL_FIELDS));
  const { task_templates } = await ask(listWorkflowTemplates, { workflow_id });
  const { rows: runs, hasMore } = await runsOf(workflow_id, RUNS_SHOWN);
  const counts = taskCounts(details.tasks);
  const { last_event } = details;
  printFields([
    ['workflow', details.workflow_id],
    ['name', details.name],
    ['description', details.description],
    ['tool', details.tool],
    ['status', standingOf(details)],
    ['tasks', counts.total],
    ...(['pending', 'scheduled', 'running', 'done', 'fatal'] as const).map((word) => [`  ${word}`, counts[word]] as const),
    ['retries', details.retries],
    [
      'run',
      details.workflow_run_id === null ? 'not submitted' : `${details.workflow_run_id} ${runLabel(details.workflow_run_status)}`,
    ],
    ['user', details.user],
    ['priority', details.priority],
    ['limit', limitOf(details.max_concurrently_running) ?? 'none'],
    ['created', details.created_date],
    ['changed', details.status_date],
    ['arguments', details.workflow_args],
    ...Object.entries(details.attributes).map(([name, value]) => [`attribute ${oneLine(name)}`, value] as const),
    ['last done', last_event === null ? null : `${last_event.date}  ${eventText(last_event)}`],
  ]);
  if (task_templates.length > 0) {
    process.stdout.write('\n');
    printTable(TEMPLATE_COLUMNS, task_templates);
  }
  if (runs.length > 0) {
    process.stdout.write('\n');
    printTable(RUN_COLUMNS, runs);
  }
  if (hasMore) tell(`There are ${details.runs} runs: jobmon workflow show ${workflow_id} --runs`);
}

function eventText({ user, verb, reason, detail }: WorkflowEvent): string {
  return [`${user}: ${verb.replaceAll('_', ' ')}`, detailText(detail), reason && `"${reason}"`]
    .filter((part) => part !== '')
    .join(', ');
}

function runsOf(workflow_id: number, limit: number): Promise<{ rows: WorkflowRunView[]; hasMore: boolean }> {
  return gather<WorkflowRunView, number>(limit, PAGE_MAX, async (before, count) => {
    const { runs, next } = await ask(listWorkflowRuns, { workflow_id, before, limit: count });
    return { rows: runs, next };
  });
}

async function status(ids: number[], { user, limit }: { user?: string[]; limit: number }): Promise<void> {
  const users = user ?? [loginName()];
  const wanted =
    ids.length > 0
      ? ids
      : (await ask(listWorkflows, { user: users, limit: Math.min(limit, PAGE_MAX) })).workflows.map((row) => row.workflow_id);
  const rows: WorkflowDetails[] = [];
  for (const workflow_id of wanted) rows.push(await ask(getWorkflow, { workflow_id }));
  const count = (word: 'pending' | 'scheduled' | 'running' | 'done' | 'fatal') => (row: WorkflowDetails) =>
    taskCounts(row.tasks)[word];
  printList(rows, { ...(WORKFLOW_FIELDS as Fields<WorkflowDetails>), retries: (row) => row.retries }, [
    { title: 'ID', of: (row) => row.workflow_id, align: 'right' },
    { title: 'STATUS', of: (row) => standingOf(row), isStatus: true },
    { title: 'TASKS', of: (row) => taskCounts(row.tasks).total, align: 'right' },
    { title: 'WAITING', of: count('pending'), align: 'right' },
    { title: 'QUEUED', of: count('scheduled'), align: 'right' },
    { title: 'RUNNING', of: count('running'), align: 'right' },
    { title: 'DONE', of: count('done'), align: 'right' },
    { title: 'FAILED', of: count('fatal'), align: 'right' },
    { title: 'RETRIES', of: (row) => row.retries, align: 'right' },
    { title: 'NAME', of: (row) => row.name || '-', isFlexible: true },
  ]);
  if (rows.length === 0) tell(`There are no workflows of ${users.map(oneLine).join(', ')}.`);
}

async function watch(workflow_id: number, { timeout }: { timeout?: number }): Promise<void> {
  // An unknown id and a server that is away are told at once.
  await ask(getWorkflow, { workflow_id });
  await watchAndPrint(workflow_id, timeout === undefined ? {} : { timeout });
}

async function wait(workflow_id: number, { timeout }: { timeout?: number }): Promise<void> {
  await ask(getWorkflow, { workflow_id });
  const { workflow } = await watchWorkflow(workflow_id, { isSilent: true, ...(timeout === undefined ? {} : { timeout }) });
  if (isForPrograms()) printRecord(recordOf(workflow, WORKFLOW_FIELDS));
  process.exitCode = exitOf(workflow);
}

interface ErrorFlags {
  limit: number;
  group?: true;
  template?: string;
  before?: number;
}

async function errors(workflow_id: number, { limit, group, template, before: from }: ErrorFlags): Promise<void> {
  const of = { workflow_id, task_template: template };
  if (group) {
    const { groups, groups_total, errors_total } = await ask(groupWorkflowErrors, {
      ...of,
      limit: Math.min(limit, ERRORS_PAGE_MAX),
    });
    printList(groups, ERROR_GROUP_FIELDS, GROUP_COLUMNS);
    if (groups.length === 0) tell('There are no errors.');
    else if (groups.length < groups_total)
      tell(`${groups.length} groups of ${groups_total}; ${errors_total} errors in all of them.`);
    return;
  }
  const { rows, hasMore } = await gather<WorkflowError, number>(limit, ERRORS_PAGE_MAX, async (before = from, count) => {
    const page = await ask(listWorkflowErrors, { ...of, before, limit: count });
    return { rows: page.errors, next: page.next };
  });
  printList(rows, ERROR_FIELDS, ERROR_COLUMNS);
  if (rows.length === 0) tell('There are no errors.');
  if (hasMore) tell(`There are more; the next page: --before ${rows.at(-1)!.error_id}`);
}

const ERROR_COLUMNS: Column<WorkflowError>[] = [
  { title: 'TIME', of: (row) => row.error_time },
  { title: 'TASK', of: (row) => row.task_id, align: 'right' },
  { title: 'EXIT', of: (row) => row.exit_code, align: 'right' },
  { title: 'NAME', of: (row) => row.task_name, isFlexible: true },
  { title: 'ERROR', of: (row) => gistOf(row.description, row.stderr_tail) || '-', isBelow: true },
];

const GROUP_COLUMNS: Column<WorkflowErrorGroup>[] = [
  { title: 'ERRORS', of: (row) => row.errors, align: 'right' },
  { title: 'TASKS', of: (row) => row.tasks, align: 'right' },
  { title: 'NEWEST', of: (row) => row.last_error_time },
  { title: 'TASK', of: (row) => row.sample_task_id, align: 'right' },
  { title: 'ERROR', of: (row) => gistOf(row.sample_error, row.sample_stderr_tail) || '-', isBelow: true },
];

async function history(workflow_id: number, { limit }: { limit: number }): Promise<void> {
  const { rows, hasMore } = await gather<WorkflowEvent, number>(limit, PAGE_MAX, async (before, count) => {
    const { events, next } = await ask(getWorkflowHistory, { workflow_id, before, limit: count });
    return { rows: events, next };
  });
  printList(rows, EVENT_FIELDS, [
    { title: 'WHEN', of: (row) => row.date },
    { title: 'WHO', of: (row) => row.user, isFlexible: true },
    { title: 'WHAT', of: (row) => row.verb },
    { title: 'WHY', of: (row) => row.reason || '-', isFlexible: true },
    { title: 'DETAIL', of: (row) => detailText(row.detail) || '-', isFlexible: true },
  ]);
  if (rows.length === 0) tell('Nobody did anything to it.');
  if (hasMore) tell(`There is more; ask for it with --limit.`);
}
