/**
 * An attempt's folder: `<state>/attempts/<task_instance_id>/`, the only memory that agents and launchers share.
 *
 * | file | written by | holds |
 * | --- | --- | --- |
 * | `start.sh` | the agent | a line that claims the attempt and sets the stage, then the user's command, byte for byte |
 * | `started` | the command's process, before the command | process id, its start time, the waiting launcher's id and start time |
 * | `refused` | the command's process | what kept the command from starting: `working_directory` or `output` |
 * | `exit` | the launcher | the exit status, then what the command used where the launcher can tell: KiB, microseconds, core dumped |
 * | `overrun` | the agent | why it ends the command for its memory or run time, so that a later agent knows it too |
 *
 * **The claim.** `started` is created exclusively (`set -C`: O_EXCL) by the very process that becomes the command, in its last
 * step before the command. So an attempt may be handed to any number of launchers, by any number of agents, before and after
 * crashes: one process wins, the others go away without a trace. An agent that wants an attempt never to start creates the
 * file itself (`void`).
 *
 * Each file but `start.sh` is one line that ends in ` .`, written by a single write: a reader that meets a file without the
 * mark has come between creation and write, or after a crash there, and treats it as not written yet.
 */
import { closeSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { mkdir, rename, rmdir, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Assignment } from '@jobmon/contracts';
import { isAlive, type ProcessIdentity } from './processes';

/** The folder of all attempts of an agent. */
export function attemptsDirectory(state_directory: string): string {
  return join(state_directory, 'attempts');
}

/** What a folder says about its attempt. */
export type Finding =
  /** Nobody has claimed it. */
  | { readonly is: 'unclaimed' }
  /** An agent claimed it so that it never starts. */
  | { readonly is: 'void' }
  /** Claimed, and the claim is not complete: it is being written, or its writer died or met a full disk just then. */
  | { readonly is: 'cut' }
  /** The command runs, or has ended and its launcher is about to write the exit status. */
  | { readonly is: 'running'; readonly command: ProcessIdentity }
  | { readonly is: 'ended'; readonly command: ProcessIdentity; readonly exit_code: number; readonly usage: Usage | null }
  /** The command is gone and so is its launcher: nobody will ever write the exit status. */
  | { readonly is: 'lost'; readonly command: ProcessIdentity };

/** What a command used, as the kernel counted it for whoever waited for it. */
export interface Usage {
  /** Of its largest process, those among them that it and its children waited for. */
  readonly max_rss_bytes: number;
  /** Of all of these together. */
  readonly cpu_seconds: number;
  /** The command's own process left a core dump. */
  readonly has_core: boolean;
}

/** Where an attempt's output goes. */
export interface OutputPaths {
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * The first line of `start.sh`; `$1` is the launcher's number and start time, `$2` the boot. Everything in it is the shell's
 * own doing: no process is started before the command. The launcher is not asked for as the parent: one that was killed a
 * moment ago has left its child to process 1, which never ends. Field 22 of `/proc/<pid>/stat` is the start time; the fields
 * are counted after the last `)`, since field 2 is a name that may hold anything. When the machine has no memory left, the kernel ends
 * commands before it ends the agent or anything else of the user (oom_score_adj), which then can tell of it.
 */
function stage(assignment: Assignment, output: OutputPaths): string {
  const steps = [
    'set -C',
    'read -r jobmon_a </proc/self/stat',
    'set -- "$1" "$2" ${jobmon_a##*) }',
    `{ printf '%s %s/%s %s .\\n' "$$" "\${22}" "$2" "$1" >"\${0%/*}/started"; } 2>/dev/null || exit 125`,
    'set +C',
    '{ echo 500 >/proc/self/oom_score_adj; } 2>/dev/null',
    'set --',
    `cd ${quoted(assignment.working_directory)} 2>/dev/null || { echo 'working_directory .' >"\${0%/*}/refused"; exit 125; }`,
    `command exec >${quoted(output.stdout)} 2>${quoted(output.stderr)} || { echo 'output .' >"\${0%/*}/refused"; exit 125; }`,
    `export JOBMON_TASK_INSTANCE_ID=${assignment.task_instance_id} JOBMON_TASK_ID=${assignment.task_id}` +
      ` JOBMON_WORKFLOW_ID=${assignment.workflow_id} JOBMON_WORKFLOW_RUN_ID=${assignment.workflow_run_id}`,
    'unset jobmon_a OLDPWD',
  ];
  return `${steps.join('; ')}\n`;
}

/** A text as one word of the shell, exactly. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * Makes the folder and its `start.sh`. One that stands is replaced whole, by rename: a shell of a former launcher may be reading
 * it, and a shell reads on where it was, so that it would find the end of another text behind the beginning of its own.
 * Throws the error of the disk. Not at once, but by promises, like everything that changes a folder often: a busy disk holds such a call up for milliseconds
 * (measured: 2 to 3 each beside a database that syncs). Reads are at once: they come from memory.
 */
export async function writeAttempt(attempts: string, assignment: Assignment, output: OutputPaths): Promise<void> {
  const folder = join(attempts, String(assignment.task_instance_id));
  await mkdir(folder, { recursive: true });
  // No newline is added: a command may end in a backslash. The shell reads the file as it would read `sh -c`.
  const text = stage(assignment, output) + assignment.command;
  const file = join(folder, 'start.sh');
  try {
    await writeFile(file, text, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    await writeFile(`${file}.new`, text, { mode: 0o600 });
    await rename(`${file}.new`, file);
  }
}

/** Removes the folder; a launcher that writes into it just now may keep it there, which throws. */
export async function removeAttempt(attempts: string, task_instance_id: number): Promise<void> {
  const folder = join(attempts, String(task_instance_id));
  const files = ['start.sh', 'start.sh.new', 'started', 'exit', 'refused', 'overrun'].map((name) => unlink(join(folder, name)));
  await Promise.allSettled(files);
  await rmdir(folder);
}

/** Seconds from the claim, the last step before the command, to its exit status, by the disk's clock; null without either. */
export function wallclockOf(attempts: string, task_instance_id: number): number | null {
  const folder = join(attempts, String(task_instance_id));
  const started = statSync(join(folder, 'started'), { throwIfNoEntry: false });
  const exit = statSync(join(folder, 'exit'), { throwIfNoEntry: false });
  if (started === undefined || exit === undefined) return null;
  return Math.max(0, Math.round(exit.mtimeMs - started.mtimeMs) / 1_000);
}

/** Claims an attempt so that it never starts; false when it was claimed before. */
export function voidAttempt(attempts: string, task_instance_id: number): boolean {
  const folder = join(attempts, String(task_instance_id));
  mkdirSync(folder, { recursive: true });
  try {
    const file = openSync(join(folder, 'started'), 'wx', 0o600);
    writeSync(file, 'void .\n');
    closeSync(file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Reads what the folder says, and looks whether the processes it names are alive. */
export function look(attempts: string, task_instance_id: number): Finding {
  const folder = join(attempts, String(task_instance_id));
  const started = wordsOf(join(folder, 'started'));
  if (started === 'absent') return { is: 'unclaimed' };
  if (started === 'cut') return { is: 'cut' };
  if (started[0] === 'void') return { is: 'void' };
  const [pid, start_time, waiter_pid, waiter_start_time] = started;
  const command: ProcessIdentity = { pid: Number(pid), start_time: start_time ?? '' };
  const exit = () => {
    const words = wordsOf(join(folder, 'exit'));
    if (typeof words === 'string') return null;
    return { is: 'ended', command, exit_code: Number(words[0]), usage: usageIn(words) } as const;
  };
  const ended = exit();
  if (ended !== null) return ended;
  const waiter: ProcessIdentity = { pid: Number(waiter_pid), start_time: waiter_start_time ?? '' };
  if (isAlive(waiter) || isAlive(command)) return { is: 'running', command };
  // The launcher may have written the exit status and ended between the two looks.
  return exit() ?? { is: 'lost', command };
}

function usageIn([, max_rss_kib, cpu_microseconds, has_core]: readonly string[]): Usage | null {
  if (max_rss_kib === undefined || cpu_microseconds === undefined) return null;
  return {
    max_rss_bytes: Number(max_rss_kib) * 1024,
    cpu_seconds: Number(cpu_microseconds) / 1_000_000,
    has_core: has_core === '1',
  };
}

/** Notes why a command is ended for its resources. Throws the error of the disk. */
export function writeOverrun(attempts: string, task_instance_id: number, reason: string): void {
  writeFileSync(join(attempts, String(task_instance_id), 'overrun'), `${reason} .\n`, { mode: 0o600 });
}

/** Why a former agent ended the command for its resources, if it did. */
export function overrunOf(attempts: string, task_instance_id: number): string | null {
  const words = wordsOf(join(attempts, String(task_instance_id), 'overrun'));
  return typeof words === 'string' ? null : words.join(' ');
}

/** What kept the command from starting, if its own process said so. */
export function refusalOf(attempts: string, task_instance_id: number): 'working_directory' | 'output' | null {
  const words = wordsOf(join(attempts, String(task_instance_id), 'refused'));
  if (typeof words === 'string') return null;
  return words[0] === 'working_directory' ? 'working_directory' : 'output';
}

/** The words of a completed line; `cut` when the end mark is missing. */
function wordsOf(path: string): string[] | 'absent' | 'cut' {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'absent';
    throw error;
  }
  const words = text.split('\n', 1)[0]?.split(' ') ?? [];
  return text.endsWith('\n') && words.pop() === '.' ? words : 'cut';
}
