/**
 * The real autoscaler controller on each of the installed services, by metrics that the test sets: CPU of all, and the lag of the bus for the state machine.
 * The chart's five minutes before pods go are cut short.
 */
import { spawnSync } from 'node:child_process';

const LAG = 'jobmon_bus_lag';
const LAGGING = 'jobmon-state-machine';
const FEW = 2;
const MANY = 5;
const SECONDS_MAX = 120;
/** Four fifths of the 20m that a pod of system.mjs requests, for one pod less than five, and a half. */
const MUCH = '72m';
const LITTLE = '10m';

/** This proof of an installed `system` (system.mjs). */
export function autoscalerProof(system, namespace) {
  const get = (...args) => JSON.parse(system.kubectl('get', ...args, '-o', 'json'));
  /** Waits for so many ready pods and no others; answers the seconds. */
  function reaches(name, count) {
    const began = Date.now();
    for (;;) {
      const { replicas = 0, readyReplicas = 0 } = get(`deployment/${name}`).status;
      if (replicas === count && readyReplicas === count) return (Date.now() - began) / 1_000;
      if (Date.now() - began > SECONDS_MAX * 1_000)
        throw new Error(
          `${name}: ${replicas} pods, ${readyReplicas} ready, not ${count}: ${system.kubectl('describe', `hpa/${name}`)}`,
        );
      spawnSync('sleep', ['0.2']);
    }
  }
  const cpu = (name, sum) => system.cluster('metric', 'pods', namespace, name, 'cpu', sum);
  const bus = (sum) => system.cluster('metric', 'external', namespace, LAG, sum);

  function autoscaler() {
    const scaling = { enabled: true, min: FEW, max: MANY };
    const lag = { type: 'External', external: { metric: { name: LAG }, target: { type: 'AverageValue', averageValue: '100' } } };
    const values = system.values({ autoscaling: scaling });
    values.stateMachine = { ...values.stateMachine, autoscaling: { ...scaling, metrics: [lag] } };
    try {
      bus('50');
      system.helm('upgrade', values, '--wait', '--timeout', `${SECONDS_MAX}s`);
      const names = get('hpa').items.map(({ metadata }) => metadata.name);
      const policies = [{ type: 'Percent', value: 100, periodSeconds: 15 }];
      const soon = { spec: { behavior: { scaleDown: { stabilizationWindowSeconds: 0, policies } } } };
      for (const name of names) {
        system.cluster('metric', 'pods', namespace, name, 'memory', '40Mi');
        cpu(name, LITTLE);
        system.kubectl('patch', `hpa/${name}`, '--type', 'merge', '-p', JSON.stringify(soon));
        reaches(name, FEW);
      }
      const seen = [];
      const play = (what, name, set, much, little) => {
        set(much);
        const up = reaches(name, MANY);
        set(little);
        seen.push(`${what} ${up.toFixed(1)} s and ${reaches(name, FEW).toFixed(1)} s`);
      };
      for (const name of names) play(name.replace(/^jobmon-/, ''), name, (sum) => cpu(name, sum), MUCH, LITTLE);
      play('the state machine by bus lag', LAGGING, bus, '450', '50');
      return `${FEW} to ${MANY} and back by CPU: ${seen.join(', ')}; ${system.helmTest()}`;
    } finally {
      system.cluster('metric', 'clear');
    }
  }

  return { name: 'autoscaler', prove: autoscaler };
}
