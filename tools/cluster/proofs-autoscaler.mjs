/**
 * The real autoscaler controller on the chart's own autoscaler of the state machine, by metrics that the test sets: CPU and the lag of the bus. Pods are
 * stand-ins that only wait, so probes are taken off: what is looked at is what the controller makes of figures. The wait before pods go is cut short.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';

const NAMESPACE = 'jobmon-autoscaler';
const NAME = 'jobmon-state-machine';
const LAG = 'jobmon_bus_lag';
const FEW = 2;
const MANY = 5;
const SECONDS_MAX = 120;

const none = { replicas: 0, autoscaling: { enabled: false } };
const lag = { type: 'External', external: { metric: { name: LAG }, target: { type: 'AverageValue', averageValue: '100' } } };
const VALUES = {
  image: { registry: 'localhost', tag: 'waits', pullPolicy: 'Never' },
  database: { host: 'mariadb.example.org', existingSecret: 'jobmon-database' },
  nats: { url: 'nats://nats.example.org:4222' },
  migration: { enabled: false },
  ...{ api: none, scheduler: none, logSink: none, reaper: none },
  stateMachine: { autoscaling: { metrics: [lag] } },
};

/** This proof; `cluster` runs tools/cluster/control-plane, `done` a program with the cluster's environment, or throws what it said. */
export function autoscalerProofs({ root, cluster, done }) {
  const kubectl = (...args) => done('kubectl', ['-n', NAMESPACE, ...args]).stdout.trim();
  const patch = (object, type, body) => kubectl('patch', object, '--type', type, '-p', JSON.stringify(body));
  /** Waits for so many ready pods and no others; answers the seconds. */
  function reaches(count) {
    const began = Date.now();
    for (;;) {
      const { replicas = 0, readyReplicas = 0 } = JSON.parse(kubectl('get', `deployment/${NAME}`, '-o', 'json')).status;
      if (replicas === count && readyReplicas === count) return ((Date.now() - began) / 1_000).toFixed(1);
      if (Date.now() - began > SECONDS_MAX * 1_000)
        throw new Error(`${replicas} pods, ${readyReplicas} ready, not ${count}: ${kubectl('describe', `hpa/${NAME}`)}`);
      spawnSync('sleep', ['0.2']);
    }
  }
  const cpu = (sum) => cluster('metric', 'pods', NAMESPACE, NAME, 'cpu', sum);
  const bus = (sum) => cluster('metric', 'external', NAMESPACE, LAG, sum);

  function autoscaler() {
    const secret = { metadata: { name: 'jobmon-database', namespace: NAMESPACE }, stringData: { 'app-password': 'x' } };
    const made = [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
      { apiVersion: 'v1', kind: 'Secret', ...secret },
    ];
    done('kubectl', ['apply', '-f', '-'], made.map((object) => JSON.stringify(object)).join('\n---\n'));
    try {
      const toolbox = done('sh', ['-c', 'command -v toolbox']).stdout.trim();
      cluster('image', 'localhost/jobmon/state-machine:waits', '{"Entrypoint":["/toolbox","pause"]}', `${toolbox}:/toolbox`);
      cluster('metric', 'pods', NAMESPACE, NAME, 'memory', '200Mi');
      cpu('100m');
      bus('50');
      const chart = path.join(root, 'helm', 'jobmon');
      done('helm', ['-n', NAMESPACE, 'install', 'jobmon', chart, '--values', '-'], JSON.stringify(VALUES));
      const probes = { startupProbe: null, livenessProbe: null, readinessProbe: null };
      const containers = [{ name: 'state-machine', ...probes }];
      patch(`deployment/${NAME}`, 'strategic', { spec: { template: { spec: { containers } } } });
      const policies = [{ type: 'Percent', value: 100, periodSeconds: 15 }];
      patch(`hpa/${NAME}`, 'merge', { spec: { behavior: { scaleDown: { stabilizationWindowSeconds: 0, policies } } } });
      reaches(FEW);
      const seen = [];
      // 80 % of the 250m that a pod requests, and a lag of 100 for each: both figures are work for five.
      for (const [what, set, much, little] of [
        ['CPU', cpu, '900m', '100m'],
        ['bus lag', bus, '450', '50'],
      ]) {
        set(much);
        const up = reaches(MANY);
        set(little);
        seen.push(`${what} ${FEW} to ${MANY} in ${up} s and back in ${reaches(FEW)} s`);
      }
      return seen.join(', ');
    } finally {
      cluster('metric', 'clear');
      done('kubectl', ['delete', 'namespace', NAMESPACE, '--wait=false']);
    }
  }

  return [{ name: 'autoscaler', prove: autoscaler }];
}
