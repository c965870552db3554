/** Where commands run: plug-ins behind one interface. */
export { KILL_GRACE_MS, type Cluster, type ClusterSettings } from './cluster';
export { CLUSTER_TYPES, openCluster } from './plug-ins';
export { excessOf } from './room';
export { clearLeftovers, type Leftovers } from './leftovers';
export { identityOf, isAlive, type ProcessIdentity } from './processes';
