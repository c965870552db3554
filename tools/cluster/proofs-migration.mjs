/**
 * What a migration that fails leaves in the cluster: its Job with its log, which no uninstall takes away since it is a hook, and which the cluster
 * itself deletes by the age that the chart gives it. The image is a stand-in that ends with an error: what is looked at is what helm and the cluster do.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';

const NAMESPACE = 'jobmon-migration';
const JOB = 'job/jobmon-migrate';
/** What the chart promises for the log of a migration that failed. */
const KEPT_SECONDS = 86_400;
const GONE_SECONDS_MAX = 120;

const VALUES = {
  image: { registry: 'localhost', tag: 'refuses', pullPolicy: 'Never' },
  database: { host: 'mariadb.example.org', existingSecret: 'jobmon-database' },
  nats: { url: 'nats://nats.example.org:4222', existingSecret: 'jobmon-nats' },
  migration: { attempts: 1, deadlineSeconds: 120 },
};

/** This proof; `cluster` runs tools/cluster/control-plane, `done` a program with the cluster's environment, or throws what it said. */
export function migrationProofs({ root, cluster, done }) {
  const kubectl = (...args) => done('kubectl', ['-n', NAMESPACE, ...args]).stdout.trim();
  const left = () =>
    kubectl('get', 'all,jobs,secrets,configmaps,serviceaccounts,networkpolicies,poddisruptionbudgets', '-o', 'name')
      .split('\n')
      .filter((name) => !['', 'configmap/kube-root-ca.crt', 'serviceaccount/default', 'secret/jobmon-database'].includes(name));
  const expect = (isSo, complaint) => {
    if (!isSo) throw new Error(complaint);
  };

  function failedHook() {
    const [labels, metadata] = [{ 'pod-security.kubernetes.io/enforce': 'restricted' }, { namespace: NAMESPACE }];
    const secret = { metadata: { ...metadata, name: 'jobmon-database' }, stringData: { 'migrate-password': 'x' } };
    const made = [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, labels } },
      { apiVersion: 'v1', kind: 'Secret', ...secret },
    ];
    done('kubectl', ['apply', '-f', '-'], made.map((object) => JSON.stringify(object)).join('\n---\n'));
    try {
      const toolbox = done('sh', ['-c', 'command -v toolbox']).stdout.trim();
      cluster('image', 'localhost/jobmon/admin:refuses', '{"Entrypoint":["/toolbox"]}', `${toolbox}:/toolbox`);
      const chart = path.join(root, 'helm', 'jobmon');
      let said = '';
      try {
        done('helm', ['-n', NAMESPACE, 'install', 'jobmon', chart, '--values', '-', '--timeout', '120s'], JSON.stringify(VALUES));
      } catch (error) {
        said = error.message;
      }
      expect(/pre-install/.test(said), `the installation did not fail in its hook: ${said || 'it succeeded'}`);
      expect(kubectl('get', 'deployments', '-o', 'name') === '', 'services were made after a failed migration');
      done('helm', ['-n', NAMESPACE, 'uninstall', 'jobmon', '--wait']);
      const log = kubectl('logs', JOB);
      expect(log !== '', 'the log of the failed migration is gone');
      const job = JSON.parse(kubectl('get', JOB, '-o', 'json'));
      const { ttlSecondsAfterFinished: kept } = job.spec;
      expect(kept === KEPT_SECONDS, `the Job is kept for ${kept} s, not ${KEPT_SECONDS}`);
      const besides = left().filter((name) => !/^(job\.batch|pod)\/jobmon-migrate/.test(name));
      expect(besides.length === 0, `left besides the Job: ${besides.join(', ')}`);
      // As if a day had passed.
      kubectl('patch', JOB, '-p', JSON.stringify({ spec: { ttlSecondsAfterFinished: 1 } }));
      const began = Date.now();
      while (left().length > 0 && Date.now() - began < GONE_SECONDS_MAX * 1_000) spawnSync('sleep', ['0.2']);
      expect(left().length === 0, `left after the Job's time: ${left().join(', ')}`);
      const seconds = ((Date.now() - began) / 1_000).toFixed(1);
      return `its log is there after the uninstall, for ${kept / 3_600} h; Job and pod went by themselves ${seconds} s after that time was cut to 1 s`;
    } finally {
      done('kubectl', ['delete', 'namespace', NAMESPACE, '--wait=false']);
    }
  }

  return [{ name: 'failed-hook', prove: failedHook }];
}
