/** Clusters and their queues: E8 and E12. Read anew each time: by their unique names this costs less than a stale answer. */
import { getCluster, getQueue, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Register, Room } from '../context';
import { rowNamed } from '../named-row';

export function registerCluster(answer: Register): void {
  answer(getCluster, findCluster);
  answer(getQueue, findQueue);
}

/** E8. */
async function findCluster(
  { database }: Room,
  { cluster_name }: RequestOf<typeof getCluster>,
): Promise<ReplyOf<typeof getCluster>> {
  const rows = await database.read<{ id: number; name: string; type: string; connection_parameters: string | null }>(
    `SELECT c.id AS id, c.name AS name, t.name AS type, c.connection_parameters AS connection_parameters
       FROM cluster c JOIN cluster_type t ON t.id = c.cluster_type_id WHERE c.name = ?`,
    [cluster_name],
  );
  const found = rowNamed(rows, cluster_name);
  return { cluster: found === undefined ? null : [found.id, found.name, found.type, found.connection_parameters] };
}

/** E12. */
async function findQueue(
  { database }: Room,
  { cluster_id, queue_name }: RequestOf<typeof getQueue>,
): Promise<ReplyOf<typeof getQueue>> {
  const rows = await database.read<{ id: number; name: string; parameters: string }>(
    'SELECT id, name, parameters FROM queue WHERE name = ? AND cluster_id = ?',
    [queue_name, cluster_id],
  );
  const found = rowNamed(rows, queue_name);
  return { queue: found === undefined ? null : [found.id, found.name, found.parameters] };
}
