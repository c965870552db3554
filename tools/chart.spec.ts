/**
 * The charts, rendered by the real helm: every combination of values gives objects that three Kubernetes versions know by their strict schemas, that
 * keep the house's rules, and that fit together; values that make no sense are refused with a cure.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { loadConfig } from '@jobmon/runtime';
import Ajv from 'ajv';
import { parse } from 'yaml';
import {
  BUILT_IN,
  EXTERNAL,
  kubernetesProgram,
  natsConfiguration,
  objectsOf,
  plainManifests,
  plainMigration,
  renderText,
  type KubernetesObject,
  type Release,
  type Values,
} from './chart';

const ROOT = join(__dirname, '..');
const render = (values: Values, release?: Release): KubernetesObject[] => objectsOf(renderText(ROOT, values, release));
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

/** Values put over others, member by member; lists are replaced, as helm does. */
function over(below: Values, above: Values): Values {
  const isMap = (value: unknown): value is Values => typeof value === 'object' && value !== null && !Array.isArray(value);
  const merged: Record<string, unknown> = { ...below };
  for (const [key, value] of Object.entries(above)) {
    const standing = merged[key];
    merged[key] = isMap(value) && isMap(standing) ? over(standing, value) : value;
  }
  return merged;
}

// ------------------------------------------------------------------------------------------------------------------------ the matrix

const ROUTES: Values[] = [
  { route: { kind: 'none' } },
  { route: { kind: 'ingress', host: 'jobmon.example.org', tlsSecret: 'jobmon-tls', className: 'nginx' } },
  { route: { kind: 'gateway', host: 'jobmon.example.org', gateway: { name: 'edge', namespace: 'gateways', section: 'https' } } },
  { route: { kind: 'traefik', host: 'jobmon.example.org', tlsSecret: 'jobmon-tls' } },
];
const LOGINS: Values[] = [
  {
    login: {
      issuer: 'https://login.example.org/realms/research',
      audience: 'jobmon',
      roles: ['staff=operator'],
      pythonPort: 8072,
      pythonNetworks: ['10.0.0.0/8'],
    },
    networkPolicy: { pythonClients: [{ ipBlock: { cidr: '10.0.0.0/8' } }] },
  },
  { login: { mode: 'off', open: true, existingSecret: 'jobmon-token' } },
];
const off = { autoscaling: { enabled: false } };
const REAPER = {
  replicas: 1,
  autoscaling: { enabled: true, min: 1, max: 2, cpu: 80, memory: 80 },
  connections: 2,
  resources: { requests: { cpu: '50m', memory: '128Mi' }, limits: { cpu: '1', memory: '256Mi' } },
};
const SCALINGS: Values[] = [
  {
    monitoring: { serviceMonitor: true, prometheusRule: true },
    networkPolicy: { monitoring: [{ namespaceSelector: {} }] },
    settings: { log: { level: 'debug' }, agent: { lease_seconds: 90 } },
  },
  {
    api: off,
    stateMachine: off,
    scheduler: off,
    logSink: off,
    reapers: [
      { ...REAPER, version: '', autoscaling: { ...REAPER.autoscaling, enabled: false } },
      { ...REAPER, version: '0.0.9' },
    ],
    agents: { enabled: true, existingSecret: 'jobmon-agents', clusters: ['multiprocess'] },
    admin: { replicas: 1 },
    pods: { priorityClassName: 'jobmon-services', labels: { team: 'research' }, annotations: { note: 'ours' } },
  },
];
const ENCRYPTED = over(EXTERNAL, { database: { tls: { existingSecret: 'jobmon-database-tls' } } });
const DATABASES: Values[] = [ENCRYPTED, { ...BUILT_IN, nats: EXTERNAL['nats'] }, BUILT_IN];

const VARIANTS: { title: string; values: Values; objects: KubernetesObject[] }[] = [];
for (const [r, route] of ROUTES.entries())
  for (const [l, login] of LOGINS.entries())
    for (const [s, scaling] of SCALINGS.entries()) {
      // Where database and bus come from touches no object that the others touch but by names: they take turns.
      for (const [d, database] of DATABASES.entries()) {
        if ((r + l + s + d) % 2 === 1) continue;
        const values = [route, login, scaling].reduce(over, database);
        VARIANTS.push({ title: `route ${r}, login ${l}, scaling ${s}, database ${d}`, values, objects: [] });
      }
    }
beforeAll(() => {
  for (const variant of VARIANTS) variant.objects.push(...render(variant.values));
}, 120_000);

/** Runs a check on each variant and tells in which of them it failed. */
function onAll(check: (objects: KubernetesObject[], values: Values) => void): void {
  for (const { title, values, objects } of VARIANTS) {
    try {
      check(objects, values);
    } catch (error) {
      throw new Error(`${title}: ${(error as Error).message}`);
    }
  }
}

interface Container {
  name: string;
  image: string;
  env?: { name: string; value?: string; valueFrom?: Record<string, Record<string, string>> }[];
  ports?: { name: string; containerPort: number }[];
  volumeMounts?: { name: string; mountPath: string }[];
  resources: { requests: Record<string, string>; limits: Record<string, string> };
  [field: string]: unknown;
}
interface PodSpec {
  containers: Container[];
  initContainers?: Container[];
  [field: string]: unknown;
}
interface Template {
  readonly owner: KubernetesObject;
  readonly labels: Record<string, string>;
  readonly spec: PodSpec;
  readonly containers: Container[];
}

/** The pods that objects make. */
function podsOf(objects: readonly KubernetesObject[]): Template[] {
  return objects
    .filter(({ kind }) => ['Deployment', 'Job', 'Pod'].includes(kind))
    .map((owner) => {
      const { metadata, spec } = owner.kind === 'Pod' ? owner : owner['spec'].template;
      return { owner, labels: metadata.labels, spec, containers: [...(spec.initContainers ?? []), ...spec.containers] };
    });
}
const named = (objects: readonly KubernetesObject[], kind: string, name: string): KubernetesObject | undefined =>
  objects.find((object) => object.kind === kind && object.metadata.name === name);
/** Of a schema: an object's members. */
interface Section {
  readonly properties: Record<string, Section>;
}
const SERVICES = ['api', 'state-machine', 'scheduler', 'log-sink', 'reaper'];

describe('the objects', () => {
  it('are what Kubernetes 1.29, 1.33 and 1.37 know, without a field that they do not', () => {
    const kinds = new Map<string, Set<string>>();
    const texts = new Map<string, KubernetesObject>();
    for (const { objects } of VARIANTS) for (const object of objects) texts.set(JSON.stringify(object), object);
    for (const version of ['1.29.0', '1.33.0', '1.37.0']) {
      const schemas = JSON.parse(read(`tools/kubernetes-schemas/${version}.json`)) as {
        kinds: Record<string, string>;
        definitions: object;
      };
      const ajv = new Ajv({ allErrors: true, unknownFormats: 'ignore', logger: false });
      ajv.addSchema({ $id: 'kubernetes', definitions: schemas.definitions });
      for (const object of [
        ...texts.values(),
        ...render({ dashboards: { enabled: true, subjects: [{ kind: 'User', name: 'ada' }] } }, { chart: 'jobmon-global' }),
      ]) {
        const kind = `${object.apiVersion} ${object.kind}`;
        kinds.set(version, (kinds.get(version) ?? new Set()).add(kind));
        const definition = schemas.kinds[kind];
        if (definition === undefined) {
          // Custom resources, which only switches bring.
          expect(['HTTPRoute', 'IngressRoute', 'ServiceMonitor', 'PrometheusRule']).toContain(object.kind);
          continue;
        }
        const isGood = ajv.validate(`kubernetes#/definitions/${definition}`, object);
        expect([version, kind, object.metadata.name, isGood ? [] : ajv.errors]).toEqual([
          version,
          kind,
          object.metadata.name,
          [],
        ]);
      }
      const broken = { ...[...texts.values()].find(({ kind }) => kind === 'Deployment')!, spce: {} };
      expect(ajv.validate(`kubernetes#/definitions/${schemas.kinds['apps/v1 Deployment']}`, broken)).toBe(false);
    }
    expect(kinds.get('1.29.0')!.size).toBeGreaterThanOrEqual(15);
  });

  it('stay in the namespace that helm is told, and none is of the whole cluster or a custom resource definition', () => {
    const ofNamespaces =
      /^(Deployment|Service|ServiceAccount|ConfigMap|Secret|Job|Pod|PersistentVolumeClaim|HorizontalPodAutoscaler|PodDisruptionBudget|NetworkPolicy|Ingress|HTTPRoute|IngressRoute|ServiceMonitor|PrometheusRule)$/;
    onAll((objects) => {
      for (const { kind, metadata } of objects) {
        expect(kind).toMatch(ofNamespaces);
        expect(metadata.namespace).toBeUndefined();
      }
    });
  });

  it('have labels by which they are found, and names of their own', () => {
    onAll((objects) => {
      const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
      expect(new Set(names).size).toBe(names.length);
      for (const { metadata } of objects)
        expect(metadata.labels).toMatchObject({
          'app.kubernetes.io/name': 'jobmon',
          'app.kubernetes.io/instance': 'jobmon',
          'app.kubernetes.io/part-of': 'jobmon',
          'app.kubernetes.io/managed-by': 'Helm',
          'app.kubernetes.io/version': expect.stringMatching(/^[\w.-]+$/),
        });
    });
  });

  it('hold no secret: passwords and tokens come from secrets by their keys', () => {
    onAll((objects) => {
      for (const { owner, containers } of podsOf(objects))
        for (const { env = [] } of containers)
          for (const { name, value } of env) {
            const place = `${owner.metadata.name} ${name}`;
            if (/PASSWORD|TOKEN$|SECRET/.test(name)) expect([place, value]).toEqual([place, undefined]);
            expect([place, /:\/\/[^/]*:[^/]*@/.test(value ?? '')]).toEqual([place, false]);
          }
    });
    expect(VARIANTS.filter(({ objects }) => objects.some(({ kind }) => kind === 'Secret')).map(({ values }) => values)).toEqual(
      VARIANTS.filter(({ values }) => (values['database'] as Values)['builtIn'] !== undefined).map(({ values }) => values),
    );
  });
});

describe('every pod', () => {
  it('runs as an ordinary user who can get no more rights, on a root that can not be written', () => {
    onAll((objects) => {
      for (const { owner, spec, containers } of podsOf(objects)) {
        const place = `${owner.kind} ${owner.metadata.name}`;
        expect([place, spec]).toEqual([
          place,
          expect.objectContaining({
            automountServiceAccountToken: false,
            securityContext: expect.objectContaining({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } }),
          }),
        ]);
        expect((spec['securityContext'] as { runAsUser: number }).runAsUser).toBeGreaterThan(0);
        for (const field of ['hostNetwork', 'hostPID', 'hostIPC']) expect(spec[field]).toBeUndefined();
        for (const volume of (spec['volumes'] as object[] | undefined) ?? []) expect(volume).not.toHaveProperty('hostPath');
        for (const container of containers)
          expect(container['securityContext']).toEqual({
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          });
      }
    });
  });

  it('asks for what it needs and has a bound, and its image has a tag that says which', () => {
    onAll((objects) => {
      for (const { owner, containers } of podsOf(objects))
        for (const { image, resources } of containers) {
          for (const bound of ['requests', 'limits'] as const)
            expect([owner.metadata.name, Object.keys(resources[bound]).sort()]).toEqual([owner.metadata.name, ['cpu', 'memory']]);
          expect(image).toMatch(/(:[\w][\w.-]*|@sha256:[0-9a-f]{64})$/);
          expect(image).not.toMatch(/:latest$/);
        }
    });
  });

  it('is asked after its health, as far as it listens anywhere', () => {
    onAll((objects) => {
      for (const { owner, labels, containers } of podsOf(objects)) {
        const isWatched = owner.kind === 'Deployment' && !['agent', 'admin'].includes(labels['jobmon/process']!);
        for (const container of containers)
          for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe'])
            expect([owner.metadata.name, probe, container[probe] !== undefined]).toEqual([owner.metadata.name, probe, isWatched]);
      }
    });
  });

  it('of a service is drained, spread, replaced one by one, and not all of a service are evicted at one time', () => {
    onAll((objects) => {
      const deployments = podsOf(objects).filter(({ labels }) => SERVICES.includes(labels['jobmon/process']!));
      expect(deployments.length).toBeGreaterThanOrEqual(5);
      for (const { owner, spec } of deployments) {
        const { name } = owner.metadata;
        expect(spec['terminationGracePeriodSeconds']).toBe(35);
        expect((spec['topologySpreadConstraints'] as object[]).length).toBe(2);
        expect(spec['serviceAccountName']).toBe(name);
        expect(owner['spec'].strategy.rollingUpdate).toEqual({ maxSurge: 1, maxUnavailable: 0 });
        expect(named(objects, 'ServiceAccount', name)).toBeDefined();
        expect(named(objects, 'PodDisruptionBudget', name)?.['spec'].selector).toEqual(owner['spec'].selector);
      }
    });
  });
});

describe('what belongs together', () => {
  it('is a database with TLS and the authority in each container that talks to it', () => {
    const tried = new Set<string>();
    for (const { labels, containers } of podsOf(render(over(ENCRYPTED, { admin: { replicas: 1 } }))))
      for (const { name, env = [], volumeMounts = [] } of containers) {
        if (!env.some((one) => one.name === 'JOBMON__DB__URL')) continue;
        const file = env.find((one) => one.name === 'JOBMON__DB__TLS_CA_FILE')?.value;
        const folders = volumeMounts.map(({ mountPath }) => `${mountPath}/ca.crt`);
        expect([name, folders]).toEqual([name, expect.arrayContaining([file])]);
        tried.add(String(labels['jobmon/process']));
      }
    const all = ['admin', 'api', 'log-sink', 'migrate', 'reaper', 'scheduler', 'smoke-test', 'state-machine'];
    expect([...tried].sort()).toEqual(all);
  });

  it('is found: selectors, ports, secrets, volumes and addresses lead somewhere', () => {
    onAll((objects, values) => {
      const pods = podsOf(objects);
      const isSelected = (selector: Record<string, string>) =>
        pods.filter(({ labels }) => Object.entries(selector).every(([key, value]) => labels[key] === value));
      for (const { kind, metadata, spec } of objects) {
        if (kind === 'Deployment' || kind === 'PodDisruptionBudget') {
          expect([kind, metadata.name, isSelected(spec.selector.matchLabels).length]).toEqual([kind, metadata.name, 1]);
        }
        if (kind === 'Service') {
          const chosen = isSelected(spec.selector);
          for (const { targetPort } of spec.ports) {
            const ports = chosen.flatMap(({ containers }) => containers.flatMap((container) => container.ports ?? []));
            expect(ports.map(({ name }) => name)).toContain(targetPort);
          }
        }
        if (kind === 'HorizontalPodAutoscaler') expect(named(objects, 'Deployment', spec.scaleTargetRef.name)).toBeDefined();
      }
      const given = JSON.stringify(values);
      for (const { containers, spec } of pods) {
        const volumes = (spec['volumes'] as { name: string; configMap?: { name: string } }[]).map((volume) => volume);
        for (const { configMap } of volumes) if (configMap) expect(named(objects, 'ConfigMap', configMap.name)).toBeDefined();
        for (const { env = [], volumeMounts = [] } of containers) {
          for (const { name } of volumeMounts) expect(volumes.map((volume) => volume.name)).toContain(name);
          for (const { valueFrom, value, name } of env) {
            const secret = valueFrom?.['secretKeyRef'];
            if (secret !== undefined && !given.includes(`"existingSecret":"${secret['name']}"`)) {
              expect(Object.keys(named(objects, 'Secret', secret['name']!)?.['data'] ?? {})).toContain(secret['key']);
            }
            const host = /^(?:mariadb|nats|http):\/\/([a-z0-9-]+)(?::(\d+))?(?:\/|$)/.exec(value ?? '');
            if (host === null || /ISSUER|ALLOWED/.test(name)) continue;
            const service = named(objects, 'Service', host[1]!);
            expect(service?.['spec'].ports.map(({ port }: { port: number }) => port)).toContain(Number(host[2] ?? 80));
          }
        }
      }
    });
  });

  it('may talk, and nothing else: the reaper, the sink and the state machine are reached by nobody', () => {
    onAll((objects) => {
      const policies = objects.filter(({ kind }) => kind === 'NetworkPolicy');
      const [closed] = policies;
      expect(closed?.['spec'].policyTypes).toEqual(['Ingress', 'Egress']);
      expect(closed?.['spec'].ingress).toBeUndefined();
      for (const { labels } of podsOf(objects))
        for (const [key, value] of Object.entries(closed?.['spec'].podSelector.matchLabels as object))
          expect(labels[key]).toBe(value);
      const openTo = (process: string): unknown[] =>
        policies
          .filter(({ spec }) => spec.podSelector.matchExpressions?.[0].values.includes(process) === true)
          .flatMap(({ spec }) =>
            (spec.ingress ?? []).flatMap(({ ports }: { ports: { port: unknown }[] }) => ports.map(({ port }) => port)),
          );
      for (const process of ['reaper', 'log-sink', 'state-machine', 'scheduler'])
        expect(openTo(process).filter((port) => port !== 'metrics')).toEqual([]);
      expect(openTo('api')).toContain('http');
      const services = objects.filter(({ kind, spec }) => kind === 'Service' && spec.clusterIP !== 'None');
      const known = services.map(({ spec }) => spec.selector['app.kubernetes.io/component']).sort();
      expect(['api,database,nats', 'api,database', 'api']).toContain(known.join());
    });
  });

  it('lets each process to what it needs, by the policies as a network plug-in reads them, and to nothing else', () => {
    interface Peer {
      podSelector?: Selector;
      ipBlock?: unknown;
    }
    interface Selector {
      matchLabels?: Record<string, string>;
      matchExpressions?: { key: string; values: string[] }[];
    }
    interface Rule {
      ports?: { port: number | string }[];
      from?: Peer[];
      to?: Peer[];
    }
    const values = over(BUILT_IN, { agents: { enabled: true, existingSecret: 'jobmon-agents' }, admin: { replicas: 1 } });
    const objects = render(over(values, { networkPolicy: { clients: [{ ipBlock: { cidr: '10.0.0.0/8' } }] } }));
    const policies = objects.filter(({ kind }) => kind === 'NetworkPolicy');
    const fits = ({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Record<string, string>): boolean =>
      Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
      matchExpressions.every(({ key, values }) => values.includes(labels[key]!));
    const isLet = (
      direction: 'ingress' | 'egress',
      one: Template,
      other: Template,
      port: { name: string; containerPort: number },
    ) =>
      policies
        .filter(({ spec }) => fits(spec.podSelector, one.labels))
        .flatMap(({ spec }) => (spec[direction] ?? []) as Rule[])
        .some(({ ports, from, to }) => {
          const peers = from ?? to;
          const isPort = ports === undefined || ports.some((wanted) => [port.name, port.containerPort].includes(wanted.port));
          return (
            isPort &&
            (peers === undefined || peers.some(({ podSelector: pods }) => pods !== undefined && fits(pods, other.labels)))
          );
        });
    const pods = podsOf(objects);
    const ways = pods.flatMap((from) =>
      pods.flatMap((to) =>
        to.containers
          .flatMap(({ ports = [] }) => ports)
          .filter((port) => isLet('egress', from, to, port) && isLet('ingress', to, from, port))
          .map(({ containerPort }) => `${from.labels['jobmon/process']} > ${to.labels['jobmon/process']}:${containerPort}`),
      ),
    );
    expect([...new Set(ways)].sort()).toEqual(
      [
        ...SERVICES.flatMap((service) => [`${service} > nats:4222`, `${service} > database:3306`]),
        ...['admin', 'migrate', 'smoke-test'].map((process) => `${process} > database:3306`),
        ...['agent', 'smoke-test'].map((process) => `${process} > api:8070`),
      ].sort(),
    );
  });

  it('scales at 80 % of cores or memory, never beyond 25, and by hand where that is off', () => {
    onAll((objects) => {
      const deployments = podsOf(objects).filter(({ labels }) => SERVICES.includes(labels['jobmon/process']!));
      for (const { owner } of deployments) {
        const scaler = named(objects, 'HorizontalPodAutoscaler', owner.metadata.name);
        expect(owner['spec'].replicas === undefined).toBe(scaler !== undefined);
        if (scaler === undefined) continue;
        expect(scaler['spec'].maxReplicas).toBeLessThanOrEqual(25);
        expect(scaler['spec'].metrics.map((metric: { resource: unknown }) => metric.resource)).toEqual([
          { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } },
          { name: 'memory', target: { type: 'Utilization', averageUtilization: 80 } },
        ]);
      }
    });
    const api = named(render(EXTERNAL), 'HorizontalPodAutoscaler', 'jobmon-api');
    expect([api?.['spec'].minReplicas, api?.['spec'].maxReplicas]).toEqual([2, 25]);
  });

  it('alerts by metrics that there are', () => {
    const rules = objectsOf(renderText(ROOT, over(EXTERNAL, { monitoring: { prometheusRule: true } })))
      .filter(({ kind }) => kind === 'PrometheusRule')
      .flatMap(({ spec }) => spec.groups[0].rules as { expr: string; alert: string }[]);
    expect(rules.length).toBeGreaterThan(3);
    // Of this release only: another one's in the namespace is no stand-in.
    expect(rules.find(({ alert }) => alert === 'JobmonHasNoReaper')?.expr).toContain('pod=~"jobmon-reaper-.*"');
    const told = read('docs/services.md');
    for (const { alert, expr } of rules)
      for (const [metric] of expr.matchAll(/jobmon_[a-z0-9_]+/g)) {
        const isTold = told.includes(metric.replace(/_bucket$/, '')) || (metric.includes('eventloop') && told.includes('_p50_'));
        expect([alert, metric, isTold]).toEqual([alert, metric, true]);
      }
  });
});

describe('the migration', () => {
  const jobOf = (values: Values, release?: Release): KubernetesObject | undefined =>
    render(values, release).find(({ kind }) => kind === 'Job');

  it('comes before everything else, at installs and upgrades, and is given up after a time', () => {
    const job = jobOf(EXTERNAL);
    expect(job?.metadata.annotations).toEqual({
      'helm.sh/hook': 'pre-install,pre-upgrade',
      'helm.sh/hook-delete-policy': 'before-hook-creation,hook-succeeded',
    });
    expect(job?.['spec']).toMatchObject({ backoffLimit: 2, activeDeadlineSeconds: 900 });
    expect(job?.['spec'].template.spec.serviceAccountName).toBeUndefined();
    expect(jobOf(over(EXTERNAL, { migration: { enabled: false } }))).toBeUndefined();
  });

  it('waits for the built-in database at an install, since a hook would come before it, and is a hook again at upgrades', () => {
    const first = jobOf(BUILT_IN);
    expect([first?.metadata.name, first?.metadata.annotations]).toEqual(['jobmon-migrate-first', undefined]);
    expect(first?.['spec'].backoffLimit).toBe(20);
    const later = jobOf(BUILT_IN, { isUpgrade: true });
    expect([later?.metadata.name, later?.metadata.annotations?.['helm.sh/hook']]).toEqual([
      'jobmon-migrate',
      'pre-install,pre-upgrade',
    ]);
  });
});

describe('names', () => {
  it('keep to 63 characters, and releases with a long beginning in common stay apart', () => {
    const long = 'research-computing-of-the-institute-for-health-metr-a';
    const values = over(BUILT_IN, {
      reapers: [
        { ...REAPER, version: '' },
        { ...REAPER, version: '2026.11.23-nightly-build.4711' },
      ],
    });
    const objects = render(values, { name: long });
    const names = objects.map(({ metadata }) => metadata.name);
    expect(long).toHaveLength(53);
    for (const name of names) expect(name).toMatch(/^[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$/);
    for (const { labels } of podsOf(objects))
      for (const label of Object.values(labels)) expect(label.length).toBeLessThanOrEqual(63);
    const others = render(values, { name: `${long.slice(0, -1)}b` }).map(({ metadata }) => metadata.name);
    expect(others.filter((name) => names.includes(name))).toEqual([]);
    expect(names.some((name) => name.endsWith('-state-machine'))).toBe(true);
  });

  it('of two releases in one namespace differ, and neither selects the other', () => {
    const [one, two] = ['first', 'second'].map((name) => render(BUILT_IN, { name }));
    const names = (objects: KubernetesObject[]) => objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(names(one!).filter((name) => names(two!).includes(name))).toEqual([]);
    for (const { spec } of one!.filter(({ kind }) => kind === 'Deployment'))
      expect(spec.selector.matchLabels['app.kubernetes.io/instance']).toBe('first');
  });

  it('of namespaces stand nowhere but in the names under which the api is called', () => {
    const [one, two] = ['alpha', 'beta-3-0-3'].map((namespace) => renderText(ROOT, EXTERNAL, { namespace }));
    expect(two!.replaceAll('beta-3-0-3', 'alpha')).toBe(one);
    expect(one!.split('\n').filter((line) => line.includes('alpha'))).toEqual([
      expect.stringMatching(
        /JOBMON__HTTP__ALLOWED_HOSTS.*"jobmon-api,jobmon-api.alpha,jobmon-api.alpha.svc,jobmon-api.alpha.svc.cluster.local"/,
      ),
    ]);
  });

  it('and settings that look like numbers or truths to a reader of YAML stay the texts that they are', () => {
    const values = over(ENCRYPTED, {
      image: { pullSecrets: ['123'] },
      database: { existingSecret: '1e3' },
      nats: { existingSecret: 'true' },
      route: { kind: 'ingress', host: '10', tlsSecret: '12', className: 'on' },
      pods: { priorityClassName: '1' },
      api: { env: { NO: '1' } },
      settings: { log: { stream_mib: 1_048_576, keep_days: 0.5 } },
    });
    // As helm reads it, which takes `on` and `NO` for truths: kubectl is of the same library.
    const { stdout } = spawnSync(
      kubernetesProgram(ROOT, 'kubectl'),
      ['label', '--local', '-f', '-', 'a=b', '-o', 'json', '--dry-run=client'],
      { input: renderText(ROOT, values), encoding: 'utf8' },
    );
    expect(stdout).toMatch(/"kind": "Deployment"/);
    for (const text of ['"123"', '"1e3"', '"true"', '"10"', '"12"', '"on"', '"1"', '"NO"', '"1048576"', '"0.5"'])
      expect(stdout).toContain(`: ${text}`);
    expect(stdout).not.toMatch(/"(name|host|secretName|ingressClassName|priorityClassName)": [^"[{]/);
  });

  it('of images take a registry with a port and a path, a tag, or a digest', () => {
    const imageOf = (image: Values): string =>
      podsOf(render(over(EXTERNAL, { image }))).find(({ labels }) => labels['jobmon/process'] === 'api')!.containers[0]!.image;
    const digest = `sha256:${'a'.repeat(64)}`;
    expect(imageOf({})).toBe('registry.example.org:5000/research/jobmon/api:0.1.0');
    expect(imageOf({ registry: 'localhost:5000' })).toBe('localhost:5000/jobmon/api:0.1.0');
    expect(imageOf({ tag: '1.2.3-abc' })).toBe('registry.example.org:5000/research/jobmon/api:1.2.3-abc');
    expect(imageOf({ digests: { api: digest } })).toBe(`registry.example.org:5000/research/jobmon/api@${digest}`);
  });
});

describe('reapers of several versions', () => {
  const reapersOf = (values: Values) =>
    podsOf(render(over(EXTERNAL, values))).filter(({ labels }) => labels['jobmon/process'] === 'reaper');

  it('are all of the release, each with its image and its scaling', () => {
    const reapers = ['', '0.9.0', '0.8.1'].map((version) => ({ ...REAPER, version }));
    const objects = render(over(EXTERNAL, { reapers }));
    const found = podsOf(objects).filter(({ labels }) => labels['jobmon/process'] === 'reaper');
    expect(found.map(({ owner, containers }) => [owner.metadata.name, containers[0]!.image.split('/').at(-1)])).toEqual([
      ['jobmon-reaper', 'reaper:0.1.0'],
      ['jobmon-reaper-0-9-0', 'reaper:0.9.0'],
      ['jobmon-reaper-0-8-1', 'reaper:0.8.1'],
    ]);
    expect(objects.some(({ metadata }) => metadata.annotations?.['helm.sh/resource-policy'] !== undefined)).toBe(false);
  });

  it('need no more than a version each: the rest is told once, and an entry says what differs', () => {
    const reapers = [{ version: '' }, { version: '0.9.0', autoscaling: { enabled: false }, connections: 2 }];
    const [now, older] = reapersOf({ reapers, reaper: { replicas: 3, env: { A: 'b' } } });
    const connections = (template: Template | undefined) =>
      template?.containers[0]!.env?.find(({ name }) => name === 'JOBMON__DB__CONNECTIONS_MAX')?.value;
    expect([now?.owner['spec'].replicas, older?.owner['spec'].replicas]).toEqual([undefined, 3]);
    expect([connections(now), connections(older)]).toEqual(['4', '2']);
    expect(older?.containers[0]!.resources).toEqual(now?.containers[0]!.resources);
    for (const template of [now, older]) expect(template?.containers[0]!.env).toContainEqual({ name: 'A', value: 'b' });
  });

  it('go when their entry is taken out, with everything that is theirs', () => {
    const namesOf = (reapers: Values[]) =>
      render(over(EXTERNAL, { reapers })).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    const [both, one] = [namesOf([{ version: '' }, { version: '0.9.0' }]), namesOf([{ version: '' }])];
    expect(both.filter((name) => !one.includes(name)).sort()).toEqual([
      'Deployment jobmon-reaper-0-9-0',
      'HorizontalPodAutoscaler jobmon-reaper-0-9-0',
      'PodDisruptionBudget jobmon-reaper-0-9-0',
      'ServiceAccount jobmon-reaper-0-9-0',
    ]);
    expect(one.filter((name) => !both.includes(name))).toEqual([]);
  });
});

describe('values that make no sense are refused, with a cure', () => {
  const refusals: [string, Values, RegExp][] = [
    ['26 pods', { api: { autoscaling: { max: 26 } } }, /api\.autoscaling\.max: Must be less than or equal to 25/],
    ['26 replicas', { scheduler: { replicas: 26 } }, /scheduler\.replicas: Must be less than or equal to 25/],
    ['a bad port', { database: { port: 70_000 } }, /database\.port: Must be less than or equal to 65535/],
    ['a bad port in an address', { nats: { url: 'nats://nats:99999' } }, /nats\.url: Does not match pattern/],
    ['a bad port of the registry', { image: { registry: 'registry:0' } }, /image\.registry: Does not match pattern/],
    ['a network that is none', { login: { pythonNetworks: ['everybody'] } }, /login\.pythonNetworks\.0: Does not match pattern/],
    ['no time between readings', { monitoring: { interval: '0s' } }, /monitoring\.interval: Does not match pattern/],
    ['a misspelt value', { api: { replikas: 3 } }, /api: Additional property replikas is not allowed/],
    ['a tag that says nothing', { image: { tag: 'latest' } }, /image\.tag/],
    [
      'a registry with a scheme',
      { image: { registry: 'https://registry.example.org' } },
      /image\.registry: Does not match pattern/,
    ],
    ['no registry', { image: { registry: '' } }, /image\.registry is missing: name the registry/],
    [
      'a missing secret',
      { database: { existingSecret: '' } },
      /kubectl -n research create secret generic jobmon-database --from-literal/,
    ],
    ['no database', { database: { host: '' } }, /database\.host is missing.*database\.builtIn\.enabled=true/],
    ['two databases', { database: { builtIn: { enabled: true } } }, /exclude each other/],
    [
      'TLS to a database that speaks none',
      { database: { host: '', builtIn: { enabled: true }, tls: { existingSecret: 'x' } } },
      /database\.tls\.existingSecret is for a MariaDB of your own/,
    ],
    ['no bus', { nats: { url: '' } }, /nats\.url is missing/],
    ['a password in an address', { nats: { url: 'nats://ada:secret@nats:4222' } }, /nats\.url: Does not match pattern/],
    [
      'a secret among the settings',
      { settings: { http: { token: 'abc' } } },
      /settings\.http: Additional property token is not allowed/,
    ],
    [
      'a setting that is none',
      { settings: { log: { levle: 'debug' } } },
      /settings\.log: Additional property levle is not allowed/,
    ],
    [
      'a setting that another value makes',
      { settings: { http: { port: 9_000 } } },
      /settings\.http: Additional property port is not allowed/,
    ],
    ['a secret in the environment', { api: { env: { MY_PASSWORD: 'abc' } } }, /api\.env/],
    ['a variable that another value makes', { api: { env: { JOBMON__HTTP__PORT: 9_000 } } }, /api\.env/],
    ['no login by accident', { login: { mode: 'off', existingSecret: 'token' } }, /set login\.mode=on, or login\.open=true/],
    ['no login and no token', { login: { mode: 'off', open: true } }, /create secret generic jobmon-token/],
    ['a route without a name', { route: { kind: 'ingress' } }, /route\.host is missing/],
    ['a route without a gateway', { route: { kind: 'gateway', host: 'a.example.org' } }, /route\.gateway\.name is missing/],
    [
      'a port for Python clients that nobody may call',
      { login: { pythonPort: 8072 } },
      /networkPolicy\.pythonClients is empty, so that nobody gets to login\.pythonPort \(8072\)/,
    ],
    [
      'a port for Python clients without login',
      { login: { mode: 'off', open: true, existingSecret: 'token', pythonPort: 8072 } },
      /login\.pythonPort is for login\.mode=on/,
    ],
    [
      'one port for two',
      { login: { pythonPort: 8072 }, api: { service: { port: 8072 } } },
      /login\.pythonPort and api\.service\.port are both 8072/,
    ],
    [
      'metrics that nobody may read',
      { monitoring: { serviceMonitor: true } },
      /networkPolicy\.monitoring is empty, so that Prometheus can't read/,
    ],
    ['agents without a token', { agents: { enabled: true } }, /create secret generic jobmon-agents/],
    [
      'less than the least',
      { stateMachine: { autoscaling: { min: 9, max: 3 } } },
      /state-machine: autoscaling\.min \(9\) is above autoscaling\.max \(3\)/,
    ],
    [
      'two reapers alike',
      { reapers: [REAPER, REAPER].map((reaper) => ({ ...reaper, version: '0.9.0' })) },
      /two entries of reapers have the version '0\.9\.0'/,
    ],
    ['a reaper of no version', { reapers: [{ replicas: 1 }] }, /reapers\.0: version is required/],
    ['a reaper of a tag that says nothing', { reapers: [{ version: 'latest' }] }, /reapers\.0\.version/],
    ['no reaper', { reapers: [] }, /reapers: Array must have at least 1 items/],
    [
      'too many connections',
      { database: { maxConnections: 151 } },
      /may open 280 connections .*api 26 x 4, state-machine 11 x 8, scheduler 7 x 6, log-sink 7 x 4, reaper 3 x 4.*only 131 may be taken \(database\.maxConnections 151 - database\.reserve 20\).*raise max_connections of the server to 300/,
    ],
  ];
  it.each(refusals)('%s', (_, values, cure) => {
    expect(() => renderText(ROOT, over(EXTERNAL, values))).toThrow(cure);
  });

  it('settings are those that the services know and that no other value makes', () => {
    const { settings } = (JSON.parse(read('helm/jobmon/values.schema.json')) as { properties: Record<string, Section> })
      .properties;
    const names = Object.entries(settings!.properties).flatMap(([section, { properties }]) =>
      Object.keys(properties).map((key) => `JOBMON__${section}__${key}`.toUpperCase()),
    );
    expect(names.length).toBeGreaterThan(10);
    expect(loadConfig({ env: { JOBMON__LOG__LEVLE: 'x' } }).warnings).toHaveLength(1);
    const examples: Readonly<Record<string, string>> = {
      JOBMON__HTTP__ALLOWED_ORIGINS: 'https://pages.example.org',
      JOBMON__HTTP__PROXIES: '10.0.0.0/8',
      JOBMON__LOG__LEVEL: 'info',
      JOBMON__AUTH__ALGORITHMS: 'ES256',
    };
    for (const name of names) {
      const { warnings } = loadConfig({ env: { HOME: '/tmp', [name]: examples[name] ?? '5' } });
      expect([name, warnings]).toEqual([name, []]);
    }
    onAll((objects, values) => {
      if (values['settings'] !== undefined) return;
      for (const { containers } of podsOf(objects))
        for (const { env = [] } of containers)
          expect(env.map(({ name }) => name).filter((name) => names.includes(name))).toEqual([]);
    });
  });

  it.each([
    ['nats://nats1', [4222]],
    ['nats://10.0.0.1', [4222]],
    ['nats://10.0.0.1:65535', [65_535]],
    ['tls://[fd00::1]:4224', [4224]],
    ['tls://[fd00::1]', [4222]],
    ['nats://a:4222, nats://b.example.org:4223', [4222, 4223]],
  ])('while NATS at %s is taken, and let out to at its ports', (url, ports) => {
    const policy = named(render(over(EXTERNAL, { nats: { url } })), 'NetworkPolicy', 'jobmon-to-nats');
    expect(policy?.['spec'].egress[0].ports).toEqual(ports.map((port) => ({ port, protocol: 'TCP' })));
  });

  it('all at once, so that nobody mends them one by one', () => {
    expect(() => renderText(ROOT, {})).toThrow(/image\.registry[^]*database\.host[^]*database\.existingSecret[^]*nats\.url/);
  });

  it('too many connections are counted from what autoscaling may start; a smaller bound fits', () => {
    const small = { autoscaling: { max: 3 }, connections: 4 };
    const values = { database: { maxConnections: 151 }, api: small, stateMachine: small, scheduler: small, logSink: small };
    expect(render(over(EXTERNAL, values)).length).toBeGreaterThan(20);
  });
});

describe('the chart as a whole', () => {
  it('passes helm lint, as does the one for the cluster', () => {
    for (const [chart, values] of [
      ['jobmon', EXTERNAL],
      ['jobmon', BUILT_IN],
      ['jobmon-global', {}],
    ] as const) {
      const args = ['lint', '--strict', join(ROOT, 'helm', chart), '--values', '-'];
      const { status, stdout } = spawnSync(kubernetesProgram(ROOT, 'helm'), args, {
        input: JSON.stringify(values),
        encoding: 'utf8',
      });
      expect([chart, status, stdout]).toEqual([chart, 0, expect.stringContaining('0 chart(s) failed')]);
    }
  });

  it('is of this release', () => {
    const { version } = JSON.parse(read('package.json')) as { version: string };
    for (const chart of ['jobmon', 'jobmon-global'])
      expect(parse(read(`helm/${chart}/Chart.yaml`))).toMatchObject({ version, appVersion: version });
  });

  it('has a sentence before each value', () => {
    for (const chart of ['jobmon', 'jobmon-global']) {
      const lines = read(`helm/${chart}/values.yaml`).split('\n');
      // What every service has is told once, above them; what stands inside a line, with the line.
      const shared =
        /^\s*-?\s*(replicas|autoscaling|connections|resources|env|nodeSelector|tolerations|annotations|requests|limits|builtIn|service|image|tls|affinity):/;
      const silent = lines.filter((line, at) => {
        if (!/^ *[a-zA-Z]+:/.test(line) || shared.test(line) || /^ *#/.test(lines[at - 1] ?? '')) return false;
        // A section whose members are told, or a second one under one sentence.
        return (
          !/^[a-zA-Z]+:$/.test(line) &&
          !/^ *(labels|tolerations|volumeMounts|prometheusRule|clientCertificate|existingSecret):/.test(line)
        );
      });
      expect([chart, silent.filter((line) => !line.includes('nginx'))]).toEqual([chart, []]);
    }
  });

  it('has made k8s/ and the accounts of the built-in NATS; when this fails, run: npm run docs', () => {
    expect(read('k8s/jobmon.yaml')).toBe(plainManifests(ROOT));
    expect(read('k8s/migrate.yaml')).toBe(plainMigration(ROOT));
    expect(read('helm/jobmon/files/nats/nats.conf')).toBe(natsConfiguration());
  });

  it('takes the values that docs/operating/install.md and upgrade.md show', () => {
    const page = read('docs/operating/install.md');
    const shown = [/<<'VALUES'\n([^]*?)VALUES/, /```yaml\n([^]*?)```/].map((block) => parse(block.exec(page)![1]!) as Values);
    for (const values of shown) expect(render(values).length).toBeGreaterThan(25);
    const more = parse(/```yaml\n([^]*?)```/.exec(read('docs/operating/upgrade.md'))![1]!) as Values;
    expect(podsOf(render(over(EXTERNAL, more))).filter(({ labels }) => labels['jobmon/process'] === 'reaper')).toHaveLength(2);
    expect(shown.map((values) => 'route' in values)).toEqual([false, true]);
  });

  it('is taken by kustomize as plain manifests, in a namespace of its own', () => {
    const { status, stdout, stderr } = spawnSync(kubernetesProgram(ROOT, 'kubectl'), ['kustomize', join(ROOT, 'k8s')], {
      encoding: 'utf8',
    });
    expect([status, stderr]).toEqual([0, '']);
    const objects = objectsOf(stdout);
    expect(objects.length).toBe(objectsOf(read('k8s/jobmon.yaml')).length);
    for (const { metadata } of objects) expect(metadata.namespace).toBe('jobmon');
  });

  it('for the cluster makes what others must not: priorities, rights and addresses', () => {
    const subjects = [{ kind: 'ServiceAccount', name: 'grafana', namespace: 'monitoring' }];
    const addressPool = { enabled: true, addresses: ['192.0.2.10-192.0.2.20'] };
    const objects = render(
      { dashboards: { enabled: true, subjects }, addressPool },
      { chart: 'jobmon-global', name: 'jobmon-global' },
    );
    expect(objects.map(({ kind }) => kind)).toEqual([
      'PriorityClass',
      'ClusterRole',
      'ClusterRoleBinding',
      'IPAddressPool',
      'L2Advertisement',
    ]);
    const rules = objects[1]!['rules'] as { resources: string[]; verbs: string[] }[];
    expect(rules.flatMap(({ resources }) => resources)).not.toContain('secrets');
    expect(rules.flatMap(({ verbs }) => verbs).filter((verb) => !['get', 'list', 'watch'].includes(verb))).toEqual([]);
    expect(() => render({ addressPool: { enabled: true } }, { chart: 'jobmon-global' })).toThrow(
      /addressPool\.addresses is missing/,
    );
  });
});
