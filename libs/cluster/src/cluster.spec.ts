import { describeCluster } from './cluster.conformance';
import { CLUSTER_TYPES, openCluster } from './plug-ins';

for (const type of CLUSTER_TYPES) describeCluster(type);

test('an unknown cluster type is refused with the names of the known ones', () => {
  const settings = { state_directory: '/nowhere', cores: 1, memory_gib: 1, onReport: () => undefined };
  expect(() => openCluster('slurm', settings)).toThrow(/'slurm'.*sequential, multiprocess, dummy/);
});
