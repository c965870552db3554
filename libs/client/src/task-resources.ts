/**
 * What each task asks of its cluster once all that gives something was heard: tool, workflow, template, array, task, each nearer one replacing
 * single entries of those before it (spec/cli-and-gui.md C.3).
 */
import { JobmonError } from '@jobmon/contracts';
import { requestedResources, type RequestedResources } from './compute-resources';
import type { Defaults } from './defaults';
import { clusterOf } from './executor-name';
import { refusal } from './graph';
import { listedScales, type ListedScales } from './resource-scales';
import { NO_SETTINGS, type Task, type TaskArray, type TemplateOfTask } from './task';
import type { Workflow } from './workflow';

/** Attempts of a task for which nobody says anything. */
const MAX_ATTEMPTS_DEFAULT = 3;

/** What a task asks of its cluster once all defaults are applied. */
export interface TaskResources extends RequestedResources {
  readonly cluster: string;
  readonly resourceScales: ListedScales;
  readonly fallbackQueues: readonly string[];
}

/** Attempts of a task: its own, else the array's, the template's, the workflow's, the tool's, else 3. */
export function maxAttemptsOf(workflow: Workflow, { settings, array, template }: Task): number {
  return (
    settings.maxAttempts ??
    array?.settings.maxAttempts ??
    template.defaults.maxAttempts ??
    workflow.defaults.maxAttempts ??
    workflow.tool.defaults.maxAttempts ??
    MAX_ATTEMPTS_DEFAULT
  );
}

/** Works out the resources of a workflow's tasks as its defaults stand now; tasks without settings of their own share one answer. */
export class ResourcesOfTasks {
  readonly #kept = new Map<TemplateOfTask, Map<TaskArray | undefined, TaskResources>>();
  readonly #ofTemplate = new Map<string, Defaults | undefined>();

  constructor(readonly workflow: Workflow) {}

  /** Throws MALFORMED naming the task and the rule. */
  of(task: Task): TaskResources {
    const { template, array, settings } = task;
    if (settings !== NO_SETTINGS) return this.#made(task);
    let ofTemplate = this.#kept.get(template);
    if (ofTemplate === undefined) this.#kept.set(template, (ofTemplate = new Map<TaskArray | undefined, TaskResources>()));
    let kept = ofTemplate.get(array);
    if (kept === undefined) ofTemplate.set(array, (kept = this.#made(task)));
    return kept;
  }

  #made(task: Task): TaskResources {
    const { template, settings } = task;
    const { workflow } = this;
    const { tool } = workflow;
    const array = task.array?.settings;
    const named =
      settings.clusterName ??
      array?.clusterName ??
      template.defaults.clusterName ??
      workflow.defaults.clusterName ??
      tool.defaults.clusterName;
    if (named === undefined) {
      const sentence = `task '${task.name}' has no cluster; give one to the task, its template, the workflow or the tool`;
      throw refusal('no_cluster', [task], sentence);
    }
    const cluster = clusterOf(named);
    const givers = [tool.defaults, workflow.defaults, this.#templateFileOf(template.name), template.defaults];
    try {
      const resources = requestedResources(
        ...givers.flatMap((defaults) => defaults?.resourcesOn(cluster)),
        array?.computeResources,
        settings.computeResources,
      );
      const scales = [
        ...givers.flatMap((defaults) => defaults?.scalesOn(cluster)),
        array?.resourceScales,
        settings.resourceScales,
      ];
      return {
        cluster,
        ...resources,
        resourceScales: listedScales(scales, maxAttemptsOf(workflow, task), resources.requested),
        fallbackQueues: settings.fallbackQueues ?? array?.fallbackQueues ?? [],
      };
    } catch (error) {
      if (!(error instanceof JobmonError)) throw error;
      throw refusal('bad_resources', [task], `task '${task.name}': ${error.message}`);
    }
  }

  #templateFileOf(templateName: string): Defaults | undefined {
    if (!this.#ofTemplate.has(templateName)) {
      this.#ofTemplate.set(templateName, this.workflow.tool.defaultsOfTemplate(templateName));
    }
    return this.#ofTemplate.get(templateName);
  }
}
