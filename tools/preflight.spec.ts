/** What `jobmon-server preflight` reads off a rendered chart, and how it reckons; without a cluster. */
import { join } from 'node:path';
import { BUILT_IN, EXTERNAL, renderText, type Values } from './chart';
import { typed } from '../apps/admin/test/typed';
import { kindsOf, type KubernetesObject } from '../apps/admin/src/kubernetes';
import { kindsCheck } from '../apps/admin/src/preflight-cluster';
import { wantedBy, type Wanted } from '../apps/admin/src/preflight-chart';
import { askedByAll, lacks, quantity, written, type Measured } from '../apps/admin/src/preflight-quota';

const ROOT = join(__dirname, '..');
const wanted = (values: Values): Wanted => wantedBy(renderText(ROOT, { ...EXTERNAL, ...values }));
const bare = wanted({});

describe('what values ask for', () => {
  it('secrets with their keys, whoever reads them: pods, routes, the registry, the certificates of NATS', () => {
    expect(bare.secrets).toEqual([
      { name: 'jobmon-database', kind: 'opaque', keys: ['app-password', 'migrate-password'] },
      { name: 'jobmon-nats', kind: 'opaque', keys: ['api', 'state-machine', 'scheduler', 'log-sink', 'reaper'] },
    ]);
    const more = wanted({
      image: { registry: 'registry.example.org:5000/research', pullSecrets: ['registry'] },
      nats: { ...(EXTERNAL['nats'] as object), tls: { existingSecret: 'nats-tls', clientCertificate: true } },
      login: { mode: 'off', open: true, existingSecret: 'token' },
      route: { kind: 'ingress', host: 'a.example.org', tlsSecret: 'route-tls' },
      pods: { priorityClassName: 'jobmon-services' },
    });
    expect(more.secrets.filter(({ name }) => !name.startsWith('jobmon-')).sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual([
      { name: 'nats-tls', kind: 'opaque', keys: ['ca.crt', 'tls.crt', 'tls.key'] },
      { name: 'registry', kind: 'docker-registry', keys: ['.dockerconfigjson'] },
      { name: 'route-tls', kind: 'tls', keys: ['tls.crt', 'tls.key'] },
      { name: 'token', kind: 'opaque', keys: ['token'] },
    ]);
    expect(more.priorityClasses).toEqual(['jobmon-services']);
    expect(more.accesses.find(({ process }) => process === 'api')?.files).toMatchObject({
      JOBMON__NATS__TLS_CA_FILE: { name: 'nats-tls', key: 'ca.crt' },
      JOBMON__NATS__TLS_KEY_FILE: { name: 'nats-tls', key: 'tls.key' },
    });
    expect(wanted(BUILT_IN).secrets).toEqual([]);
  });

  it('servers, with the account of each process', () => {
    const access = (process: string) => bare.accesses.find((one) => one.process === process);
    expect(access('migrate')).toMatchObject({
      settings: { JOBMON__DB__URL: 'mariadb://mariadb.example.org:3306/jobmon', JOBMON__DB__USER: 'migrate' },
      secrets: { JOBMON__DB__PASSWORD: { name: 'jobmon-database', key: 'migrate-password' } },
    });
    expect(access('log-sink')).toMatchObject({
      settings: { JOBMON__NATS__URL: 'nats://nats.example.org:4222', JOBMON__NATS__USER: 'log-sink' },
      secrets: { JOBMON__NATS__PASSWORD: { name: 'jobmon-nats', key: 'log-sink' } },
    });
  });

  it('what the chart itself reckons: connections, the release and the registry of images', () => {
    expect([bare.connections, bare.version, bare.registry]).toEqual([300, '0.1.0', 'registry.example.org:5000']);
    const few = { autoscaling: { enabled: false }, replicas: 1, connections: 3 };
    const image = { registry: 'localhost', tag: '1.2.3' };
    const small = wanted({ image, api: few, stateMachine: few, scheduler: few, logSink: few, admin: { replicas: 1 } });
    expect([small.connections, small.version, small.registry]).toEqual([4 * 2 * 3 + 3 * 4 + 6 + 20, '1.2.3', 'localhost']);
    const bounded = (more: object): Wanted => wanted({ database: { ...(EXTERNAL['database'] as object), ...more } });
    expect(bounded({ reserve: 45 }).connections).toBe(325);
    expect(() => bounded({ maxConnections: 299 })).toThrow('may open 280 connections');
    expect(bounded({ maxConnections: 300 }).connections).toBe(300);
  });

  it('nothing of a chart that does not tell its connections', () => {
    const older = renderText(ROOT, EXTERNAL).replace(/^ *jobmon\/max-connections: .*\n/m, '');
    expect(() => wantedBy(older)).toThrow('is of another release: take the chart of this one');
  });

  it('kinds of objects, each with where it comes from or what to do without', () => {
    const text = `pods                  po      v1                     true    Pod
deployments           deploy  apps/v1                true    Deployment
namespaces            ns      v1                     false   Namespace
poddisruptionbudgets  pdb     policy/v1              true    PodDisruptionBudget
pods                          metrics.k8s.io/v1beta1 true    PodMetrics`;
    const known = kindsOf(text);
    expect(known.map(({ resource, isNamespaced }) => [resource, isNamespaced])).toEqual([
      ['pods', true],
      ['deployments.apps', true],
      ['namespaces', false],
      ['poddisruptionbudgets.policy', true],
      ['pods.metrics.k8s.io', true],
    ]);
    const all = [...new Set(bare.objects.map(({ apiVersion, kind }) => `x ${apiVersion} true ${kind}`))];
    const cluster = kindsOf([...all, ...text.split('\n')].join('\n'));
    expect(kindsCheck(bare, cluster)).toMatchObject({ verdict: 'well' });
    const gateway = wanted({ route: { kind: 'gateway', host: 'a.example.org', gateway: { name: 'edge' } } });
    const withoutMetrics = cluster.filter(({ kind }) => kind !== 'PodMetrics');
    expect(kindsCheck(gateway, withoutMetrics)).toEqual({
      check: 'kinds',
      verdict: 'missing',
      found: expect.stringMatching(
        /HTTPRoute \(gateway\.networking\.k8s\.io\/v1\), the metrics of pods .*route\.kind=ingress, <service>\.autoscaling\.enabled=false/,
      ),
      lines: [expect.stringContaining('gateway-api/releases'), expect.stringContaining('metrics-server/releases')],
    });
  });
});

describe('a quota', () => {
  const quota = (hard: object, used: object = {}, more: object = {}): KubernetesObject => ({
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name: 'q' },
    spec: { hard, ...more },
    status: { used },
  });
  const nothing: Measured = { pods: 0, 'requests.cpu': 0, 'requests.memory': 0, 'limits.cpu': 0, 'limits.memory': 0 };

  it('reads amounts as Kubernetes writes them', () => {
    expect(['250m', '2', '1.5', '1e3', '100k', '1Gi', '128974848', '0'].map(quantity)).toEqual([
      ...[0.25, 2, 1.5, 1_000, 100_000, 2 ** 30, 128_974_848, 0],
    ]);
    for (const none of ['', 'x', '1 Gi', '1Zi', '1.2.3']) expect(() => quantity(none)).toThrow(/is no quantity/);
    expect([written('requests.cpu', 0.1 + 0.2), written('limits.memory', 2 ** 30), written('pods', 3)]).toEqual([
      '300m',
      '1024Mi',
      '3',
    ]);
  });

  it('must hold the least of all pods, one more of each during an upgrade, and the largest that comes and goes', () => {
    const requests = (cpu: string) => ({ resources: { requests: { cpu, memory: '64Mi' }, limits: { cpu: '1', memory: '1Gi' } } });
    const group = { name: 'a', pods_min: 2, pods_max: 5, surge: 1, isPassing: false, spec: { containers: [requests('100m')] } };
    const passing = (cpu: string) => ({
      ...{ name: 'b', pods_min: 1, pods_max: 1, surge: 0, isPassing: true },
      spec: { containers: [requests('10m')], initContainers: [requests(cpu)] },
    });
    const off = { ...group, name: 'admin', pods_min: 0, pods_max: 0 };
    const { least, most } = askedByAll([group, off, passing('50m'), passing('70m')]);
    expect(least).toEqual({
      ...{ pods: 4, 'requests.cpu': expect.closeTo(0.37), 'requests.memory': 4 * 64 * 2 ** 20 },
      ...{ 'limits.cpu': 4, 'limits.memory': 4 * 2 ** 30 },
    });
    expect(most['requests.cpu']).toBeCloseTo(0.67);
    // By default: two of four services and one reaper, and one more of each.
    expect(askedByAll(bare.groups).least['requests.cpu']).toBeCloseTo(3 * (0.25 * 3 + 0.1) + 2 * 0.05 + 0.1);
    // What is replaced only after it has gone never stands twice.
    const surges = Object.fromEntries(wanted(BUILT_IN).groups.map(({ name, surge }) => [name.replace('jobmon-', ''), surge]));
    expect(surges).toMatchObject({ api: 1, reaper: 1, admin: 1, database: 0, nats: 0 });
  });

  it('tells what it lacks and the bound that would do; what the release has now is its own', () => {
    const asked = { ...nothing, 'requests.cpu': 2, 'limits.memory': 2 ** 30, pods: 9 };
    expect(lacks(quota({ cpu: '3', pods: '10' }, { cpu: '500m', pods: '1' }), asked, nothing)).toEqual([]);
    const small = quota({ cpu: '2', 'limits.memory': '1Gi', services: '1' }, { cpu: '1500m' });
    expect(lacks(small, asked, nothing)).toEqual([{ name: 'cpu', needed: 2, free: 0.5, hard_needed: 3.5 }]);
    expect(lacks(small, asked, { ...nothing, 'requests.cpu': 1.5 })).toEqual([]);
    expect(lacks(quota({ cpu: '1' }, {}, { scopes: ['BestEffort'] }), asked, nothing)).toEqual([]);
  });
});

it('refuses wrong usage with exit code 2, and says by an example how it is used', async () => {
  for (const wrong of [
    ['-n', 'Not_a_name'],
    ['--values', 'no-such-file.yaml'],
    ['--skip', 'bus'],
    ['-o', 'xml'],
    ['--release', 'x'.repeat(54)],
  ])
    expect([wrong, (await typed('preflight', ...wrong)).code]).toEqual([wrong, 2]);
  const help = await typed('preflight', '--help');
  expect([help.code, help.out]).toEqual([0, expect.stringContaining('jobmon-server preflight -n jobmon --values values.yaml')]);
});

it('says that a program is not there, and how it is put right', async () => {
  const { PATH } = process.env;
  process.env['PATH'] = '/nonexistent';
  try {
    const { code, out } = await typed('preflight', '-n', 'a', '-o', 'json');
    expect([code, JSON.parse(out)]).toEqual([
      1,
      {
        ...{ namespace: 'a', release: 'jobmon', is_well: false },
        checks: [
          {
            check: 'programs',
            verdict: 'missing',
            found: expect.stringMatching(/^(kubectl|helm) can't be started: install it/),
            lines: [],
          },
        ],
      },
    ]);
  } finally {
    process.env['PATH'] = PATH;
  }
});
