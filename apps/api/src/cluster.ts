/** Clusters with their queues. */
import { JobmonError, type ClusterView, type listClusters, type ReplyOf, type ResourcesToRegister } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import type { Room } from './context';

interface QueueRow {
  cluster_id: number;
  cluster: string;
  cluster_type: string;
  queue_id: number | null;
  queue: string | null;
  parameters: string | null;
}

/** All clusters: some tens of rows at most, so they are read whole. */
async function readQueues(database: Database): Promise<QueueRow[]> {
  return database.read<QueueRow>(
    `SELECT c.id AS cluster_id, c.name AS cluster, ct.name AS cluster_type, q.id AS queue_id, q.name AS queue, q.parameters AS parameters
       FROM cluster c JOIN cluster_type ct ON ct.id = c.cluster_type_id LEFT JOIN queue q ON q.cluster_id = c.id
      ORDER BY c.id, q.id`,
  );
}

export async function findClusters({ database }: Room): Promise<ReplyOf<typeof listClusters>> {
  const clusters = new Map<number, ClusterView>();
  for (const row of await readQueues(database)) {
    const { cluster_id, cluster: name, cluster_type } = row;
    const view = clusters.get(cluster_id) ?? { cluster_id, name, cluster_type, queues: [] };
    clusters.set(cluster_id, view);
    if (row.queue_id === null) continue;
    view.queues.push({ queue_id: row.queue_id, name: row.queue ?? '', parameters: row.parameters ?? '' });
  }
  return { clusters: [...clusters.values()] };
}

/** The first of these names that no cluster bears, if any, and the names that there are. */
export async function clusterNames(
  database: Database,
  names: readonly string[],
): Promise<{ readonly unknown: string | undefined; readonly known: readonly string[] }> {
  const known = [...new Set((await readQueues(database)).map((row) => row.cluster))];
  return { unknown: names.find((name) => !known.includes(name)), known };
}

/**
 * The queue of each request of resources: the named one, or its cluster's first. `tasksOf` names the tasks that ask for a
 * position, for the error: MALFORMED when a cluster, a queue or a fallback queue does not exist.
 */
export async function queuesOf(
  database: Database,
  resources: readonly ResourcesToRegister[],
  tasksOf: (position: number) => string[],
): Promise<number[]> {
  const rows = await readQueues(database);
  return resources.map(({ cluster, queue, fallback_queues = [] }, position) => {
    const inCluster = rows.filter((row) => row.cluster === cluster);
    const found = inCluster.find((row) => row.queue_id !== null && (queue === undefined || row.queue === queue));
    const stranger = fallback_queues.find((name) => !inCluster.some((row) => row.queue === name));
    if (found?.queue_id != null && stranger === undefined) return found.queue_id;
    const rule = inCluster.length === 0 ? 'unknown_cluster' : 'unknown_queue';
    const known = inCluster.length === 0 ? rows.map((row) => row.cluster) : inCluster.map((row) => row.queue);
    const missing = found?.queue_id == null ? `queue '${queue ?? ''}'` : `fallback queue '${stranger}'`;
    const what = inCluster.length === 0 ? `no cluster '${cluster}'` : `no ${missing} on cluster '${cluster}'`;
    const tasks = tasksOf(position);
    const choice = [...new Set(known)].slice(0, 20).join(', ');
    throw new JobmonError('MALFORMED', `there is ${what} (there are: ${choice}); asked for by: ${tasks.join(', ')}`, {
      rule,
      tasks,
    });
  });
}
