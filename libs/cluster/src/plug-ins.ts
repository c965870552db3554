/** The plug-ins by the cluster type that they serve. */
import type { Cluster, ClusterSettings } from './cluster';
import { Commands } from './commands';
import { Dummy } from './dummy';

const PLUG_INS: Readonly<Record<string, (settings: ClusterSettings) => Cluster>> = {
  /** One command at a time. */
  sequential: (settings) => new Commands('sequential', settings),
  /** As many commands at a time as the cores and the memory allow that the agent was given. */
  multiprocess: (settings) => new Commands('multiprocess', settings),
  /** Runs nothing and reports success at once: for trying a workflow's shape. */
  dummy: (settings) => new Dummy(settings),
};

/** Names of the cluster types that `openCluster` knows. */
export const CLUSTER_TYPES: readonly string[] = Object.keys(PLUG_INS);

/** Makes a plug-in. Throws when there is none for this cluster type. */
export function openCluster(type: string, settings: ClusterSettings): Cluster {
  const make = PLUG_INS[type];
  if (make === undefined) throw new Error(`no plug-in for cluster type '${type}': there are ${CLUSTER_TYPES.join(', ')}`);
  return make(settings);
}
