/** Clusters and their queues: E8 and E12. */
import { z } from 'zod';
import { Id } from '../id';
import { operation, type Operation } from '../operation';

/** E8. Asked once by every worker. Null for an unknown name, which is no error. */
export const getCluster = operation({
  protocol: 'E8',
  name: 'cluster.get',
  owner: 'api',
  summary: 'A cluster by its name.',
  http: { method: 'GET', path: '/api/v3/cluster/{cluster_name}' },
  request: z.object({ cluster_name: z.string() }),
  /** `[id, name, name of its type, connection parameters]`: the last one JSON as stored; null stands for none. */
  reply: z.object({ cluster: z.tuple([z.number().int(), z.string(), z.string(), z.string().nullable()]).nullable() }),
});

/** E12. Null for an unknown cluster or name, which is no error. */
export const getQueue = operation({
  protocol: 'E12',
  name: 'queue.get',
  owner: 'api',
  summary: 'A queue of a cluster by its name.',
  http: { method: 'GET', path: '/api/v3/cluster/{cluster_id}/queue/{queue_name}' },
  request: z.object({ cluster_id: Id, queue_name: z.string() }),
  /** `[id, name, parameters]`: the last one a Python literal as stored. */
  reply: z.object({ queue: z.tuple([z.number().int(), z.string(), z.string()]).nullable() }),
});

export const CLUSTER_OPERATIONS: readonly Operation[] = [getCluster, getQueue];
