/**
 * What a newcomer sees first: a workflow of six real commands in four tiers, its progress while it runs, and what to look at
 * next. It goes the way that every workflow goes, through the SDK and HTTP; nothing in the house knows that it is special.
 *
 *     make_sales north ── sum_sales north ──┐
 *                                           ├── join_sales ── write_report
 *     make_sales south ── sum_sales south ──┘
 */
import path from 'node:path';
import { listTasks, taskMachine, type TaskView } from '@jobmon/contracts';
import { Connection, Tool, type Task, type Workflow, type WorkflowRun } from '@jobmon/client';
import { makeFolder } from '@jobmon/runtime';

/** The six commands take well under a second each; a machine that needs longer than this has another problem. */
const SECONDS_MAX = 120;

export interface DemonstrationOptions {
  /** The api of this house and its token. */
  readonly url: string;
  readonly token: string;
  /** Folder for the files that the commands write; made when it is absent. */
  readonly working_directory: string;
  /** Where the house keeps its database, for people: `sqlite:/home/me/…`. */
  readonly database: string;
  /** The house's own log file. */
  readonly log: string;
  /** The house stops when this is over, so that the next steps need another one. */
  readonly will_exit?: boolean;
  /** Ends the waiting, not the workflow. */
  readonly signal?: AbortSignal;
}

export interface DemonstrationResult {
  /** Every task is DONE. */
  readonly all_done: boolean;
  readonly workflow_id: number;
}

/** Runs the demonstration and tells about it on `out`. Throws JobmonError when the house does not take the workflow. */
export async function runDemonstration(options: DemonstrationOptions, out: NodeJS.WriteStream): Promise<DemonstrationResult> {
  makeFolder(options.working_directory);
  const connection = new Connection({ url: options.url, token: options.token });
  const workflow = demonstrationWorkflow(connection);
  const run = await workflow.submit({ workingDirectory: options.working_directory, signal: options.signal });
  out.write(`Workflow ${run.workflowId} runs six commands in four tiers, in ${options.working_directory}\n\n`);
  const limit = AbortSignal.timeout(SECONDS_MAX * 1_000);
  const signal = options.signal === undefined ? limit : AbortSignal.any([options.signal, limit]);
  const since = performance.now();
  const tasks = await watch(run, signal, out).catch((error: unknown) => {
    if (!limit.aborted) throw error;
    out.write(`\nThe demonstration has not ended after ${SECONDS_MAX} s; it goes on in the house.\n`);
    return tasksOf(run);
  });
  const seconds = (performance.now() - since) / 1_000;
  out.write(`\n${summary(tasks, seconds)}\n${places(run, options)}\n${nextSteps(run, tasks, options)}`);
  return { all_done: tasks.length > 0 && tasks.every((task) => task.status === 'D'), workflow_id: run.workflowId };
}

/** The six tasks. Braces of awk are doubled, since single ones are placeholders. */
export function demonstrationWorkflow(connection: Connection): Workflow {
  const tool = new Tool('demonstration', { connection, defaultClusterName: 'multiprocess' });
  const workflow = tool.createWorkflow({ name: 'sales of two regions' });
  const makeSales = tool.getTaskTemplate(
    'make_sales',
    `awk 'BEGIN {{ srand({seed}); for (i = 0; i < 200000; i++) printf "%s,%d\\n", substr("applepear figs plum ", 5 * int(4 * rand()) + 1, 5), 1 + int(100 * rand()) }}' | tr -d ' ' > sales-{region}.csv`,
    { taskArgs: ['seed'] },
  );
  const sumSales = tool.getTaskTemplate(
    'sum_sales',
    `awk -F, '{{ sum[$1] += $2 }} END {{ for (fruit in sum) print fruit "," sum[fruit] }}' sales-{region}.csv | sort > sums-{region}.csv`,
  );
  const joinSales = tool.getTaskTemplate('join_sales', 'join -t, sums-{left}.csv sums-{right}.csv > sums.csv');
  const writeReport = tool.getTaskTemplate(
    'write_report',
    `{{ echo 'fruit  north  south'; tr , '\\t' < sums.csv; echo "$(wc -l < sums.csv) fruits"; }} | tee report.txt`,
  );
  const sums: Task[] = [];
  for (const [seed, region] of ['north', 'south'].entries()) {
    const made = workflow.addTask(makeSales.createTask({ region, seed }, { name: `make_sales_${region}` }));
    sums.push(workflow.addTask(sumSales.createTask({ region }, { name: `sum_sales_${region}`, upstreams: [made] })));
  }
  const joined = joinSales.createTask({ left: 'north', right: 'south' }, { name: 'join_sales', upstreams: sums });
  workflow.addTasks([joined, writeReport.createTask({}, { name: 'write_report', upstreams: [joined] })]);
  return workflow;
}

async function tasksOf(run: WorkflowRun): Promise<TaskView[]> {
  return (await run.connection.send(listTasks, { workflow_id: run.workflowId })).tasks;
}

/** Shows each task while it moves: six lines rewritten in place on a terminal, elsewhere a line for each change. */
async function watch(run: WorkflowRun, signal: AbortSignal, out: NodeJS.WriteStream): Promise<TaskView[]> {
  let tasks: TaskView[] = [];
  let isDrawn = false;
  for await (const _ of run.follow({ signal })) {
    const before = new Map(tasks.map((task) => [task.task_id, task.status]));
    tasks = await tasksOf(run);
    if (out.isTTY) {
      if (isDrawn) out.write(`\x1b[${tasks.length}A`);
      for (const task of tasks) out.write(`\x1b[2K  ${lineOf(task)}\n`);
      isDrawn = true;
    } else {
      for (const task of tasks) if (before.get(task.task_id) !== task.status) out.write(`  ${lineOf(task)}\n`);
    }
  }
  return tasks;
}

/** People know waiting, running and done; the states in between pass too quickly to learn them here. */
function lineOf(task: TaskView): string {
  const marks: Partial<Record<TaskView['status'], string>> = { D: '✔ done', R: '▶ running', F: '✘ failed', G: '· waiting' };
  return `${(marks[task.status] ?? '… starting').padEnd(11)} ${task.name}`;
}

function summary(tasks: readonly TaskView[], seconds: number): string {
  const lines = [['task', 'state', 'attempts', 'seconds']];
  for (const task of tasks) {
    const { label } = taskMachine.states[task.status];
    lines.push([task.name, label, `${task.num_attempts} of ${task.max_attempts}`, task.wallclock_seconds?.toFixed(2) ?? '-']);
  }
  const done = tasks.filter((task) => task.status === 'D').length;
  const table = lines.map(
    ([name, state, attempts, time]) => `  ${name!.padEnd(18)} ${state!.padEnd(19)} ${attempts!.padEnd(8)} ${time!.padStart(8)}`,
  );
  const failures = tasks.flatMap((task) =>
    task.status === 'F' ? [`  ${task.name}: ${task.error ?? 'no error was recorded'}`] : [],
  );
  return [...table, ...failures, '', `  ${done} of ${tasks.length} tasks done in ${seconds.toFixed(1)} s`, ''].join('\n');
}

function places(run: WorkflowRun, { url, working_directory, database, log }: DemonstrationOptions): string {
  return [
    `  API            ${url}/api/v4/workflows/${run.workflowId}`,
    `  documentation  ${url}/api/docs`,
    `  logs           ${path.join(working_directory, 'jobmon-logs', String(run.workflowId))}`,
    `  server log     ${log}`,
    `  database       ${database}`,
    '',
  ].join('\n');
}

function nextSteps(run: WorkflowRun, tasks: readonly TaskView[], { will_exit }: DemonstrationOptions): string {
  const report = tasks.at(-1)?.task_id ?? 1;
  return [
    will_exit ? 'Next (after `npm start`, in another terminal, in this folder):' : 'Next (in another terminal, in this folder):',
    `  npx jobmon workflow show ${run.workflowId}`,
    `  npx jobmon task log ${report}`,
    '  node tools/run-example.mjs examples/first-workflow.ts',
    '',
    '',
  ].join('\n');
}
