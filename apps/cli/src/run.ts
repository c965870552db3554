/** `jobmon run`: a workflow described by a file (docs/workflow-files.md) is checked, bound, handed to the server and followed to its end. */
import { getWorkflow, JobmonError } from '@jobmon/contracts';
import {
  readWorkflowFile,
  WorkflowFileError,
  workflowFileSchemaText,
  type Workflow,
  type WorkflowFile,
  type WorkflowRun,
} from '@jobmon/client';
import { InvalidArgumentError, type Command } from 'commander';
import { Exit, Interrupted, WrongUsage } from './failure';
import { printOne, type Fields } from './print';
import { printPlan } from './run-plan';
import { ask, connect } from './server';
import { settings, tell } from './settings';
import { countOf } from './text';
import { watchAndPrint } from './watch';

interface Flags {
  detach?: true;
  dryRun?: true;
  resume?: true;
  args?: string;
  cluster?: string;
  set?: Record<string, string>;
  schema?: true;
}

export function addRunCommand(jobmon: Command): void {
  jobmon
    .command('run')
    .description(
      'Run the workflow that a YAML or JSON file describes, and follow it to its end; exit code 0 only when all is DONE.',
    )
    .argument('[file]', 'the file; - is standard input')
    .option('-d, --detach', 'print the workflow id and leave; the server runs it')
    .option('--dry-run', 'show the graph and the first commands; asks no server')
    .option('--resume', 'go on with the workflow of the same args and tasks: what is done stays done')
    .option('--args <text>', "what tells this workflow from others, in place of the file's args")
    .option('--cluster <name>', 'run all tasks there, whatever the file says')
    .option('--set <argument=value>', 'in place of the value under args, in all tasks that have one; may be repeated', parseValue)
    .option('--schema', 'print the JSON schema of such files, for editors')
    .addHelpText(
      'after',
      `
A file, whole:
  tool: word count
  cluster: multiprocess
  tasks:
    count: {command: 'wc -w < {day}.txt > {day}.n', matrix: {day: [mon, tue]}}
    add: {command: 'cat *.n', needs: count}

Ctrl-C leaves the watching; the workflow is the server's and goes on. End it
with jobmon workflow cancel. docs/workflow-files.md tells every key.

Examples:
  jobmon run flow.yaml --dry-run
  jobmon run flow.yaml
  jobmon run flow.yaml --args 2026-11 --set draws=100
  jobmon run flow.yaml --args 2026-11 --resume
  id=$(jobmon run flow.yaml --detach) && jobmon workflow watch $id
  jobmon run --schema > workflow-file.schema.json`,
    )
    .action(run);
}

/** `NAME=VALUE`; the value may be empty and hold anything. */
function parseValue(text: string, former: Record<string, string> = {}): Record<string, string> {
  const [, name, value] = /^([A-Za-z_]\w*)=([^]*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) throw new InvalidArgumentError('It must be ARGUMENT=VALUE.');
  return { ...former, [name]: value };
}

async function run(file: string | undefined, flags: Flags): Promise<void> {
  if (flags.schema) return void process.stdout.write(workflowFileSchemaText());
  if (file === undefined) throw new WrongUsage('name the file to run: jobmon run FILE (jobmon run --help shows one)');
  let described: WorkflowFile | undefined;
  try {
    described = readWorkflowFile(file, { workflowArgs: flags.args, clusterName: flags.cluster, values: flags.set });
    described.noticeTexts.forEach(tell);
    if (flags.dryRun) printPlan(described.plan());
    else await start(described, flags);
  } catch (thrown) {
    const error = described?.located(thrown) ?? thrown;
    if (!(error instanceof WorkflowFileError)) throw error;
    // A line for each problem, which terminals and editors make a link.
    process.stderr.write(`${error.message}\n`);
    process.exitCode = Exit.ERROR;
  }
}

async function start(file: WorkflowFile, flags: Flags): Promise<void> {
  if (flags.resume && file.workflowArgs === undefined) {
    const cure = 'write args: into the file or give --args, or go on with a workflow by its id: jobmon workflow resume ID';
    throw new JobmonError(
      'MALFORMED',
      `each run of this file is a new workflow, since nothing tells which one to resume: ${cure}`,
    );
  }
  const workflow = file.createWorkflow(await connect());
  let submitted: WorkflowRun;
  try {
    submitted = await submit(workflow, flags);
  } catch (error) {
    if (ruleOf(error) === 'workflow_args_taken') throw otherTasks(error as JobmonError);
    const standing = standingOf(error, workflow);
    if (standing === undefined) throw error;
    const { workflow_id, status } = await ask(getWorkflow, { workflow_id: standing.workflow_id });
    if (flags.resume && status === 'D') {
      // There is nothing left to do, which is what was asked for.
      if (flags.detach) printStarted(workflow_id, null);
      else await watchAndPrint(workflow_id);
      return;
    }
    if (!standing.is_refused_as_known) throw error;
    throw status === 'D' ? alreadyDone(workflow_id) : notAsked(workflow_id, status === 'R');
  }
  const { workflowId, workflowRunId } = submitted;
  if (flags.detach) return printStarted(workflowId, workflowRunId);
  tell(`Workflow ${workflowId} of ${countOf(file.taskCount, 'task')} is the server's now. Ctrl-C leaves the watching only.`);
  try {
    const { workflow: ended } = await watchAndPrint(workflowId);
    if (ended.status !== 'D') tell(nextSteps(workflowId, file));
  } catch (error) {
    throw error instanceof Interrupted ? left(workflowId) : error;
  }
}

/** Binds and submits; Ctrl-C ends that. */
async function submit(workflow: Workflow, flags: Flags): Promise<WorkflowRun> {
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort(new Interrupted());
  process.once('SIGINT', onInterrupt);
  const progress = boundOn(process.stderr);
  try {
    return await workflow.submit({ resume: flags.resume === true, signal: stop.signal, onBound: progress.show });
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    throw await interrupted(workflow.workflowId);
  } finally {
    progress.end();
    process.off('SIGINT', onInterrupt);
  }
}

/** Ctrl-C may have met the very call that hands the workflow over: the server knows. */
async function interrupted(workflowId: number | undefined): Promise<Interrupted> {
  const view = workflowId === undefined ? undefined : await ask(getWorkflow, { workflow_id: workflowId }).catch(() => undefined);
  if (view !== undefined && view.workflow_run_id !== null) return left(view.workflow_id);
  return new Interrupted(
    'Left before the workflow was handed to the server: nothing of it runs. The same command begins where this one ended.',
  );
}

function left(workflowId: number): Interrupted {
  const ways = [`Follow it again: jobmon workflow watch ${workflowId}`, `End it: jobmon workflow cancel ${workflowId}`];
  return new Interrupted(`Workflow ${workflowId} is the server's and goes on.\n${ways.join('\n')}`);
}

function nextSteps(workflowId: number, { workflowArgs }: WorkflowFile): string {
  const again = workflowArgs === undefined ? '' : ', or the same command with --resume';
  return `What went wrong: jobmon workflow errors ${workflowId}\nGo on with what is not done: jobmon workflow resume ${workflowId}${again}`;
}

/** A line that is written over on a terminal, for workflows that take their time to be written. */
function boundOn(stream: NodeJS.WriteStream): { show: (bound: { tasks: number; of: number }) => void; end: () => void } {
  let isDirty = false;
  const isShown = stream.isTTY === true && !settings.quiet;
  return {
    show: ({ tasks, of }) => {
      if (!isShown) return;
      stream.write(`\rbinding: ${tasks} of ${of} tasks`);
      isDirty = true;
    },
    end: () => {
      if (isDirty) stream.write('\r\x1b[K');
    },
  };
}

/** Which workflow a CONFLICT is about, and whether it is refused because it is there already. */
function standingOf(error: unknown, workflow: Workflow): { workflow_id: number; is_refused_as_known: boolean } | undefined {
  if (!(error instanceof JobmonError) || error.code !== 'CONFLICT') return undefined;
  const { rule, workflow_id } = (error.details ?? {}) as { rule?: string; workflow_id?: number };
  if (rule === 'workflow_exists' && workflow_id !== undefined) return { workflow_id, is_refused_as_known: true };
  // Its last task may have ended between two calls of a resume.
  return workflow.workflowId === undefined ? undefined : { workflow_id: workflow.workflowId, is_refused_as_known: false };
}

function ruleOf(error: unknown): unknown {
  return error instanceof JobmonError ? (error.details as { rule?: unknown } | undefined)?.rule : undefined;
}

function otherTasks({ details }: JobmonError): JobmonError {
  const { workflow_id } = details as { workflow_id: number };
  const cure = 'give other --args, or make the file what it was';
  return new JobmonError('CONFLICT', `workflow ${workflow_id} has the same args and other tasks: ${cure}`, details);
}

function alreadyDone(workflow_id: number): JobmonError {
  const cure = 'give other --args to run it anew';
  return new JobmonError('CONFLICT', `workflow ${workflow_id} has the same args and tasks and is DONE: ${cure}`);
}

function notAsked(workflow_id: number, isRunning: boolean): JobmonError {
  const first = isRunning ? `follow it by jobmon workflow watch ${workflow_id}` : 'go on with it by --resume';
  const standing = isRunning ? 'is running' : 'has run before';
  return new JobmonError(
    'CONFLICT',
    `workflow ${workflow_id} has the same args and tasks and ${standing}: ${first}, or give other --args`,
  );
}

interface Started {
  readonly workflow_id: number;
  readonly workflow_run_id: number | null;
}

const STARTED_FIELDS: Fields<Started> = {
  workflow_id: (row) => row.workflow_id,
  workflow_run_id: (row) => row.workflow_run_id,
};

/** For people and for `id=$(…)` the bare id. */
function printStarted(workflow_id: number, workflow_run_id: number | null): void {
  printOne({ workflow_id, workflow_run_id }, STARTED_FIELDS, () => process.stdout.write(`${workflow_id}\n`));
}
