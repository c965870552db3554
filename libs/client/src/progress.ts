/** Progress of a workflow as a line of text: rewritten in place on a terminal, a line for each change elsewhere. */
import type { Progress } from './workflow-run';

/** Widest line that is written; terminals narrower than this get less. */
const COLUMNS_MAX = 100;
/** Width of what is no terminal. */
const COLUMNS_DEFAULT = 80;
const BAR_COLUMNS_MAX = 30;

/** `workflow 7 RUNNING [=====>    ]  50% 5/10 done, 2 running, 1 failed`, in at most `columns` columns. */
export function progressText(progress: Progress, columns: number): string {
  const { counts } = progress;
  const percent = counts.total === 0 ? 0 : Math.floor((100 * counts.done) / counts.total);
  const parts = [`${counts.done}/${counts.total} done`];
  if (counts.running > 0) parts.push(`${counts.running} running`);
  if (counts.scheduled > 0) parts.push(`${counts.scheduled} queued`);
  if (counts.fatal > 0) parts.push(`${counts.fatal} failed`);
  const head = `workflow ${progress.workflowId} ${progress.status}`;
  const tail = `${String(percent).padStart(3)}% ${parts.join(', ')}`;
  const room = Math.min(BAR_COLUMNS_MAX, columns - head.length - tail.length - 4);
  const line = room >= 5 ? `${head} [${bar(percent, room)}] ${tail}` : `${head} ${tail}`;
  return line.slice(0, columns);
}

function bar(percent: number, columns: number): string {
  const filled = Math.floor((columns * percent) / 100);
  return filled >= columns ? '='.repeat(columns) : `${'='.repeat(filled)}>`.padEnd(columns);
}

/** Shows progress on a stream, mostly standard error. Call `end` when there is no more, so that the next output starts a line. */
export function printProgress(stream: NodeJS.WriteStream): { show: (progress: Progress) => void; end: () => void } {
  let shown = '';
  const show = (progress: Progress): void => {
    // The last column stays free: a terminal would begin a new line there. Some terminals say 0 for "not known".
    const text = progressText(progress, Math.min(COLUMNS_MAX, (stream.columns || COLUMNS_DEFAULT) - 1));
    if (text === shown) return;
    stream.write(stream.isTTY ? `\r${text.padEnd(shown.length)}` : `${text}\n`);
    shown = text;
  };
  const end = (): void => {
    if (stream.isTTY && shown !== '') stream.write('\n');
    shown = '';
  };
  return { show, end };
}
