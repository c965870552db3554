/** Names of executors, as workflows for the oldest clients give them, in place of clusters. */

const CLUSTER_OF: Readonly<Record<string, string>> = {
  SequentialExecutor: 'sequential',
  MultiprocessingExecutor: 'multiprocess',
  MultiprocessExecutor: 'multiprocess',
  DummyExecutor: 'dummy',
};

/** The cluster that is meant by a name, and a sentence for people when the name was an executor's. */
export function clusterMeant(name: string): { readonly cluster: string; readonly notice?: string } {
  if (!Object.hasOwn(CLUSTER_OF, name)) return { cluster: name };
  const cluster = CLUSTER_OF[name]!;
  return { cluster, notice: `the executor '${name}' is understood as the cluster '${cluster}'; write that name` };
}

const told = new Set<string>();

/** As `clusterMeant`; the notice is given once in a process, as a warning of Node. */
export function clusterOf(name: string): string {
  const { cluster, notice } = clusterMeant(name);
  if (notice !== undefined && !told.has(name)) {
    told.add(name);
    process.emitWarning(notice, 'JobmonNotice');
  }
  return cluster;
}
