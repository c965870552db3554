/** What the tasks of a group ask of their cluster, from the widest giver to the nearest; a nearer one replaces single entries. */
import { requestedResources, type ComputeResources, type RequestedResources } from '../compute-resources';
import type { ResourceScales } from '../resource-scales';
import type { Includes } from './include';
import type { TaskGroup, Template, WorkflowDescription } from './schema';

export interface Settings extends RequestedResources {
  readonly cluster: string;
  readonly scales: ResourceScales;
  readonly fallbackQueues: readonly string[] | undefined;
  readonly maxAttempts: number | undefined;
}

/** What of a file's parts gives settings. */
type Giver = Pick<TaskGroup, 'resources' | 'scales' | 'fallback_queues' | 'max_attempts'>;

/**
 * The settings of a task on `cluster`. Tool (included files), workflow (`defaults`), template (included files, then this one),
 * task: each replaces entries of the ones before it.
 */
export function settingsOf(
  cluster: string,
  file: WorkflowDescription,
  templateName: string,
  template: Template | undefined,
  task: TaskGroup,
  includes: Includes,
): Settings {
  const included = includes.templates.get(templateName);
  const given: Giver[] = [file.defaults ?? {}, template ?? {}, task];
  const layers = (kind: 'resources' | 'scales'): Record<string, unknown>[] => {
    const [workflow, ofTemplate, ofTask] = given.map((giver) => onCluster(giver[kind], cluster));
    return [includes.tool[kind].get(cluster) ?? {}, workflow!, included?.[kind].get(cluster) ?? {}, ofTemplate!, ofTask!];
  };
  return {
    cluster,
    ...requestedResources(...(layers('resources') as ComputeResources[])),
    scales: Object.assign({}, ...layers('scales')) as ResourceScales,
    fallbackQueues: given.reduce<readonly string[] | undefined>((found, giver) => giver.fallback_queues ?? found, undefined),
    maxAttempts: given.reduce<number | undefined>((found, giver) => giver.max_attempts ?? found, undefined),
  };
}

/** Entries for all clusters, and over them those under the cluster's name. */
function onCluster(given: Readonly<Record<string, unknown>> | undefined, cluster: string): Record<string, unknown> {
  const entries = Object.entries(given ?? {});
  const own = entries.find(([name, value]) => name === cluster && isMap(value))?.[1];
  return { ...Object.fromEntries(entries.filter(([, value]) => !isMap(value))), ...(own as object | undefined) };
}

function isMap(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
