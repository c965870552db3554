/**
 * `jobmon task log`: what a command prints. While it runs its output is in a file on its host; when it has ended the database has the end
 * of it, and the file, where it can be read from here, all of it.
 */
import { constants, existsSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { getTask, taskInstanceMachine, type TaskInstanceStatus, type TaskInstanceView } from '@jobmon/contracts';
import { InvalidArgumentError, type Command } from 'commander';
import { Interrupted } from './failure';
import { printOne, type Fields } from './print';
import { ask, parseCount, parseId } from './server';
import { isForPrograms, tell } from './settings';
import { attemptOf, instanceLabel } from './task-instance';
import { oneLine } from './text';

/** Bytes that are read and written at one time. */
const CHUNK_BYTES = 64 * 1024;
/** Characters of a running attempt's output that are shown without `--all`: as many as the database keeps of one that has ended. */
const TAIL_BYTES = 10_000;
/** How often a followed file is looked at, and how often the server is asked whether its attempt has ended. */
const LOOK_MS = 250;
const ASK_MS = 1_000;

interface Flags {
  attempt?: number;
  stderr?: true;
  follow?: true;
  all?: true;
}

export function addLogCommand(task: Command): void {
  task
    .command('log')
    .description('What the command prints: the last 10,000 characters of an attempt, all of it, or as it comes.')
    .argument('<id>', 'task id', parseId)
    .option('-a, --attempt <number>', 'attempt, the first is 1; the latest when absent', parseAttempt)
    .option('-e, --stderr', 'standard error in place of standard output')
    .option('-f, --follow', 'go on until the attempt has ended; waits for one that has not begun')
    .option('--all', 'all of it, from the file, where that can be read from here')
    .addHelpText('after', '\nExamples:\n  jobmon task log 12 --follow\n  jobmon task log 12 --attempt 1 --stderr')
    .action(log);
}

function parseAttempt(text: string): number {
  try {
    return parseCount(text);
  } catch {
    throw new InvalidArgumentError('It must be the number of an attempt: 1, 2, 3 …');
  }
}

interface Log {
  readonly task_id: number;
  readonly attempt: number;
  readonly instance: TaskInstanceView;
}

const LOG_FIELDS: Fields<Log> = {
  task_id: (row) => row.task_id,
  attempt: (row) => row.attempt,
  task_instance_id: (row) => row.instance.task_instance_id,
  status: (row) => instanceLabel(row.instance.status),
  exit_code: (row) => row.instance.exit_code,
  nodename: (row) => row.instance.nodename,
  stdout: (row) => row.instance.stdout,
  stdout_log: (row) => row.instance.stdout_log,
  stderr: (row) => row.instance.stderr,
  stderr_log: (row) => row.instance.stderr_log,
};

async function log(task_id: number, flags: Flags): Promise<void> {
  const { attempt, stderr, follow, all } = flags;
  if (follow && !isForPrograms()) return followLog(task_id, flags);
  const { number, instance } = attemptOf(await ask(getTask, { task_id }), attempt);
  if (isForPrograms()) return printOne({ task_id, attempt: number, instance }, LOG_FIELDS, () => undefined);
  const [text, file] = textOf(instance, stderr);
  if (text === null || all) {
    const opened = await openOutput(file);
    if (opened !== undefined) {
      const { size } = await opened.stat();
      const from = all ? 0 : Math.max(0, size - TAIL_BYTES);
      await copy(opened, from).finally(() => opened.close());
      if (size === 0) tell(`Attempt ${number} is ${instanceLabel(instance.status)} and printed nothing there yet.`);
      return;
    }
    if (all && file !== null) tell(`${oneLine(file)} on ${instance.nodename ?? 'its host'} cannot be read from here.`);
    if (text === null) {
      const where = file === null ? '' : `; its output goes to ${oneLine(file)} on ${instance.nodename ?? 'its host'}`;
      return tell(`Attempt ${number} is ${instanceLabel(instance.status)}${where}.`);
    }
  }
  writeText(text);
  if (text === '') {
    const isGone = file !== null && instance.nodename === hostname() && !existsSync(file);
    tell(isGone ? `Nothing of attempt ${number} is kept: ${oneLine(file)} is gone.` : `Attempt ${number} printed nothing there.`);
  }
  if (!stderr && instance.stderr_log) tell('There is more on standard error: add --stderr.');
}

function textOf(instance: TaskInstanceView, stderr: true | undefined): [text: string | null, file: string | null] {
  return stderr ? [instance.stderr_log, instance.stderr] : [instance.stdout_log, instance.stdout];
}

function writeText(text: string): void {
  process.stdout.write(text === '' || text.endsWith('\n') ? text : `${text}\n`);
}

/** From its beginning, as it comes. The latest attempt is followed, and only that one. */
async function followLog(task_id: number, { attempt, stderr }: Flags): Promise<void> {
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort(new Interrupted(`Task ${task_id} goes on.`));
  process.once('SIGINT', onInterrupt);
  let opened: FileHandle | undefined;
  let at = 0;
  let isTold = false;
  let askedAt = -Infinity;
  let number = attempt;
  let instance: TaskInstanceView | undefined;
  const tellOnce = (text: string): void => {
    if (!isTold) tell(text);
    isTold = true;
  };
  try {
    for (;;) {
      const now = performance.now();
      if (now - askedAt >= ASK_MS) {
        askedAt = now;
        const reply = await ask(getTask, { task_id });
        if (reply.instances.length > 0 || attempt !== undefined) ({ number, instance } = attemptOf(reply, number));
        else if (['D', 'F'].includes(reply.task.status)) attemptOf(reply, number);
        else tellOnce(`Task ${task_id} was not started yet; waiting for it (jobmon task why ${task_id} tells why).`);
      }
      const hasEnded = instance !== undefined && isFinal(instance);
      if (instance !== undefined && opened === undefined) {
        const [text, file] = textOf(instance, stderr);
        opened = await openOutput(file);
        if (opened === undefined && hasEnded) writeText(text ?? '');
        else if (opened === undefined && file !== null && instance.status === 'R') {
          tellOnce(
            `${oneLine(file)} on ${instance.nodename ?? 'its host'} cannot be read from here: its end is shown when it has ended.`,
          );
        }
      }
      if (opened !== undefined) at = await copy(opened, at);
      if (hasEnded) break;
      await sleep(LOOK_MS, undefined, { signal: stop.signal });
    }
    tell(
      `Attempt ${number} has ended: ${instanceLabel(instance!.status)}${instance!.exit_code ? `, exit code ${instance!.exit_code}` : ''}.`,
    );
  } catch (error) {
    throw stop.signal.aborted ? stop.signal.reason : error;
  } finally {
    process.off('SIGINT', onInterrupt);
    await opened?.close();
  }
}

function isFinal({ status }: TaskInstanceView): boolean {
  return taskInstanceMachine.final.has(status as TaskInstanceStatus);
}

/** Opens a file of output if it is one and may be read here; what is no ordinary file (a pipe would block) is left alone. */
async function openOutput(file: string | null): Promise<FileHandle | undefined> {
  if (file === null) return undefined;
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
  } catch {
    // On another host, or not ours to read: the database has its end.
  }
  return undefined;
}

/** Writes what stands behind a position; answers the position behind that. Bytes pass as they are, as `cat` would. */
async function copy(file: FileHandle, from: number): Promise<number> {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (let at = from; ;) {
    const { bytesRead } = await file.read(chunk, 0, CHUNK_BYTES, at);
    if (bytesRead === 0) return at;
    if (!process.stdout.write(Buffer.from(chunk.subarray(0, bytesRead)))) {
      await new Promise((resolve) => process.stdout.once('drain', resolve));
    }
    at += bytesRead;
  }
}
