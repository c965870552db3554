/** What a cluster and a namespace must have before the chart is installed, asked of the cluster itself; each lack with the line that mends it. */
import { JobmonError } from '@jobmon/contracts';
import { refused, type Kubernetes, type KubernetesObject, type ResourceKind } from './kubernetes';
import { podOf, type Wanted, type WantedSecret } from './preflight-chart';
import { askedByAll, lacks, takenBy, written } from './preflight-quota';

/** What one look came to. */
export interface Finding {
  readonly check: string;
  /** `skipped`: whoever called said so, or there is nothing to look at. */
  readonly verdict: 'well' | 'missing' | 'skipped';
  /** What was found. */
  readonly found: string;
  /** What to type, in this order. */
  readonly lines: readonly string[];
}

/** The secrets of the namespace that were looked for, by name and key, as texts. */
export type Secrets = ReadonlyMap<string, ReadonlyMap<string, string>>;

export const well = (check: string, found: string): Finding => ({ check, verdict: 'well', found, lines: [] });
export const skipped = (check: string, found: string): Finding => ({ check, verdict: 'skipped', found, lines: [] });
export const missing = (check: string, found: string, ...lines: string[]): Finding => ({
  check,
  verdict: 'missing',
  found,
  lines,
});

/** What helm does with each kind of the chart's objects, and waits for. */
const VERBS = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'];
/** Looked at by helm's `--wait` and its tests, made by others. */
const WATCHED = [
  { apiVersion: 'v1', kind: 'Pod' },
  { apiVersion: 'apps/v1', kind: 'ReplicaSet' },
];
const PREFIX = 'pod-security.kubernetes.io';

/** How the kinds that a cluster lacks come to it, or what to do without them. */
const SOURCES: Readonly<Record<string, readonly [from: string, without: string]>> = {
  HTTPRoute: [
    'kubectl apply -f https://github.com/kubernetes-sigs/gateway-api/releases/latest/download/standard-install.yaml',
    'route.kind=ingress',
  ],
  IngressRoute: [
    'helm -n traefik upgrade --install traefik traefik --repo https://traefik.github.io/charts --create-namespace',
    'route.kind=ingress',
  ],
  ServiceMonitor: [
    'helm -n monitoring upgrade --install monitoring kube-prometheus-stack --repo https://prometheus-community.github.io/helm-charts --create-namespace',
    'monitoring.serviceMonitor=false',
  ],
  PrometheusRule: [
    'helm -n monitoring upgrade --install monitoring kube-prometheus-stack --repo https://prometheus-community.github.io/helm-charts --create-namespace',
    'monitoring.prometheusRule=false',
  ],
  PodMetrics: [
    'kubectl apply -f https://github.com/kubernetes-sigs/metrics-server/releases/latest/download/components.yaml',
    '<service>.autoscaling.enabled=false for each of them',
  ],
};

/** Whether it is there, and which level of PodSecurity it keeps. */
export async function namespaceCheck(cluster: Kubernetes): Promise<Finding> {
  const { namespace } = cluster;
  const create = `kubectl create namespace ${namespace}`;
  const restrict = `kubectl label namespace ${namespace} ${PREFIX}/enforce=restricted`;
  let found: KubernetesObject | undefined;
  try {
    [found] = await cluster.get('namespace', namespace);
  } catch (error) {
    // Who may only look into his own namespace can't look at it from outside.
    if (/forbidden/i.test((error as Error).message))
      return skipped('namespace', `you may not look at the namespace ${namespace} itself`);
    throw error;
  }
  if (found === undefined) return missing('namespace', `there is no namespace ${namespace}`, create, restrict);
  if (found.metadata.deletionTimestamp !== undefined)
    return missing(
      'namespace',
      `${namespace} is being deleted: wait for its end`,
      `kubectl wait --for=delete namespace/${namespace}`,
      create,
      restrict,
    );
  const level = found.metadata.labels?.[`${PREFIX}/enforce`];
  return well('namespace', `${namespace}, PodSecurity ${level ?? `not enforced (the chart keeps restricted: ${restrict})`}`);
}

/** Whether the cluster knows every kind of object, and has figures for the autoscaler. */
export function kindsCheck(wanted: Wanted, known: readonly ResourceKind[]): Finding {
  const has = (apiVersion: string, kind: string): boolean =>
    known.some((one) => one.kind === kind && (one.apiVersion === apiVersion || apiVersion === ''));
  const lacking = distinctKinds(wanted.objects).filter(({ apiVersion, kind }) => !has(apiVersion, kind));
  const names = lacking.map(({ apiVersion, kind }) => `${kind} (${apiVersion})`);
  const sources = lacking.map(({ kind }) => kind);
  if (wanted.isScaling && !has('', 'PodMetrics')) {
    names.push('the metrics of pods (metrics.k8s.io), by which autoscalers act');
    sources.push('PodMetrics');
  }
  if (names.length === 0) return well('kinds', `all ${distinctKinds(wanted.objects).length} kinds of objects are known`);
  const cures = sources.map((kind) => SOURCES[kind]).filter((cure) => cure !== undefined);
  const without = [...new Set(cures.map(([, value]) => value))];
  const or = without.length === 0 ? 'the cluster is too old for the chart' : `or do without: ${without.join(', ')}`;
  return missing('kinds', `the cluster does not know ${names.join(', ')}; ${or}`, ...new Set(cures.map(([from]) => from)));
}

/** Whether whoever calls may do what helm does. */
export async function rightsCheck(cluster: Kubernetes, wanted: Wanted, known: readonly ResourceKind[]): Promise<Finding> {
  const { namespace } = cluster;
  const kinds = [...distinctKinds(wanted.objects), ...WATCHED, { apiVersion: 'v1', kind: 'Secret' }].flatMap((one) =>
    known.filter(({ apiVersion, kind }) => apiVersion === one.apiVersion && kind === one.kind),
  );
  const reviews = [...new Set(kinds)].flatMap(({ resource }) => {
    const [name, ...group] = resource.split('.');
    return VERBS.map((verb) => ({
      ...{ apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectAccessReview' },
      spec: { resourceAttributes: { namespace, verb, resource: name, group: group.join('.') } },
    }));
  });
  const attribute = (name: string): string => `{.spec.resourceAttributes.${name}}`;
  const format = `jsonpath={.status.allowed}|${['verb', 'resource', 'group'].map(attribute).join('|')}{"\\n"}`;
  const answer = await cluster.kubectl(
    ['create', '--validate=false', '-f', '-', '-o', format],
    reviews.map((review) => JSON.stringify(review)).join('\n---\n'),
  );
  if (!answer.isWell) throw refused('kubectl auth can-i', answer);
  const refusals = answer.stdout
    .split('\n')
    .map((line) => line.split('|'))
    .filter((parts) => parts.length === 4 && parts[0] !== 'true')
    .map(([, of, name, from]) => ({ verb: of as string, resource: from === '' ? (name as string) : `${name}.${from}` }));
  const { stdout } = await cluster.kubectl(['auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}']);
  const who = stdout.trim() === '' ? 'YOU' : stdout.trim();
  if (refusals.length === 0) return well('rights', `${who} may do all that helm does in ${namespace}`);
  const resources = [...new Set(refusals.map((one) => one.resource))];
  const verbs = VERBS.filter((one) => refusals.some((refusal) => refusal.verb === one));
  const account = /^system:serviceaccount:([^:]+:[^:]+)$/.exec(who)?.[1];
  const subject = account === undefined ? `--user='${who}'` : `--serviceaccount=${account}`;
  const role = 'jobmon-installer';
  return missing(
    'rights',
    `${who} may not ${verbs.join(', ')} in ${namespace}: ${resources.join(', ')}; somebody who may give rights types`,
    cluster.line(`kubectl create role ${role} --verb=${VERBS.join(',')} --resource=${resources.join(',')}`),
    cluster.line(`kubectl create rolebinding ${role} --role=${role} ${subject}`),
  );
}

/** Secrets that values name: each there, with its keys, none of them empty. Answers what they hold, too. */
export async function secretsCheck(cluster: Kubernetes, wanted: Wanted): Promise<{ finding: Finding; secrets: Secrets }> {
  if (wanted.secrets.length === 0) return { finding: well('secrets', 'the chart makes its own'), secrets: new Map() };
  const found = await cluster.get('secret', ...wanted.secrets.map(({ name }) => name));
  const secrets = new Map(
    found.map(({ metadata, data }) => {
      const entries = Object.entries((data ?? {}) as Record<string, string>);
      return [metadata.name, new Map(entries.map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]))] as const;
    }),
  );
  const problems = wanted.secrets.flatMap((secret) => {
    const keys = secrets.get(secret.name);
    if (keys === undefined) return [{ told: `there is no secret ${secret.name}`, line: creation(cluster, secret, wanted) }];
    const lacking = secret.keys.filter((key) => (keys.get(key) ?? '') === '');
    if (lacking.length === 0) return [];
    const patch = JSON.stringify({ stringData: Object.fromEntries(lacking.map((key) => [key, '…'])) });
    const told = `the secret ${secret.name} lacks ${lacking.join(', ')}`;
    return [{ told, line: cluster.line(`kubectl patch secret ${secret.name} -p '${patch}'`) }];
  });
  if (problems.length > 0) {
    const finding = missing('secrets', problems.map(({ told }) => told).join('; '), ...problems.map(({ line }) => line));
    return { finding, secrets };
  }
  return { finding: well('secrets', wanted.secrets.map(({ name, keys }) => `${name} (${keys.join(', ')})`).join('; ')), secrets };
}

function creation(cluster: Kubernetes, { name, kind, keys }: WantedSecret, { registry }: Wanted): string {
  if (kind === 'tls') return cluster.line(`kubectl create secret tls ${name} --cert=FILE --key=FILE`);
  if (kind === 'docker-registry') {
    const flags = `--docker-server=${registry} --docker-username=… --docker-password=…`;
    return cluster.line(`kubectl create secret docker-registry ${name} ${flags}`);
  }
  const flags = keys.map((key) => (/\.(crt|key)$/.test(key) ? `--from-file=${key}=FILE` : `--from-literal=${key}=…`));
  return cluster.line(`kubectl create secret generic ${[name, ...flags].join(' ')}`);
}

/** Priority class and rights of the chart jobmon-global. */
export async function globalCheck(cluster: Kubernetes, wanted: Wanted): Promise<Finding> {
  const install = 'helm -n jobmon-global upgrade --install jobmon-global helm/jobmon-global --create-namespace';
  let dashboards = '';
  try {
    const roles = await cluster.get('clusterroles', '-l', 'app.kubernetes.io/name=jobmon-global');
    dashboards = `rights for dashboards ${roles.length > 0 ? 'are there' : `are not there, which Jobmon does not need (${install} --set dashboards.enabled=true)`}`;
  } catch (error) {
    if (!/forbidden/i.test((error as Error).message)) throw error;
    dashboards = 'you may not look whether rights for dashboards are there';
  }
  if (wanted.priorityClasses.length === 0) return well('global', `no priority class is asked for; ${dashboards}`);
  let found: KubernetesObject[];
  try {
    found = await cluster.get('priorityclass', ...wanted.priorityClasses);
  } catch (error) {
    if (!/forbidden/i.test((error as Error).message)) throw error;
    const ask = `kubectl get priorityclass ${wanted.priorityClasses.join(' ')}`;
    return skipped('global', `you may not look whether the priority class is there; whoever administers the cluster may: ${ask}`);
  }
  const lacking = wanted.priorityClasses.filter((name) => found.every(({ metadata }) => metadata.name !== name));
  if (lacking.length === 0) return well('global', `priority class ${wanted.priorityClasses.join(', ')}; ${dashboards}`);
  const lines = lacking.map((name) => `${install} --set priorityClass.name=${name}`);
  return missing('global', `there is no priority class ${lacking.join(', ')}; pods that name it are not made`, ...lines);
}

/** Each pod tried on the server, which says what PodSecurity, bounds of single pods or other guards refuse. */
export async function podsCheck(cluster: Kubernetes, wanted: Wanted): Promise<Finding> {
  const pods = wanted.objects.flatMap((object) => {
    const pod = podOf(object);
    if (pod === undefined) return [];
    // What other checks look at, or what comes with the release, is no matter here.
    const {
      priorityClassName: _,
      serviceAccountName: __,
      ...spec
    } = pod.spec as typeof pod.spec & { serviceAccountName?: string };
    const restart = object.kind === 'Deployment' ? {} : { restartPolicy: 'Never' };
    const metadata = { generateName: 'preflight-', labels: { 'jobmon/preflight': object.metadata.name } };
    return [{ apiVersion: 'v1', kind: 'Pod', metadata, spec: { ...spec, ...restart } }];
  });
  const flags = ['create', '--dry-run=server', '--validate=false', '-o', 'name', '-f', '-'];
  const answer = await cluster.kubectl(flags, pods.map((pod) => JSON.stringify(pod)).join('\n---\n'));
  // The quota has a check of its own, which reckons all pods together.
  const problems = answer.stderr
    .split('\n')
    .filter((line) => line.trim() !== '' && !/exceeded quota|^Warning: /.test(line))
    .map((line) =>
      line
        .replace(/^Error from server( \(\w+\))?: /, '')
        .replace(/error when creating "STDIN": /, '')
        .replace(/pods "preflight-\S*" is /, ''),
    );
  // Others make a release's pods: whoever installs needs no right to.
  if (problems.some((problem) => /cannot create resource "pods"/.test(problem)))
    return skipped('pods', 'you may not make pods, so none was tried');
  if (problems.length === 0) return well('pods', `the server takes all ${pods.length} kinds of pods (tried, none made)`);
  const told = [...new Set(problems)].slice(0, 3).join('; ').slice(0, 1_000);
  if (!told.includes('violates PodSecurity')) {
    return missing('pods', `the server refuses pods: ${told}`, cluster.line('kubectl describe limitranges'));
  }
  const level = told.includes('hostPath') ? 'privileged' : 'baseline';
  const cure = 'the chart itself keeps restricted: take out the value that does not, or lower the level of the namespace';
  const label = `kubectl label --overwrite namespace ${cluster.namespace} ${PREFIX}/enforce=${level}`;
  return missing('pods', `the server refuses pods: ${told}; ${cure}`, label);
}

/** Whether all pods together, and one more of each during an upgrade, fit into the namespace's quotas. */
export async function quotaCheck(cluster: Kubernetes, wanted: Wanted, release: string): Promise<Finding> {
  const quotas = await cluster.get('resourcequota');
  const { least, most } = askedByAll(wanted.groups);
  const tell = (name: string, amount: number): string => `${name} ${written(name, amount)}`;
  const asked = (['requests.cpu', 'requests.memory', 'pods'] as const).map((name) => tell(name, least[name])).join(', ');
  if (quotas.length === 0) return well('quota', `there is none; the least that is asked for is ${asked}`);
  const own = takenBy(await cluster.get('pods', '-l', `app.kubernetes.io/name=jobmon,app.kubernetes.io/instance=${release}`));
  const short = quotas.flatMap((quota) => lacks(quota, least, own).map((lack) => ({ ...lack, quota: quota.metadata.name })));
  if (short.length > 0) {
    const told = short.map(
      ({ quota, name, needed, free }) => `${quota}: ${tell(name, needed)} are asked for, ${written(name, free)} are free`,
    );
    const lines = [...new Set(short.map(({ quota }) => quota))].map((quota) => {
      const hard = short
        .filter((lack) => lack.quota === quota)
        .map(({ name, hard_needed }) => [name, written(name, hard_needed)]);
      return cluster.line(
        `kubectl patch resourcequota ${quota} --type=merge -p '${JSON.stringify({ spec: { hard: Object.fromEntries(hard) } })}'`,
      );
    });
    return missing('quota', `${told.join('; ')} (one more pod of each during an upgrade is reckoned)`, ...lines);
  }
  const tight = quotas.flatMap((quota) => lacks(quota, most, own));
  const bound = tight.map(({ name, needed, free }) => `${tell(name, needed)} of ${written(name, free)}`).join(', ');
  return well('quota', `${asked} fit${tight.length === 0 ? '' : `; autoscaling to its end would need ${bound}`}`);
}

function distinctKinds(objects: readonly KubernetesObject[]): { apiVersion: string; kind: string }[] {
  const kinds = new Map(objects.map(({ apiVersion, kind }) => [`${apiVersion} ${kind}`, { apiVersion, kind }]));
  return [...kinds.values()];
}

/** What a check that could not look says. */
export function unseen(check: string, error: unknown): Finding {
  if (!(error instanceof JobmonError)) throw error;
  return missing(check, error.message);
}
