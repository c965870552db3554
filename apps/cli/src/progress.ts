/**
 * How far a workflow is, as lines of text: `frameOf` a whole view for a terminal, `lineOf` one line for a log. Pure: what is shown follows
 * from what is given. Every line is at most as wide as asked for, and says the same without colours.
 */
import { type TaskTemplateProgress, type WorkflowError, type WorkflowProgress, type WorkflowView } from '@jobmon/contracts';
import { taskCounts, workflowStatusLabel, type TaskCounts } from '@jobmon/client';
import { coloured } from './print';
import { columnsOf, cut, cutMiddle, durationText, padded, grouped, oneLine } from './text';

/** One look at a workflow. */
export interface Look {
  readonly workflow: WorkflowView;
  readonly progress?: WorkflowProgress;
  readonly is_final: boolean;
  /** Tasks a minute, null while too little was seen. */
  readonly rate: number | null;
  /** Seconds since the watching began. */
  readonly elapsed: number;
}

export interface Canvas {
  readonly columns: number;
  /** Lines that may be used. */
  readonly rows: number;
  readonly colours: boolean;
  readonly unicode: boolean;
}

/** A view uses no more columns: what stands on one line must be found with one look. */
const COLUMNS_MAX = 110;
const BAR_COLUMNS_MAX = 50;
const TEMPLATE_BAR_COLUMNS = 16;
const TEMPLATE_NAME_COLUMNS_MAX = 32;
/** What a task's name, and a path in the reason, get of an error's line that is too long. */
const ERROR_NAME_COLUMNS = 20;
const ERROR_PATH_COLUMNS = 20;

/** Tasks that are done a minute, over what was seen within the last minute. */
export class Meter {
  private readonly seen: { readonly at: number; readonly done: number }[] = [];

  /** `at` in milliseconds of a clock that only goes forward. */
  add(done: number, at: number): void {
    // After a reset the count goes back: what was seen before tells nothing.
    if (done < (this.seen.at(-1)?.done ?? 0)) this.seen.length = 0;
    this.seen.push({ at, done });
    while (this.seen.length > 2 && this.seen[1]!.at < at - 60_000) this.seen.shift();
  }

  /** Null until two looks are a second apart. */
  get rate(): number | null {
    const [first, last] = [this.seen[0], this.seen.at(-1)];
    if (first === undefined || last === undefined || last.at - first.at < 1_000) return null;
    return ((last.done - first.done) * 60_000) / (last.at - first.at);
  }
}

/** `RUNNING`, or `PAUSED` for one that runs and is held. */
export function standingOf({ status, is_paused }: WorkflowView, is_final = false): string {
  return is_paused && !is_final && status !== 'D' ? 'PAUSED' : workflowStatusLabel(status);
}

/** `workflow 7 RUNNING  52% 5210/10000 done, 210 running, 12 failed, 1240 tasks/min, 4 min left`. */
export function lineOf(look: Look, columns = Infinity): string {
  const { workflow, progress } = look;
  const counts = taskCounts(workflow.tasks);
  const words = [`${counts.done}/${counts.total} done`];
  if (counts.running > 0) words.push(`${counts.running} running`);
  if (counts.scheduled > 0) words.push(`${counts.scheduled} queued`);
  if (counts.fatal > 0) words.push(`${counts.fatal} failed`);
  if (progress !== undefined && progress.retries > 0) words.push(`${progress.retries} retried`);
  words.push(...paceOf(look, counts));
  return cut(
    `workflow ${workflow.workflow_id} ${standingOf(workflow, look.is_final)} ${percentOf(counts)} ${words.join(', ')}`,
    columns,
  );
}

function paceOf({ rate, is_final, elapsed }: Look, counts: TaskCounts): string[] {
  if (is_final) return elapsed >= 1 ? [`after ${durationText(elapsed)}`] : [];
  if (rate === null || rate <= 0) return [];
  const left = counts.total - counts.done - counts.fatal;
  const pace = `${rate < 10 ? rate.toFixed(1) : grouped(rate)} tasks/min`;
  return left > 0 ? [pace, `about ${durationText((left / rate) * 60)} left`] : [pace];
}

/** Rounded down, so that 100% means all. */
function percentOf({ done, total }: TaskCounts): string {
  return `${String(total === 0 ? 0 : Math.floor((100 * done) / total)).padStart(3)}%`;
}

/** The whole view. */
export function frameOf(look: Look, canvas: Canvas): string[] {
  const columns = Math.min(COLUMNS_MAX, canvas.columns);
  const head = headOf(look, columns, canvas);
  const errors = look.progress === undefined ? [] : errorLines(look.progress.errors, columns, canvas);
  const room = canvas.rows - head.length;
  // Errors have two lines at least, and up to half of the room; templates have what is left.
  const errors_max = Math.max(2, Math.floor((room - 3) / 2));
  const shownErrors = room >= 4 ? errors.slice(0, errors_max + 1) : [];
  const templates = templateLines(look, columns, room - (shownErrors.length > 0 ? shownErrors.length + 1 : 0) - 1, canvas);
  return [
    ...head,
    ...(templates.length > 0 ? ['', ...templates] : []),
    ...(shownErrors.length > 0 ? ['', ...shownErrors] : []),
  ].slice(0, canvas.rows);
}

function headOf(look: Look, columns: number, canvas: Canvas): string[] {
  const { workflow, progress } = look;
  const counts = taskCounts(workflow.tasks);
  const standing = standingOf(workflow, look.is_final);
  const name = padded(`workflow ${workflow.workflow_id}  ${oneLine(workflow.name)}`, columns - standing.length - 2);
  const done = `${percentOf(counts)}  ${grouped(counts.done)} of ${grouped(counts.total)} done`;
  const bar = barOf(counts, Math.min(BAR_COLUMNS_MAX, columns - done.length - 2), canvas);
  const words = [
    `${grouped(counts.running)} running`,
    `${grouped(counts.scheduled)} queued`,
    `${grouped(counts.pending)} waiting`,
    paint(`${grouped(counts.fatal)} failed`, counts.fatal > 0 ? 31 : 0, canvas),
    `${grouped(progress?.retries ?? 0)} retried`,
  ];
  const pace = paceOf(look, counts).join(', ');
  return [
    `${name}  ${coloured(standing, canvas.colours)}`,
    cutPainted(`${bar}  ${done}`, columns),
    cutPainted(words.join(', '), columns),
    ...(pace === '' ? [] : [cut(pace, columns)]),
  ];
}

function templateLines({ progress }: Look, columns: number, rows: number, canvas: Canvas): string[] {
  if (progress === undefined || progress.task_templates.length === 0 || rows < 1) return [];
  const { task_templates: all, task_templates_total: total } = progress;
  const count = total > rows ? rows - 1 : rows;
  const shown = count >= all.length ? all : chosen(all, count);
  const rowsOf = shown.map((template) => {
    const counts = taskCounts(template.tasks);
    const parts = [
      ...(counts.running > 0 ? [`${grouped(counts.running)} running`] : []),
      ...(counts.fatal > 0 ? [paint(`${grouped(counts.fatal)} failed`, 31, canvas)] : []),
      ...(template.retries > 0 ? [`${grouped(template.retries)} retried`] : []),
      ...(template.max_concurrently_running === null ? [] : [`limit ${grouped(template.max_concurrently_running)}`]),
    ];
    return { name: oneLine(template.task_template), counts, done: `${grouped(counts.done)}/${grouped(counts.total)}`, parts };
  });
  const widest = (of: (row: (typeof rowsOf)[number]) => string): number =>
    rowsOf.reduce((width, row) => Math.max(width, columnsOf(of(row))), 0);
  const bar_columns = Math.min(TEMPLATE_BAR_COLUMNS, Math.max(6, Math.floor(columns / 5)));
  const done_columns = widest(({ done }) => done);
  // Behind the counts about a third of the line is kept for what runs, failed and was tried again.
  const room = columns - bar_columns - done_columns - 6 - Math.min(24, Math.floor(columns / 3));
  const name_columns = Math.max(
    6,
    Math.min(
      TEMPLATE_NAME_COLUMNS_MAX,
      room,
      widest(({ name }) => name),
    ),
  );
  const lines = rowsOf.map(({ name, counts, done, parts }) => {
    const bar = barOf(counts, bar_columns, canvas);
    // What does not fit any more is left out whole, the least important last.
    return parts.reduce(
      (line, part, nth) => {
        const longer = `${line}${nth === 0 ? '  ' : ', '}${part}`;
        return columnsOf(plainOf(longer)) <= columns ? longer : line;
      },
      cutPainted(`  ${padded(name, name_columns)}  ${bar}  ${padded(done, done_columns, 'right')}`, columns),
    );
  });
  const more = total - shown.length;
  return more > 0 ? [...lines, cut(`  and ${more} more task template${more === 1 ? '' : 's'}`, columns)] : lines;
}

/** Those with something on its way, before those that wait, before those that are through; shown in their own order. */
function chosen(all: readonly TaskTemplateProgress[], count: number): TaskTemplateProgress[] {
  const rank = ({ tasks }: TaskTemplateProgress): number => {
    const { running, scheduled, pending } = taskCounts(tasks);
    return running > 0 ? 0 : scheduled > 0 ? 1 : pending > 0 ? 2 : 3;
  };
  const best = new Set([...all].sort((a, b) => rank(a) - rank(b)).slice(0, Math.max(0, count)));
  return all.filter((template) => best.has(template));
}

function errorLines(errors: readonly WorkflowError[], columns: number, canvas: Canvas): string[] {
  if (errors.length === 0) return [];
  return [paint('newest errors', 1, canvas), ...errors.map((error) => `  ${errorLine(error, columns - 2)}`)];
}

/** `10:22:31  task 12 sum_7: ValueError: no such place`. Where that is too long, the name and paths lose their middles first. */
export function errorLine(
  { error_time, task_id, task_name, description, stderr_tail }: WorkflowError,
  columns = Infinity,
): string {
  const time = error_time === null ? '' : `${error_time.slice(11)}  `;
  const [name, gist] = [oneLine(task_name), oneLine(gistOf(description, stderr_tail))];
  const whole = `${time}task ${task_id} ${name}: ${gist}`;
  if (columnsOf(whole) <= columns) return whole;
  const words = gist.split(' ').map((word) => (word.includes('/') ? cutMiddle(word, ERROR_PATH_COLUMNS) : word));
  return cut(`${time}task ${task_id} ${cutMiddle(name, ERROR_NAME_COLUMNS)}: ${words.join(' ')}`, columns);
}

/** What an error is about: the last line that its command wrote to its standard error, else the last line of its own text. */
export function gistOf(description: string, stderr_tail: string | null): string {
  const lastLine = (text: string): string => text.trimEnd().split('\n').at(-1)?.trim() ?? '';
  // A shell names the file that it reads: the agent's, which tells nobody anything.
  const said = lastLine(stderr_tail ?? '').replace(/^\/\S+\/start\.sh: (line )?\d+: /, '');
  const told = lastLine(description);
  if (said === '' || told === said) return told;
  const ended = /exit (?:code|status) \d+|signal \w+/i.exec(told)?.[0];
  return ended === undefined ? told || said : `${said} (${ended})`;
}

/** `[########xx>>......]`: done, failed, running, and what is to come; on a terminal with colours and Unicode, blocks. */
export function barOf(counts: TaskCounts, columns: number, canvas: Pick<Canvas, 'colours' | 'unicode'>): string {
  if (columns < 3) return '';
  const width = canvas.unicode ? columns : columns - 2;
  const { total } = counts;
  const cells = (n: number): number => (total === 0 ? 0 : Math.floor((width * n) / total));
  const done = cells(counts.done);
  // Whatever failed or runs is seen, and a full bar means that all is done.
  const failed = counts.fatal === 0 ? 0 : Math.min(width - done, Math.max(1, cells(counts.fatal)));
  const running = counts.running === 0 ? 0 : Math.min(width - done - failed, Math.max(1, cells(counts.running)));
  const rest = width - done - failed - running;
  const [full, bad, busy, open] = canvas.unicode ? ['█', canvas.colours ? '█' : 'x', '▓', '░'] : ['#', 'x', '>', '.'];
  const segments = [
    paint(full!.repeat(done), 32, canvas),
    paint(bad!.repeat(failed), 31, canvas),
    paint(busy!.repeat(running), 34, canvas),
    paint(open!.repeat(rest), 90, canvas),
  ].join('');
  return canvas.unicode ? segments : `[${segments}]`;
}

function paint(text: string, colour: number, { colours }: Pick<Canvas, 'colours'>): string {
  return colours && colour !== 0 && text !== '' ? `\x1b[${colour}m${text}\x1b[0m` : text;
}

/** As `cut`, for a line that holds colours: those take no columns. */
function cutPainted(line: string, columns: number): string {
  const plain = plainOf(line);
  return columnsOf(plain) <= columns ? line : cut(plain, columns);
}

function plainOf(line: string): string {
  return line.replace(/\x1b\[\d+m/g, '');
}
