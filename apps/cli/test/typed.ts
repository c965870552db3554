/** Commands run in the process of a test: a hundred of them take less time than one process takes to start. */
import { run } from '../src/program';
import type { Finished } from './house-process';

/** A test that is started at a terminal has it; what is typed here has none. */
for (const stream of [process.stdin, process.stdout, process.stderr]) {
  Object.defineProperty(stream, 'isTTY', { value: false, configurable: true });
  Object.defineProperty(stream, 'columns', { value: undefined, configurable: true });
}

/** What `jobmon` with these arguments writes and how it ends, in this process' environment. One at a time: the process has one output. */
export async function typed(...args: string[]): Promise<Finished> {
  const own = { stdout: '', stderr: '' };
  const before = process.exitCode;
  const write = { stdout: process.stdout.write, stderr: process.stderr.write };
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].write = ((chunk: string | Uint8Array) => {
      own[name] += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('utf8');
      return true;
    }) as typeof process.stdout.write;
  }
  try {
    process.exitCode = undefined;
    await run(args);
    return { ...own, code: Number(process.exitCode ?? 0) };
  } finally {
    process.exitCode = before;
    process.stdout.write = write.stdout;
    process.stderr.write = write.stderr;
  }
}

/** The rows of a CSV text, each as its cells. */
export function csvRows(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^,\n]*))(,|\n)/g)) {
    row.push(quoted === undefined ? plain! : quoted.replaceAll('""', '"'));
    if (end === '\n') {
      rows.push(row);
      row = [];
    }
  }
  return rows;
}
