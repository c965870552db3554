/** How far a workflow is: by task template, and as a stream of what changes. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  LIMIT_NONE,
  taskChanged,
  workflowControlled,
  workflowRunChanged,
  workflowRunMachine,
  type followWorkflow,
  type listWorkflowTemplates,
  type ReplyOf,
  type RequestOf,
  type TaskStatus,
  type TaskTemplateProgress,
  type WorkflowError,
  type WorkflowProgress,
  type WorkflowRunStatus,
  type WorkflowView,
} from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import type { Call, Room } from './context';
import { countTasks, keptCounts, type TaskCount } from './task-count';
import type { ErrorIds } from './v3/error-log';
import { requireWorkflow, templatesOf, type WorkflowTemplate } from './v3/workflow-template';
import { errorsSince, newestErrors, readErrors } from './workflow-error';
import { News, readCountedView, readView } from './workflow-view';

/** A follower's view is read at most this often, however much happens. */
const FOLLOW_INTERVAL_MS_MIN = 100;
/** A follower looks this often without being told anything: a lost event costs time only. */
const FOLLOW_INTERVAL_MS_MAX = 2_000;
/** A follower's tasks are counted when this many times the last count's duration have passed, and no more often than it looks. */
const COUNT_PAUSE = 20;
/** Templates and errors of one event, and characters of such an error. */
const STREAMED_TEMPLATES = 50;
const STREAMED_ERRORS = 5;
const STREAMED_ERROR_CHARACTERS = 500;
/** A transaction may commit an error's id after another one committed higher ids: so many below the highest are looked at again. */
const LATE_IDS = 500;

export async function findTemplates(
  { database }: Room,
  { workflow_id }: RequestOf<typeof listWorkflowTemplates>,
): Promise<ReplyOf<typeof listWorkflowTemplates>> {
  await requireWorkflow(database, workflow_id);
  const templates = await templatesOf(database, workflow_id);
  return { task_templates: progressOf(templates, await countTasks(database, workflow_id)) };
}

type Count = Pick<TaskCount, 'array_id' | 'version' | 'status' | 'n'> & { readonly retries?: number };

/** Counts by array put together by template, in the order in which the templates were bound. */
function progressOf(templates: readonly WorkflowTemplate[], counts: readonly Count[]): TaskTemplateProgress[] {
  const byArray = new Map(templates.map((template) => [keyOf(template), template]));
  const progress = new Map<number, TaskTemplateProgress>();
  for (const { task_template_id, name, max_concurrently_running: max } of [...templates].reverse()) {
    const former = progress.get(task_template_id)?.max_concurrently_running ?? null;
    const limit = max === null || max >= LIMIT_NONE ? former : Math.min(max, former ?? max);
    progress.set(task_template_id, { task_template: name, tasks: {}, retries: 0, max_concurrently_running: limit });
  }
  for (const { array_id, version, status, n, retries = 0 } of counts) {
    const template = byArray.get(keyOf({ array_id, task_template_version_id: version ?? 0 }));
    const own = template && progress.get(template.task_template_id);
    if (own === undefined) continue;
    own.tasks[status] = (own.tasks[status] ?? 0) + n;
    own.retries += retries;
  }
  return [...progress.values()];
}

function keyOf({ array_id, task_template_version_id }: Pick<WorkflowTemplate, 'array_id' | 'task_template_version_id'>): string {
  return array_id === null ? `version ${task_template_version_id}` : `array ${array_id}`;
}

/** The view at once and after each change; ends when the newest run is final, when the caller hangs up, or on shutdown. */
export async function* follow(
  room: Room,
  { workflow_id, detail }: RequestOf<typeof followWorkflow>,
  call: Call,
): AsyncGenerator<ReplyOf<typeof followWorkflow>, void, void> {
  const { database, messenger } = room;
  const signal = call.signal();
  const news = new News();
  const onChange = (payload: { workflow_id: number }): void => {
    if (payload.workflow_id === workflow_id) news.tell();
  };
  const stops = [taskChanged, workflowRunChanged, workflowControlled].map((event) => messenger.subscribe(event, onChange));
  const progress = detail === 'full' ? new Progress(database, workflow_id) : undefined;
  let shown = '';
  let countAt = 0;
  try {
    while (!signal.aborted) {
      news.forget();
      let workflow = await readView(database, workflow_id);
      const is_final = isFinal(workflow);
      const began = performance.now();
      if (is_final || began >= countAt) {
        const counted = await readCountedView(database, workflow_id);
        workflow = counted.view;
        await progress?.count(counted.counts);
        countAt = performance.now() + Math.max(FOLLOW_INTERVAL_MS_MAX, COUNT_PAUSE * (performance.now() - began));
      } else await progress?.look();
      const event = { workflow, is_final, ...(progress === undefined ? {} : { progress: progress.shown() }) };
      const text = JSON.stringify(event);
      if (text !== shown || is_final) yield event;
      if (is_final) return;
      shown = text;
      await news.wait(FOLLOW_INTERVAL_MS_MAX, signal);
      // Whatever comes in this pause is read together.
      await sleep(FOLLOW_INTERVAL_MS_MIN, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    for (const stop of stops) stop();
  }
}

function isFinal({ workflow_run_status: status }: WorkflowView): boolean {
  return status !== null && workflowRunMachine.final.has(status as WorkflowRunStatus);
}

/**
 * What a follower sees of the templates and errors of one workflow. Templates, retries and tasks without an array are read when the
 * tasks are counted; in between the kept counts tell, and errors are those that came since.
 */
class Progress {
  private templates: WorkflowTemplate[] = [];
  private counts: readonly TaskCount[] = [];
  private task_templates: TaskTemplateProgress[] = [];
  /** Null before the first look. */
  private errorIds: ErrorIds[] | null = null;
  private errors: WorkflowError[] = [];
  /** The highest id of an error that was looked at, of any workflow. */
  private lookedUpTo = 0;

  constructor(
    private readonly database: Database,
    private readonly workflow_id: number,
  ) {}

  async count(counts: readonly TaskCount[]): Promise<void> {
    this.templates = await templatesOf(this.database, this.workflow_id);
    this.counts = counts;
    this.task_templates = progressOf(this.templates, counts);
    await this.lookAtErrors();
  }

  async look(): Promise<void> {
    const kept: Count[] = await keptCounts(this.database, this.workflow_id);
    const strays = this.counts.filter(({ array_id }) => array_id === null);
    const retries = this.counts.map((count) => ({ ...count, n: 0 }));
    this.task_templates = progressOf(this.templates, [...kept, ...strays.map((count) => ({ ...count, retries: 0 })), ...retries]);
    await this.lookAtErrors();
  }

  shown(): WorkflowProgress {
    const rank = ({ tasks }: TaskTemplateProgress): number => {
      const statuses = Object.keys(tasks).filter((status) => tasks[status] !== 0) as TaskStatus[];
      if (statuses.some((status) => ['Q', 'I', 'O', 'R', 'A', 'E'].includes(status))) return 0;
      return statuses.includes('G') ? 1 : 2;
    };
    const some = [...this.task_templates].sort((a, b) => rank(a) - rank(b)).slice(0, STREAMED_TEMPLATES);
    const chosen = new Set(some);
    return {
      retries: this.counts.reduce((sum, { retries }) => sum + retries, 0),
      task_templates: this.task_templates
        .filter((template) => chosen.has(template))
        .map((template) => ({ ...template, tasks: withoutNone(template.tasks) })),
      task_templates_total: this.task_templates.length,
      errors: this.errors,
    };
  }

  private async lookAtErrors(): Promise<void> {
    const { database, workflow_id } = this;
    const [newest] = await database.read<{ id: number | null }>('SELECT MAX(id) AS id FROM task_instance_error_log');
    const upTo = newest?.id ?? 0;
    if (this.errorIds !== null && upTo <= this.lookedUpTo) return;
    const wanted = { workflow_id, before: upTo + 1, limit: STREAMED_ERRORS };
    const found =
      this.errorIds === null
        ? await newestErrors(database, wanted)
        : await errorsSince(database, { ...wanted, after: this.lookedUpTo - LATE_IDS });
    this.lookedUpTo = upTo;
    const known = this.errorIds ?? [];
    const added = found.filter(({ id }) => known.every((error) => error.id !== id));
    if (added.length === 0 && this.errorIds !== null) return;
    this.errorIds = [...added, ...known].sort((a, b) => b.id - a.id).slice(0, STREAMED_ERRORS);
    this.errors = await readErrors(database, this.errorIds, STREAMED_ERROR_CHARACTERS);
  }
}

function withoutNone(tasks: TaskTemplateProgress['tasks']): TaskTemplateProgress['tasks'] {
  return Object.fromEntries(Object.entries(tasks).filter(([, n]) => n !== 0));
}
