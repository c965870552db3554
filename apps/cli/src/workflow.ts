/** `jobmon workflow list`, `show` and `watch`. */
import {
  followWorkflow,
  getWorkflow,
  listWorkflows,
  workflowRunMachine,
  type WorkflowRunStatus,
  type WorkflowView,
} from '@jobmon/contracts';
import { printProgress, progressOf, progressText, taskCounts, workflowStatusLabel } from '@jobmon/client';
import type { Command } from 'commander';
import { Exit, TimedOut } from './failure';
import { oneLine, output, printFields, printRecord, printTable, type Shape } from './print';
import { ask, connect, parseCount, parseId } from './server';

/** Workflows of one answer of the api. */
const PAGE_MAX = 500;

export function addWorkflowCommands(jobmon: Command): void {
  const workflow = jobmon
    .command('workflow')
    .description('Workflows: graphs of tasks.')
    .addHelpText('after', '\nExamples:\n  jobmon workflow list\n  jobmon workflow show 7');
  workflow
    .command('list')
    .description('Workflows, newest first.')
    .option('-n, --limit <count>', 'at most so many', parseCount, 20)
    .option('-u, --user <name>', 'only those that this user submitted')
    .addOption(output())
    .addHelpText('after', '\nExamples:\n  jobmon workflow list -n 5\n  jobmon workflow list --user ada -o json')
    .action(list);
  workflow
    .command('show')
    .description('One workflow with the counts of its tasks.')
    .argument('<id>', 'workflow id', parseId)
    .addOption(output())
    .addHelpText('after', '\nExample:\n  jobmon workflow show 7')
    .action(show);
  workflow
    .command('watch')
    .description('Follow a workflow to its end; exit code 6 when it does not end DONE.')
    .argument('<id>', 'workflow id', parseId)
    .option('--timeout <seconds>', 'give up then, with exit code 7', parseCount)
    .addOption(output())
    .addHelpText('after', '\nExample:\n  jobmon workflow watch 7 && echo all done')
    .action(watch);
}

async function list({ limit, user, output: shape }: { limit: number; user?: string; output: Shape }): Promise<void> {
  const workflows: WorkflowView[] = [];
  for (let before: number | undefined | null; before !== null && workflows.length < limit;) {
    const request = { before, user: user === undefined ? [] : [user], limit: Math.min(PAGE_MAX, limit - workflows.length) };
    const page: { workflows: WorkflowView[]; next: number | null } = await ask(listWorkflows, request);
    workflows.push(...page.workflows);
    before = page.next;
  }
  if (shape === 'json') return printRecord(workflows);
  if (workflows.length === 0)
    process.stderr.write(`There are no workflows${user === undefined ? ' yet' : ` of ${oneLine(user)}`}.\n`);
  printTable(
    [
      { title: 'ID', of: (row: WorkflowView) => row.workflow_id, align: 'right' },
      { title: 'STATUS', of: (row) => workflowStatusLabel(row.status), isStatus: true },
      { title: 'DONE', of: (row) => `${taskCounts(row.tasks).done}/${taskCounts(row.tasks).total}`, align: 'right' },
      { title: 'FAILED', of: (row) => taskCounts(row.tasks).fatal, align: 'right' },
      { title: 'CREATED', of: (row) => row.created_date },
      { title: 'USER', of: (row) => row.user, isFlexible: true },
      { title: 'NAME', of: (row) => row.name || '-', isFlexible: true },
    ],
    workflows,
  );
}

async function show(workflow_id: number, { output: shape }: { output: Shape }): Promise<void> {
  const view = await ask(getWorkflow, { workflow_id });
  if (shape === 'json') return printRecord(view);
  const counts = taskCounts(view.tasks);
  const run = view.workflow_run_status as WorkflowRunStatus | null;
  printFields([
    ['workflow', view.workflow_id],
    ['name', view.name],
    ['tool', view.tool],
    ['status', workflowStatusLabel(view.status)],
    ['tasks', counts.total],
    ...(['pending', 'scheduled', 'running', 'done', 'fatal'] as const).map((word) => [`  ${word}`, counts[word]] as const),
    ['run', run === null ? 'not submitted' : `${view.workflow_run_id} ${workflowRunMachine.states[run]?.label ?? run}`],
    ['user', view.user],
    ['created', view.created_date],
    ['changed', view.status_date],
  ]);
}

async function watch(workflow_id: number, { timeout, output: shape }: { timeout?: number; output: Shape }): Promise<void> {
  const connection = await connect();
  const limit = timeout === undefined ? undefined : AbortSignal.timeout(timeout * 1_000);
  const printed = printProgress(process.stderr);
  let last: WorkflowView | undefined;
  try {
    // An unknown id and a server that is away are told at once, before the long way of a stream's repeats.
    last = await ask(getWorkflow, { workflow_id });
    for await (const { workflow, is_final } of connection.stream(followWorkflow, { workflow_id }, { signal: limit })) {
      last = workflow;
      printed.show(progressOf(workflow, is_final));
    }
  } catch (error) {
    if (limit?.aborted) throw new TimedOut(`workflow ${workflow_id} has not ended within ${timeout} s; it goes on`);
    throw error;
  } finally {
    printed.end();
  }
  if (shape === 'json') printRecord(last);
  else process.stdout.write(`${progressText(progressOf(last, true), 200)}\n`);
  if (last.status !== 'D') process.exitCode = Exit.NOT_DONE;
}
