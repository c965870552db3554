/** Where a command's output goes, and what is read of it again. The files are the user's: they are never cut or removed here. */
import { access, constants, mkdir, open, stat, statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { LOG_TAIL_CHARACTERS_MAX, type Assignment } from '@jobmon/contracts';
import type { OutputPaths } from './attempt-folder';

/** At most this much of a file's end is read: 10,000 characters of four bytes each fit, whatever the command wrote before. */
const TAIL_BYTES_MAX = 64 * 1024;

/** Longest part of the file's name that the task's name takes, in bytes: names of files may have 255, ids take up to 15 of them. */
const NAME_BYTES_MAX = 230;

/**
 * The output files of an attempt: `<working_directory>/jobmon-logs/<workflow id>/<task name>.<task_instance_id>.out` and `.err`;
 * the folder is another when the task's resources name one as `stdout` or `stderr` (relative: to the working directory).
 */
export function outputPathsOf(assignment: Assignment): OutputPaths {
  const { requested_resources, working_directory, workflow_id, task_instance_id } = assignment;
  const folderOf = (name: 'stdout' | 'stderr') => {
    const asked = requested_resources[name];
    const folder = typeof asked === 'string' && asked !== '' ? asked : `jobmon-logs/${workflow_id}`;
    return resolve(working_directory, folder);
  };
  const name = `${textUpTo(assignment.task_name.replaceAll('/', '_'), NAME_BYTES_MAX)}.${task_instance_id}`;
  return { stdout: `${folderOf('stdout')}/${name}.out`, stderr: `${folderOf('stderr')}/${name}.err` };
}

/** The longest beginning of a text that has at most so many bytes in UTF-8 and cuts no character. */
function textUpTo(text: string, bytes_max: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= bytes_max) return text;
  let end = bytes_max;
  while (end > 0 && isContinuation(bytes[end])) end--;
  return bytes.toString('utf8', 0, end);
}

/**
 * The last 10,000 characters of a file, at most; empty when there is no such file. Characters are code points and stay
 * whole; bytes that are no UTF-8 become U+FFFD; U+0000 stays. Reads 64 KiB at most.
 */
export async function readTail(path: string): Promise<string> {
  try {
    if ((await stat(path)).size === 0) return '';
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const from = Math.max(0, size - TAIL_BYTES_MAX);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.min(size, TAIL_BYTES_MAX)), 0, undefined, from);
      return tailOf(buffer.subarray(0, bytesRead), from > 0);
    } finally {
      await file.close();
    }
  } catch {
    return '';
  }
}

/** Makes a folder for output. The working directory is the user's and is never made: a missing one is thrown as such. */
export async function makeFolder(folder: string, working_directory: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // A file of that name is found by the command's own process, which refuses.
    if (code === 'EEXIST') return;
    const is = await stat(working_directory).catch((thrown: Error) => thrown.message);
    if (typeof is === 'string') throw new Error(`the working directory can't be used: ${is}`);
    if (!is.isDirectory()) throw new Error(`the working directory can't be used: ${working_directory} is no directory`);
    await makeWithParents(folder);
  }
}

/**
 * As `mkdir -p`. Not Node's own: that never ends, and keeps a thread busy, where nothing can be made in a folder that is there and the
 * system says ENOENT to it: below /proc, and where homes are mounted when they are asked for.
 */
async function makeWithParents(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT' || folder === dirname(folder)) throw error;
    await makeWithParents(dirname(folder));
    await mkdir(folder).catch((thrown: NodeJS.ErrnoException) => {
      if (thrown.code !== 'EEXIST') throw thrown;
    });
  }
}

/**
 * Why a command's own process could not take its working directory or its output files. The folders were there a moment ago; asks
 * again for the reason that the shell does not tell.
 */
export async function refusedReason(assignment: Assignment, refused: 'working_directory' | 'output'): Promise<string> {
  if (refused === 'working_directory') {
    const { working_directory } = assignment;
    const problem = await access(working_directory, constants.X_OK).catch((error: Error) => error.message);
    return `the working directory can't be used: ${problem ?? working_directory}`;
  }
  const { stdout, stderr } = outputPathsOf(assignment);
  const tryFile = (path: string) =>
    open(path, 'a').then(
      (file) => file.close(),
      (error: Error) => error.message,
    );
  const problem = (await tryFile(stdout)) ?? (await tryFile(stderr));
  return `the output file can't be written: ${problem ?? `${stdout} or ${stderr}`}`;
}

/** What is wrong with the place of an output, when something is: a command that fails for it can't say so itself. */
export async function troubleOf(output: OutputPaths): Promise<string | null> {
  for (const file of [output.stdout, output.stderr]) {
    const folder = dirname(file);
    const disk = await statfs(folder).catch(() => null);
    if (disk === null) return `its output folder ${folder} is gone`;
    if ((process.getuid?.() === 0 ? disk.bfree : disk.bavail) === 0) return `the disk of its output folder ${folder} is full`;
  }
  return null;
}

/** The last 10,000 characters of these bytes. `isCut`: they are the end of something longer and may begin inside a character. */
export function tailOf(bytes: Buffer, isCut: boolean): string {
  let begin = 0;
  if (isCut) while (begin < 3 && isContinuation(bytes[begin])) begin++;
  const text = bytes.toString('utf8', begin);
  let from = text.length;
  for (let characters = 0; characters < LOG_TAIL_CHARACTERS_MAX && from > 0; characters++) {
    from -= from > 1 && isLowSurrogate(text.charCodeAt(from - 1)) && isHighSurrogate(text.charCodeAt(from - 2)) ? 2 : 1;
  }
  return text.slice(from);
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}

function isLowSurrogate(code: number): boolean {
  return code >= 0xdc00 && code <= 0xdfff;
}
