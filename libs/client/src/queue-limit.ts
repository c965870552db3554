/** What the server's clusters and queues allow, held against what tasks ask for, before anything is written. */
import type { ClusterView } from '@jobmon/contracts';
import { named, refusal } from './graph';
import type { Task } from './task';
import type { TaskResources } from './task-resources';

/** Bounds of a queue by resource: memory in GiB, runtime in seconds. */
export type QueueLimits = Readonly<Record<string, readonly [min: number, max: number]>>;

/** `{"cores": (1, 20), "memory": [1, 4]}`: a queue's parameters as sites write them, in Python's notation or in JSON. */
export function queueLimits(parameters: string): QueueLimits {
  const limits: Record<string, readonly [number, number]> = {};
  const pair = /["'](cores|memory|runtime)["']\s*:\s*[([]\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*[)\]]/g;
  for (const [, resource, min, max] of parameters.matchAll(pair)) limits[resource!] = [Number(min), Number(max)];
  return limits;
}

/** A task with what it asks for. */
type Asked = readonly [Task, TaskResources];

/**
 * Checks that clusters, queues and fallback queues exist and that queues give what is asked for; answers what is asked for,
 * cut to the queue where `isStrict` is false. Throws the refusal of the first rule that is broken, naming the tasks.
 */
export function heldAgainstQueues(
  clusters: readonly ClusterView[],
  tasks: Iterable<Task>,
  resourcesOf: (task: Task) => TaskResources,
  isStrict: boolean,
): Map<TaskResources, TaskResources> {
  const held = new Map<TaskResources, TaskResources>();
  const all = [...tasks].map((task): Asked => [task, resourcesOf(task)]);
  const tasksWith = (isMeant: (resources: TaskResources) => boolean): Task[] =>
    all.flatMap(([task, resources]) => (isMeant(resources) ? [task] : []));
  for (const [, resources] of all) {
    if (held.has(resources)) continue;
    const { cluster, queue, fallbackQueues } = resources;
    const known = clusters.find(({ name }) => name === cluster);
    if (known === undefined) {
      const those = tasksWith((one) => one.cluster === cluster);
      const names = clusters.map(({ name }) => name).join(', ');
      throw refusal('unknown_cluster', those, `there is no cluster '${cluster}' (task ${named(those)}); the server has ${names}`);
    }
    const stranger = [...(queue === undefined ? [] : [queue]), ...fallbackQueues].find(
      (wanted) => !known.queues.some(({ name }) => name === wanted),
    );
    if (stranger !== undefined) {
      const those = tasksWith(
        (one) => one.cluster === cluster && (one.queue === stranger || one.fallbackQueues.includes(stranger)),
      );
      const names = known.queues.map(({ name }) => name).join(', ');
      throw refusal(
        'unknown_queue',
        those,
        `cluster '${cluster}' has no queue '${stranger}' (task ${named(those)}); it has ${names}`,
      );
    }
    // Without a name it is the cluster's first.
    const place = known.queues.find(({ name }) => name === (queue ?? known.queues[0]?.name));
    const requested = { ...resources.requested };
    for (const [resource, [min, max]] of Object.entries(queueLimits(place?.parameters ?? ''))) {
      const asked = requested[resource];
      if (typeof asked !== 'number' || (asked >= min && asked <= max)) continue;
      if (isStrict) {
        const those = tasksWith((one) => one.cluster === cluster && one.queue === queue && one.requested[resource] === asked);
        const what = `queue '${place!.name}' of cluster '${cluster}' gives ${resource} from ${min} to ${max}, not ${asked}`;
        throw refusal('queue_limit', those, `${what} (task ${named(those)})`);
      }
      requested[resource] = Math.min(Math.max(asked, min), max);
    }
    held.set(resources, { ...resources, requested });
  }
  return held;
}
