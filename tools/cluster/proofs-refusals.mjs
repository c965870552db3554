/**
 * Names and neighbours, on objects that a real server took: a release at the longest name that helm allows, one above it, and releases side by side
 * in one namespace and in two. Nothing waits for a pod, so no image is needed.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';

/** The longest name of a release that helm takes, and the longest of a namespace. */
const RELEASE_LENGTH_MAX = 53;
const NAMESPACE_LENGTH_MAX = 63;
const GONE_SECONDS_MAX = 120;
const KINDS =
  'deployments,statefulsets,services,configmaps,secrets,serviceaccounts,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers';

const VALUES = JSON.stringify({
  image: { registry: 'localhost:5000/team', pullPolicy: 'Never' },
  migration: { enabled: false },
  database: { builtIn: { enabled: true } },
  nats: { builtIn: { enabled: true } },
});

/** These proofs; `done` runs a program with the cluster's environment, or throws what it said. */
export function refusalProofs({ root, done }) {
  const chart = path.join(root ?? '', 'helm', 'jobmon');
  const helm = (namespace, command, release, ...more) => {
    const given = command === 'install' || command === 'template' ? [chart, '--values', '-'] : [];
    return done('helm', ['-n', namespace, command, release, ...given, ...more], VALUES).stdout;
  };
  const expect = (isSo, complaint) => {
    if (!isSo) throw new Error(complaint);
  };
  const make = (name) => {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    done('kubectl', ['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }));
  };
  const objects = (namespace, release) =>
    JSON.parse(
      done('kubectl', ['-n', namespace, 'get', KINDS, '-l', `app.kubernetes.io/instance=${release}`, '-o', 'json']).stdout,
    ).items;
  const ids = (found) =>
    found
      .map(({ kind, metadata }) => `${kind}/${metadata.name} ${metadata.uid}`)
      .sort()
      .join();
  const inNamespaces = (names, prove) => {
    try {
      names.forEach(make);
      return prove();
    } finally {
      done('kubectl', ['delete', 'namespace', ...names, '--ignore-not-found', '--wait=false']);
    }
  };
  const isMatch = (selector, labels) => Object.entries(selector).every(([key, value]) => labels[key] === value);

  /** Every object of the longest name is taken, with the test's pod; each Service finds the pods of one workload; one letter more is refused. */
  function names() {
    const [namespace, release] = ['n'.repeat(NAMESPACE_LENGTH_MAX), 'r'.repeat(RELEASE_LENGTH_MAX)];
    return inNamespaces([namespace], () => {
      const { gitVersion } = JSON.parse(done('kubectl', ['version', '-o', 'json']).stdout).serverVersion;
      const taken = done(
        'kubectl',
        ['-n', namespace, 'apply', '--dry-run=server', '--validate=strict', '-f', '-'],
        helm(namespace, 'template', release, '--kube-version', gitVersion),
      ).stdout;
      const test = taken.split('\n').filter((line) => /^pod\//.test(line));
      expect(test.length > 0, 'no pod of helm test is among the objects');
      helm(namespace, 'install', release);
      const made = objects(namespace, release);
      const workloads = made.filter(({ kind }) => ['Deployment', 'StatefulSet'].includes(kind));
      const services = made.filter(({ kind, spec }) => kind === 'Service' && spec.selector !== undefined);
      expect(services.length > 0, 'no Service was made');
      for (const { metadata, spec } of services) {
        const found = workloads.filter((one) => isMatch(spec.selector, one.spec.template.metadata.labels));
        expect(found.length === 1, `the Service ${metadata.name} finds the pods of ${found.length} workloads`);
      }
      const longest = Math.max(...made.map(({ metadata }) => metadata.name.length));
      helm(namespace, 'uninstall', release);
      let said = '';
      try {
        helm(namespace, 'install', `${release}r`);
      } catch (error) {
        said = error.message;
      }
      const sentence = said.split('\n').find((line) => /release name|must be no more|length/i.test(line));
      expect(sentence !== undefined, `a release of ${RELEASE_LENGTH_MAX + 1} letters: ${said || 'was taken'}`);
      return `${made.length} objects of a release of ${RELEASE_LENGTH_MAX} letters, names up to ${longest}; ${services.length} Services find one workload each; one letter more is refused`;
    });
  }

  /** Two releases in one namespace and one of the same name in another: no selector finds another's pods, and one uninstalled leaves the others as they were. */
  function neighbours() {
    const [here, there] = ['jobmon-neighbours-a', 'jobmon-neighbours-b'];
    return inNamespaces([here, there], () => {
      const all = [
        [here, 'jobmon'],
        [here, 'second'],
        [there, 'jobmon'],
      ];
      for (const [namespace, release] of all) helm(namespace, 'install', release);
      const [first, second] = [objects(here, 'jobmon'), objects(here, 'second')];
      let selectors = 0;
      for (const [own, other] of [
        [first, second],
        [second, first],
      ]) {
        const pods = other.flatMap(({ spec }) => spec?.template?.metadata.labels ?? []);
        expect(pods.length > 0, 'a release has no workload');
        for (const { kind, metadata, spec } of own) {
          const selector =
            kind === 'NetworkPolicy'
              ? (spec.podSelector.matchLabels ?? {})
              : (spec?.selector?.matchLabels ?? (kind === 'Service' ? spec.selector : undefined));
          if (selector === undefined) continue;
          selectors += 1;
          expect(!pods.some((labels) => isMatch(selector, labels)), `${kind} ${metadata.name} finds the other release's pods`);
        }
      }
      const before = [ids(second), ids(objects(there, 'jobmon'))];
      helm(here, 'uninstall', 'jobmon', '--wait');
      const began = Date.now();
      while (objects(here, 'jobmon').length > 0 && Date.now() - began < GONE_SECONDS_MAX * 1_000) spawnSync('sleep', ['0.2']);
      expect(objects(here, 'jobmon').length === 0, 'the uninstalled release left objects');
      const after = [ids(objects(here, 'second')), ids(objects(there, 'jobmon'))];
      expect(before.join() === after.join(), 'uninstalling one release touched another');
      return `${selectors} selectors of two releases in one namespace find no pod of the other; ${first.length} objects uninstalled, ${second.length} beside and those of another namespace untouched`;
    });
  }

  return [
    { name: 'names', prove: names },
    { name: 'neighbours', prove: neighbours },
  ];
}
