/**
 * Following a workflow to its end: `jobmon workflow watch` and `wait`, and whatever starts one and stays. On a terminal a view is drawn in its
 * place, elsewhere a line is written when something changed; both go to standard error, since they are no data. A server that goes away is
 * told and waited for; Ctrl-C ends the watching, never the workflow.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { followWorkflow, JobmonError, type ReplyOf, type WorkflowView } from '@jobmon/contracts';
import { taskCounts } from '@jobmon/client';
import { Exit, Interrupted, sentenceOf, TimedOut } from './failure';
import { coloured, printRecord, recordOf } from './print';
import { errorLine, frameOf, lineOf, Meter, standingOf, type Canvas, type Look } from './progress';
import { Screen } from './screen';
import { connect } from './server';
import { hasColours, hasUnicode, isForPrograms, settings, widthOf } from './settings';
import { columnsOf } from './text';
import { WORKFLOW_FIELDS } from './workflow-record';

/** Where nothing is drawn in place, a line about the progress comes at most this often. */
const LINE_INTERVAL_MS = 5_000;
/** For how long a server that went away is waited for. */
const PATIENCE_MS = 600_000;
/** Pause before the first new try; doubles up to the second figure. */
const PAUSE_MS_MIN = 200;
const PAUSE_MS_MAX = 5_000;
/** Lines of a terminal that does not say how many it has. */
const ROWS_DEFAULT = 24;

export interface WatchOptions {
  /** Give up then, with `TimedOut`. */
  readonly timeout?: number;
  /** Nothing is shown on the way. */
  readonly isSilent?: boolean;
  /** The run that was still ending when the next one was ordered: its end is not what is waited for. */
  readonly after_run?: number | null;
  /** Told each look. */
  readonly onLook?: (look: Look) => void;
}

/**
 * Follows a workflow until its newest run has ended, and answers how it stands then. Throws `TimedOut`, `Interrupted` after Ctrl-C, and
 * JobmonError: NOT_FOUND, UNAVAILABLE at once when no server answers at first, or when it stayed away for ten minutes later.
 */
export async function watchWorkflow(workflow_id: number, options: WatchOptions = {}): Promise<Look> {
  const { timeout, after_run = null, onLook } = options;
  const stop = new AbortController();
  const timer = timeout === undefined ? undefined : setTimeout(() => stop.abort(new TimedOut()), timeout * 1_000);
  const onInterrupt = (): void => stop.abort(new Interrupted());
  process.once('SIGINT', onInterrupt);
  const view = options.isSilent || settings.quiet ? undefined : viewOn(process.stderr);
  const meter = new Meter();
  const began = performance.now();
  let last: Look | undefined;
  try {
    for await (const event of eventsOf(workflow_id, { signal: stop.signal, after_run, say: (line) => view?.say(line) })) {
      const now = performance.now();
      meter.add(taskCounts(event.workflow.tasks).done, now);
      last = { ...event, rate: meter.rate, elapsed: (now - began) / 1_000 };
      view?.show(last);
      onLook?.(last);
    }
  } catch (error) {
    if (stop.signal.reason instanceof TimedOut && stop.signal.aborted) {
      throw new TimedOut(`workflow ${workflow_id} has not ended within ${timeout} s; it goes on`);
    }
    if (stop.signal.aborted) {
      throw new Interrupted(`Workflow ${workflow_id} goes on. Follow it again: jobmon workflow watch ${workflow_id}`);
    }
    throw error;
  } finally {
    clearTimeout(timer);
    process.off('SIGINT', onInterrupt);
    view?.end();
  }
  return last as Look;
}

/** As `watchWorkflow`; prints, as data, how it ended, with `-o jsonl` each look on the way too, and sets the exit code: 0 only for DONE. */
export async function watchAndPrint(workflow_id: number, options: WatchOptions = {}): Promise<Look> {
  const isEachPrinted = settings.output === 'jsonl';
  const look = await watchWorkflow(workflow_id, isEachPrinted ? { ...options, onLook: printLook } : options);
  if (!isEachPrinted) printEnd(look);
  process.exitCode = exitOf(look.workflow);
  return look;
}

function printEnd(look: Look): void {
  if (isForPrograms()) return printRecord(recordOf(look.workflow, WORKFLOW_FIELDS));
  const standing = standingOf(look.workflow, true);
  process.stdout.write(`${lineOf(look).replace(standing, coloured(standing, hasColours(process.stdout)))}\n`);
}

function printLook({ workflow, progress, rate, is_final }: Look): void {
  printRecord({
    ...recordOf(workflow, WORKFLOW_FIELDS),
    retries: progress?.retries ?? 0,
    tasks_per_minute: rate === null ? null : Math.round(rate * 10) / 10,
    is_final,
  });
}

export function exitOf({ status }: WorkflowView): number {
  return status === 'D' ? 0 : Exit.NOT_DONE;
}

type Event = ReplyOf<typeof followWorkflow>;

/** The events of the stream, over however many connections. */
async function* eventsOf(
  workflow_id: number,
  { signal, after_run, say }: { signal: AbortSignal; after_run: number | null; say: (line: string) => void },
): AsyncGenerator<Event, void, void> {
  let pause_ms = PAUSE_MS_MIN;
  /** When the server was last heard; null before it ever was. */
  let heard: number | null = null;
  let isAway = false;
  for (;;) {
    try {
      const connection = await connect();
      const stream = connection.stream(followWorkflow, { workflow_id, detail: 'full' }, { signal, tries_max: 0 });
      for await (const event of stream) {
        if (isAway) say(`The server is back after ${Math.round((performance.now() - heard!) / 1_000)} s.`);
        [heard, isAway, pause_ms] = [performance.now(), false, PAUSE_MS_MIN];
        const isFormer = event.is_final && after_run !== null && event.workflow.workflow_run_id === after_run;
        yield { ...event, is_final: event.is_final && !isFormer };
        if (event.is_final && !isFormer) return;
      }
    } catch (error) {
      if (signal.aborted || heard === null) throw error;
      if (!(error instanceof JobmonError) || !error.kind.retryable || performance.now() - heard > PATIENCE_MS) throw error;
      if (!isAway) {
        heard = performance.now();
        say(`${capitalized(sentenceOf(error))}. The workflow is not touched by that; waiting for the server, Ctrl-C to leave.`);
      }
      isAway = true;
    }
    await sleep(pause_ms, undefined, { signal });
    pause_ms = Math.min(PAUSE_MS_MAX, pause_ms * 2);
  }
}

const capitalized = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

interface View {
  show(look: Look): void;
  say(line: string): void;
  end(): void;
}

function viewOn(stream: NodeJS.WriteStream): View {
  // Whoever takes the output away wants lines, not a picture.
  const isDrawn = stream.isTTY === true && process.stdout.isTTY === true && process.env.TERM !== 'dumb';
  return isDrawn ? drawnOn(stream) : writtenOn(stream);
}

/** Drawn in place, again when the terminal's size changes. */
function drawnOn(stream: NodeJS.WriteStream): View {
  const screen = new Screen(stream);
  let last: Look | undefined;
  const canvas = (): Canvas => ({
    // The last column stays free: a terminal would begin a new line there.
    columns: Math.max(20, widthOf(stream) - 1),
    rows: Math.max(4, (stream.rows || ROWS_DEFAULT) - 1),
    colours: hasColours(stream),
    unicode: hasUnicode(),
  });
  const draw = (): void => {
    if (last !== undefined) screen.draw(frameOf(last, canvas()));
  };
  stream.on('resize', draw);
  return {
    show: (look) => {
      last = look;
      draw();
    },
    say: (line) => {
      screen.say(line);
      draw();
    },
    end: () => {
      stream.off('resize', draw);
      screen.end();
    },
  };
}

/** Lines: a change of the standing and each error at once, progress now and then. */
function writtenOn(stream: NodeJS.WriteStream): View {
  const known = new Set<number>();
  let standing = '';
  let written = '';
  let writtenAt = -Infinity;
  const write = (line: string): void => void stream.write(`${line}\n`);
  return {
    show: (look) => {
      for (const error of [...(look.progress?.errors ?? [])].reverse()) {
        if (known.has(error.error_id)) continue;
        known.add(error.error_id);
        write(errorLine(error));
      }
      const now = performance.now();
      const line = lineOf(look);
      const isNew = standingOf(look.workflow) !== standing;
      if (line === written || (!isNew && !look.is_final && now - writtenAt < LINE_INTERVAL_MS)) return;
      // The end is told by whoever watches.
      if (!look.is_final) write(columnsOf(line) > 0 ? line : '');
      [standing, written, writtenAt] = [standingOf(look.workflow), line, now];
    },
    say: write,
    end: () => undefined,
  };
}
