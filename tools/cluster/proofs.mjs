/** What is proven on the real cluster, each by name. A proof answers its figure, or throws what it saw instead. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { adminProofs } from './proofs-admin.mjs';
import { migrationProofs } from './proofs-migration.mjs';
import { refusalProofs } from './proofs-refusals.mjs';
import { System } from './system.mjs';
import { VARIANTS } from './variants.mjs';

const NAMESPACE = 'jobmon-proof';
/** The proofs, in their order, on the cluster that `env` leads to, and what ends all that they started. */
export function proofsOf({ root, env }) {
  const call = (program, args, input) => {
    const { status, stdout, stderr, error } = spawnSync(program, args, {
      env,
      input,
      encoding: 'utf8',
      maxBuffer: 64 * 1024 ** 2,
    });
    return { isWell: status === 0, stdout: stdout ?? '', stderr: stderr ?? error?.message ?? '' };
  };
  const done = (program, args, input) => {
    const { isWell, stdout, stderr } = call(program, args, input);
    if (!isWell) throw new Error(`${program} ${args.slice(0, 3).join(' ')}: ${stderr.trim()}`);
    return { stdout, stderr };
  };
  const cluster = (...args) => done(path.join(root, 'tools', 'cluster', 'control-plane'), args);
  const namespace = () =>
    done(
      'kubectl',
      ['apply', '-f', '-'],
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: {
          name: NAMESPACE,
          labels: { 'pod-security.kubernetes.io/enforce': 'restricted', 'pod-security.kubernetes.io/warn': 'restricted' },
        },
      }),
    );
  const strictly = (text) =>
    call('kubectl', ['-n', NAMESPACE, 'apply', '--dry-run=server', '--validate=strict', '-f', '-'], text);

  function node() {
    const nodes = JSON.parse(done('kubectl', ['get', 'nodes', '-o', 'json']).stdout).items;
    const ready = nodes.filter(({ status }) =>
      status.conditions.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
    );
    if (ready.length !== 1) throw new Error(`${ready.length} of ${nodes.length} nodes are ready, not one`);
    const { kubeletVersion, containerRuntimeVersion } = ready[0].status.nodeInfo;
    return `kubelet ${kubeletVersion}, ${containerRuntimeVersion}`;
  }

  /** The server itself says what it would refuse: a privileged pod, and a member that no schema has. */
  function refusals() {
    namespace();
    const container = { name: 'a', image: 'localhost/a:1' };
    const pod = (spec) => JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'refused' }, spec });
    const privileged = strictly(pod({ containers: [{ ...container, securityContext: { privileged: true } }] }));
    if (privileged.isWell || !/violates PodSecurity "restricted/.test(privileged.stderr))
      throw new Error('a privileged pod was let in');
    const unknown = strictly(pod({ containers: [{ ...container, imagePolicy: 'x' }] }));
    if (unknown.isWell || !/unknown field/.test(unknown.stderr)) throw new Error('an unknown field was let in');
    return 'a privileged pod and an unknown field are refused';
  }

  /** Every variant of values is taken by the server, without a warning of PodSecurity. */
  function dryRun() {
    namespace();
    const definitions = cluster('definitions').stdout.trim();
    done('kubectl', ['apply', '--server-side', '-f', definitions]);
    try {
      done('kubectl', ['wait', '--for=condition=Established', '--timeout=60s', '-f', definitions]);
      return variantsTaken();
    } finally {
      done('kubectl', ['delete', '-f', definitions]);
    }
  }

  function variantsTaken() {
    const { gitVersion } = JSON.parse(done('kubectl', ['version', '-o', 'json']).stdout).serverVersion;
    const flags = ['-n', NAMESPACE, '--kube-version', gitVersion, '--values', '-'];
    const bad = [];
    let objects = 0;
    const chart = path.join(root, 'helm', 'jobmon');
    for (const { name, values } of VARIANTS) {
      const { stdout } = done('helm', ['template', 'jobmon', chart, ...flags], JSON.stringify(values));
      const answer = strictly(stdout);
      objects += answer.stdout.split('\n').filter((line) => line.endsWith('(server dry run)')).length;
      if (!answer.isWell || answer.stderr !== '') bad.push(`${name}: ${answer.stderr.trim()}`);
    }
    const secrets = strictly(readFileSync(path.join(root, 'docs', 'operating', 'external-secrets.yaml'), 'utf8'));
    if (!secrets.isWell || secrets.stderr !== '') bad.push(`external-secrets.yaml: ${secrets.stderr.trim()}`);
    if (bad.length > 0) throw new Error(`${bad.length} of ${VARIANTS.length} variants: ${bad[0]}`);
    return `${VARIANTS.length} variants, ${objects} objects, strictly and under PodSecurity restricted; external-secrets.yaml`;
  }

  const helm = (...args) => done('helm', ['-n', NAMESPACE, ...args]);
  const CHART = path.join(root ?? '', 'helm', 'jobmon');
  /** Without the migration and without waiting: what is looked at are objects, so no image is needed. */
  const asObjects = (level) => [
    ...['--set', 'image.registry=localhost,image.pullPolicy=Never,migration.enabled=false,settings.log.level=' + level],
    ...['--set', 'database.builtIn.enabled=true,nats.builtIn.enabled=true'],
  ];
  const objects = () => {
    const kinds = done('kubectl', ['api-resources', '--namespaced', '--verbs=list', '-o', 'name']).stdout.trim().split('\n');
    const asked = kinds.filter((kind) => !/^events|\.metrics\.k8s\.io$/.test(kind)).join(',');
    const found = done('kubectl', ['-n', NAMESPACE, 'get', asked, '-o', 'name']).stdout.trim().split('\n');
    return found.filter((name) => name !== '' && !/^(serviceaccount\/default|configmap\/kube-root-ca.crt)$/.test(name));
  };

  /** What an installation made is gone after it was uninstalled, Secrets and volumes too. */
  function uninstall() {
    namespace();
    const before = objects();
    if (before.length > 0) throw new Error(`the namespace is not empty: ${before.join(', ')}`);
    helm('install', 'jobmon', CHART, ...asObjects('info'));
    const standing = objects().length;
    if (standing < 20) throw new Error(`only ${standing} objects were made`);
    helm('uninstall', 'jobmon', '--wait');
    for (let look = 0; look < 120 && objects().length > 0; look += 1) spawnSync('sleep', ['0.5']);
    const left = objects();
    if (left.length > 0) throw new Error(`${left.length} of ${standing} objects are left: ${left.slice(0, 5).join(', ')}`);
    return `${standing} objects made, none left`;
  }

  const system = new System({ root, env, cluster, done });
  const proofs = [
    { name: 'node', prove: node },
    { name: 'refusals', prove: refusals },
    { name: 'dry-run', prove: dryRun },
    { name: 'uninstall', prove: uninstall },
    ...adminProofs({ root, env, done }),
    ...migrationProofs({ root, cluster, done }),
    ...refusalProofs({ root, done }),
    ...system.proofs,
  ];
  return { proofs, close: () => system.close() };
}
