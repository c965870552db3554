/**
 * The `jobmon` command line of the published client: every sub-command once on a finished, a failed, a running and a resumed workflow,
 * written down as a transcript in which only times, paths and people are masked.
 */
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { resultOf, until, USER, type PythonEnd } from '@jobmon/testkit';
import type { FlowResult, Scene } from './stage';

/** One command as it was typed, and what came of it. */
export interface Typed {
  readonly state: State;
  readonly args: readonly string[];
  readonly end: PythonEnd;
}

/** This client sleeps 30 s before each resume, and the run before may have 93 s to end. */
const RESUME_MS_MAX = 300_000;

export type State = 'finished' | 'failed' | 'running' | 'resumed';

/** What a command is to be typed about. */
interface Subject {
  readonly workflow: number;
  /** The first task, and one that waits for it. */
  readonly task: number;
  readonly last: number;
  readonly template_version: number;
}

/** All twelve sub-commands; those that change something come last. */
function commandsOn({ workflow, task, last, template_version }: Subject): string[][] {
  const text = String(workflow);
  return [
    ['version'],
    ['workflow_status', '-w', text],
    ['workflow_status', '-w', text, '-n'],
    ['workflow_tasks', '-w', text],
    ['workflow_tasks', '-w', text, '-s', 'DONE', '-n'],
    ['task_status', '-t', String(task), String(last)],
    ['task_status', '-t', String(task), '-s', 'DONE', '-n'],
    ['task_dependencies', '-t', String(last)],
    ['get_filepaths', '-w', text, '-l', '2'],
    ['task_template_resources', '-t', String(template_version), '-w', text],
    ['create_resource_yaml', '-w', text, '-p'],
    ['concurrency_limit', '-w', text, '-m', '7'],
    ['update_task_status', '-t', String(last), '-w', text, '-s', 'G'],
    ['workflow_reset', '-w', text, '-p'],
    ['workflow_resume', '-w', text, '-c', 'sequential', '--reset-running-jobs'],
  ];
}

const BAD = ['--max-attempts', '1', '--tier', 'good', 'bad:mended', '--tier', 'last'];

/** Brings a workflow into the state. The one that runs goes on until its commands are let go. */
async function subjectIn(state: State, scene: Scene): Promise<Subject> {
  const args = ['--workflow-args', `command_line_${state}`, '--template', `note_${state}`];
  const finish = async (...more: string[]): Promise<FlowResult> =>
    resultOf<FlowResult>(await scene.flow([...args, ...more]).ended);
  if (state === 'finished') await finish('--tier', 'good', '--tier', 'last');
  else if (state === 'failed') await finish(...BAD);
  else if (state === 'running') {
    scene.flow([...args, '--cluster', 'multiprocess', '--tier', 'good', 'slow:held', '--tier', 'last']);
    await until('the slow command begins', () => scene.site.begun().includes('slow'), 60_000);
  } else {
    await finish(...BAD);
    writeFileSync(path.join(scene.site.folder, 'mended'), '');
    await finish(...BAD, '--resume', 'cold');
  }
  const tasks = await scene.query<{ id: number; workflow_id: number; task_template_version_id: number }>(
    'SELECT task.id, task.workflow_id, task_template_version_id FROM task JOIN node ON node.id = task.node_id ' +
      `JOIN workflow ON workflow.id = task.workflow_id WHERE workflow_args = 'command_line_${state}' ORDER BY task.id`,
  );
  const [first, last] = [tasks[0]!, tasks.at(-1)!];
  const template_version = first.task_template_version_id;
  return { workflow: first.workflow_id, task: first.id, last: last.id, template_version };
}

/** Resumes, and lets commands go that wait or fail until then: of the running workflow when the resume has begun them again. */
async function resume(state: State, args: readonly string[], scene: Scene): Promise<PythonEnd> {
  const mend = (): void => writeFileSync(path.join(scene.site.folder, 'mended'), '');
  if (state !== 'running') mend();
  const resumed = scene.site.start('jobmon', args);
  if (state === 'running') {
    await until(
      'the slow command begins again',
      () => scene.site.begun().filter((task) => task === 'slow').length === 2,
      RESUME_MS_MAX,
    );
    mend();
  }
  return resumed.ended;
}

/** Types every command about a workflow in the state. */
export async function typeAll(state: State, scene: Scene): Promise<Typed[]> {
  rmSync(path.join(scene.site.folder, 'mended'), { force: true });
  const subject = await subjectIn(state, scene);
  const typed: Typed[] = [];
  for (const args of commandsOn(subject)) {
    if (args[0] !== 'workflow_resume') typed.push({ state, args, end: await scene.site.run('jobmon', args) });
    else typed.push({ state, args, end: await resume(state, args, scene) });
  }
  return typed;
}

/** What this client cannot do, whatever a server answers: said by the last line of its trace. */
const BEYOND_THE_CLIENT: readonly { command: string; said: RegExp; why: string }[] = [
  {
    command: 'task_dependencies',
    said: /^TypeError: list indices must be integers or slices, not str$/,
    why: 'reads each neighbour one list too high, for any task that has one',
  },
  {
    command: 'task_template_resources',
    said: /^KeyError: 0$/,
    why: 'reads a list of eleven numbers, which servers of its own time sent; `/api/v3` has sent an object ever since it exists',
  },
  {
    command: 'create_resource_yaml',
    said: /^KeyError: 0$/,
    why: 'asks for the same numbers',
  },
];

/** Commands that ended otherwise than they should, as sentences. */
export function faultsOf(typed: readonly Typed[]): string[] {
  return typed.flatMap(({ state, args, end }) => {
    const said = errorOf(end.stderr);
    const isKnown = BEYOND_THE_CLIENT.some((one) => one.command === args[0] && one.said.test(said));
    const isRefusal =
      state === 'running' && args[0] === 'update_task_status' && said.startsWith('AssertionError: The workflow status');
    return end.code === 0 || isKnown || isRefusal ? [] : [`${args.join(' ')} (${state}): ${end.code} ${said}`];
  });
}

/** The transcript as a page. */
export function pageOf(typed: readonly Typed[], folder: string): string {
  const chapters = [...new Set(typed.map(({ state }) => state))].map((state) => {
    const commands = typed
      .filter((one) => one.state === state)
      .map(({ args, end }) => {
        const said = [withoutLog(end.stdout), errorOf(end.stderr)]
          .map((text) => text.trimEnd())
          .filter((text) => text.trim() !== '');
        const code = end.code === 0 ? [] : [`[exit code ${end.code}]`];
        return [`$ jobmon ${args.join(' ')}`, ...said, ...code].join('\n');
      });
    return `## A ${state} workflow\n\n\`\`\`text\n${masked(commands.join('\n\n'), folder)}\n\`\`\`\n`;
  });
  const limits = BEYOND_THE_CLIENT.map(({ command, why }) => `- \`${command}\` ${why}.`);
  return `# The old command line against a house

The \`jobmon\` program of \`jobmon_client\` 3.3.0, unmodified: every sub-command on a workflow in each of four states, as \`npm run conformance\` typed
them and what came back. Times, folders and people are masked, log lines and warnings left out; of a Python trace the last line is kept.

What this client cannot do with a server of \`/api/v3\`, whichever it is:

${limits.join('\n')}

${chapters.join('\n')}`;
}

/** The client logs to where it prints. */
function withoutLog(stdout: string): string {
  return stdout
    .split('\n')
    .filter((line) => !/^\d{4}-\d\d-\d\d .*\[jobmon\./.test(line))
    .join('\n');
}

/** What a person would look at in the error output: of a Python trace its last line, and no log lines. */
function errorOf(stderr: string): string {
  const lines = stderr.trimEnd().split('\n');
  if (stderr.includes('Traceback (most recent call last)')) return lines.at(-1) ?? '';
  return lines.filter((line) => line !== '' && !/Warning:|^\s|\b(INFO|WARNING)\b/.test(line)).join('\n');
}

function masked(text: string, folder: string): string {
  return text
    .replaceAll(folder, '/home/person')
    .replaceAll(/\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?/g, 'YYYY-MM-DD HH:MM:SS')
    .replaceAll(/\b1[5-9]\d{11}\b/g, 'MILLISECONDS')
    .replaceAll(new RegExp(`\\b${USER}\\b`, 'g'), 'person')
    .replaceAll(/ +$/gm, '');
}
