/** What a rendered chart needs of the place that it is put into. Pure: read off its objects, so that no rule of the chart is told twice. */
import { JobmonError } from '@jobmon/contracts';
import { objectsOf, type KubernetesObject } from './kubernetes';
import type { PodGroup, PodSpec } from './preflight-quota';

/** A secret that pods or routes read and the chart does not make. */
export interface WantedSecret {
  readonly name: string;
  readonly kind: 'opaque' | 'tls' | 'docker-registry';
  readonly keys: readonly string[];
}

/** Where a process finds a server, as its environment says. */
export interface Access {
  /** jobmon/process of the pod. */
  readonly process: string;
  /** Settings by their environment variable. */
  readonly settings: Readonly<Record<string, string>>;
  /** Settings that stand in a secret. */
  readonly secrets: Readonly<Record<string, SecretKey>>;
  /** Settings that name a file out of a secret: certificates. */
  readonly files: Readonly<Record<string, SecretKey>>;
}

interface SecretKey {
  readonly name: string;
  readonly key: string;
}

export interface Wanted {
  readonly objects: readonly KubernetesObject[];
  /** Release of the images; of a tag that no label can hold, what a label can. */
  readonly version: string;
  /** Where images come from: `registry.example.org:5000`. */
  readonly registry: string;
  readonly groups: readonly PodGroup[];
  readonly secrets: readonly WantedSecret[];
  readonly priorityClasses: readonly string[];
  readonly isScaling: boolean;
  /** One of each process; that of `database` and `nats` is there when they come with the release. */
  readonly accesses: readonly Access[];
  /** What max_connections of the database must allow at least, as the chart reckons it: all pods, and those that stay free for people. */
  readonly connections: number;
}

interface Container {
  readonly image?: string;
  readonly resources?: PodSpec['containers'][number]['resources'];
  readonly env?: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { readonly secretKeyRef?: SecretKey };
  }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}
interface Spec extends PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly volumes?: readonly { readonly name: string; readonly secret?: { readonly secretName: string } }[];
  readonly imagePullSecrets?: readonly { readonly name: string }[];
  readonly priorityClassName?: string;
}

/** The pod that an object makes: itself, or the template of it. */
export function podOf({ kind, metadata, spec }: KubernetesObject): { labels: Record<string, string>; spec: Spec } | undefined {
  if (kind === 'Pod') return { labels: { ...metadata.labels }, spec: spec as Spec };
  const template = ['Deployment', 'Job', 'StatefulSet', 'DaemonSet'].includes(kind) ? spec.template : undefined;
  return template === undefined ? undefined : { labels: { ...template.metadata?.labels }, spec: template.spec as Spec };
}

/**
 * Reads a manifest, hooks among the objects, as `helm template` writes it.
 *
 * @throws JobmonError MALFORMED when it has no api that tells the connections of the release, as another chart's or an older one's
 */
export function wantedBy(manifest: string): Wanted {
  const objects = objectsOf(manifest);
  const pods = objects.flatMap((object) => {
    const pod = podOf(object);
    return pod === undefined ? [] : [{ object, ...pod }];
  });
  const specs = pods.map(({ spec }) => spec);
  const api = pods.find(({ labels }) => labels['jobmon/process'] === 'api');
  const connections = Number(api?.object.metadata.annotations?.['jobmon/max-connections']);
  if (!(connections > 0)) throw new JobmonError('MALFORMED', NOT_OURS);
  const groups = pods.map(({ object, spec }) => groupOf(object, spec, objects));
  return {
    objects,
    version: api?.object.metadata.labels?.['app.kubernetes.io/version'] ?? '',
    registry: api?.spec.containers[0]?.image?.split('/')[0] ?? '',
    groups,
    secrets: secretsOf(objects, specs),
    priorityClasses: distinct(specs.flatMap(({ priorityClassName }) => priorityClassName ?? [])),
    isScaling: objects.some(({ kind }) => kind === 'HorizontalPodAutoscaler'),
    accesses: accessesOf(pods),
    connections,
  };
}

const NOT_OURS =
  'the chart has no api with the annotation jobmon/max-connections, so it is of another release: take the chart of this one, or the program of that one';

const distinct = <T>(values: readonly T[]): T[] => [...new Set(values)];

function groupOf({ kind, metadata, spec: owner }: KubernetesObject, spec: Spec, objects: readonly KubernetesObject[]): PodGroup {
  const isPassing = kind === 'Job' || kind === 'Pod';
  const scaler = objects.find((object) => object.kind === 'HorizontalPodAutoscaler' && aims(object, kind, metadata.name));
  const replicas = isPassing ? 1 : Number(owner.replicas ?? 1);
  const [pods_min, pods_max] = [scaler?.['spec'].minReplicas ?? replicas, scaler?.['spec'].maxReplicas ?? replicas];
  // A new pod before the old one goes, but where an old one has to go first.
  const surge = kind === 'Deployment' && owner.strategy?.type !== 'Recreate' ? 1 : 0;
  return { name: metadata.name, spec, pods_min, pods_max, surge, isPassing };
}
const aims = ({ spec }: KubernetesObject, kind: string, name: string): boolean =>
  spec.scaleTargetRef.kind === kind && spec.scaleTargetRef.name === name;

/** Keys of TLS secrets and of a registry's credentials, by the kinds that Kubernetes gives them. */
const KEYS: Readonly<Record<'tls' | 'docker-registry', readonly string[]>> = {
  tls: ['tls.crt', 'tls.key'],
  'docker-registry': ['.dockerconfigjson'],
};

function secretsOf(objects: readonly KubernetesObject[], specs: readonly Spec[]): WantedSecret[] {
  const made = new Set(objects.filter(({ kind }) => kind === 'Secret').map(({ metadata }) => metadata.name));
  const wanted = new Map<string, { kind: WantedSecret['kind']; keys: Set<string> }>();
  const want = (name: string, kind: WantedSecret['kind'], keys: readonly string[]): void => {
    if (made.has(name)) return;
    const standing = wanted.get(name) ?? { kind, keys: new Set<string>() };
    for (const key of keys) standing.keys.add(key);
    wanted.set(name, standing);
  };
  for (const { containers, initContainers = [], volumes = [], imagePullSecrets = [] } of specs) {
    const env = [...containers, ...initContainers].flatMap((container) => container.env ?? []);
    for (const { valueFrom } of env) {
      const { name, key } = valueFrom?.secretKeyRef ?? {};
      if (name !== undefined && key !== undefined) want(name, 'opaque', [key]);
    }
    for (const { secret } of volumes) if (secret !== undefined) want(secret.secretName, 'opaque', []);
    for (const container of [...containers, ...initContainers]) {
      for (const { name, key } of Object.values(filesOf(container, volumes))) want(name, 'opaque', [key]);
    }
    for (const { name } of imagePullSecrets) want(name, 'docker-registry', KEYS['docker-registry']);
  }
  for (const { kind, spec } of objects) {
    const names: unknown[] =
      kind === 'Ingress'
        ? (spec.tls ?? []).map((tls: { secretName?: string }) => tls.secretName)
        : kind === 'IngressRoute'
          ? [spec.tls?.secretName]
          : [];
    for (const name of names) if (typeof name === 'string') want(name, 'tls', KEYS.tls);
  }
  return [...wanted].map(([name, { kind, keys }]) => ({ name, kind, keys: [...keys] }));
}

/** The settings of a container that name a file which a secret is mounted as. */
function filesOf({ env = [], volumeMounts = [] }: Container, volumes: Spec['volumes'] = []): Record<string, SecretKey> {
  const files: Record<string, SecretKey> = {};
  for (const { name, value = '' } of env) {
    const mount = volumeMounts.find(({ mountPath }) => value.startsWith(`${mountPath}/`));
    const secret = volumes.find((volume) => volume.name === mount?.name)?.secret?.secretName;
    if (mount !== undefined && secret !== undefined) files[name] = { name: secret, key: value.slice(mount.mountPath.length + 1) };
  }
  return files;
}

function accessesOf(pods: readonly { labels: Record<string, string>; spec: Spec }[]): Access[] {
  const accesses = new Map<string, Access>();
  for (const { labels, spec } of pods) {
    const process = labels['jobmon/process'];
    if (process === undefined || accesses.has(process)) continue;
    const env = spec.containers.flatMap((container) => container.env ?? []);
    const told = env.filter(({ name }) => /^JOBMON__(DB|NATS)__/.test(name));
    const files = Object.assign({}, ...spec.containers.map((container) => filesOf(container, spec.volumes))) as Access['files'];
    const settings = told.flatMap(({ name, value }) =>
      value === undefined || files[name] !== undefined ? [] : [[name, value] as const],
    );
    const secrets = told.flatMap(({ name, valueFrom }) =>
      valueFrom?.secretKeyRef === undefined ? [] : [[name, valueFrom.secretKeyRef] as const],
    );
    accesses.set(process, { process, settings: Object.fromEntries(settings), secrets: Object.fromEntries(secrets), files });
  }
  return [...accesses.values()];
}
