/** Which objects `jobmon-server orphans` takes for orphans, on what the chart renders and what helm writes down; without a cluster. */
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { typed } from '../apps/admin/test/typed';
import type { KubernetesObject } from '../apps/admin/src/kubernetes';
import { nameOf, orphansAmong, revisionOf, standing, type Revision } from '../apps/admin/src/orphans-find';
import { EXTERNAL, renderText } from './chart';

const ROOT = join(__dirname, '..');
const NAMESPACE = 'research';

/** A secret as helm writes it: gzip in base64 in base64. */
function record(name: string, version: number, status: string, manifest: string, hooks: string[] = []): KubernetesObject {
  const release = {
    ...{ name, namespace: NAMESPACE, version, info: { status }, manifest },
    hooks: hooks.map((hook) => ({ manifest: hook })),
  };
  const packed = gzipSync(JSON.stringify(release)).toString('base64');
  const data = { release: Buffer.from(packed).toString('base64') };
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name: `sh.helm.release.v1.${name}.v${version}` }, data };
}
const entry = (version: string) => ({
  version,
  replicas: 1,
  autoscaling: { enabled: false, min: 1, max: 2, cpu: 80, memory: 80 },
  connections: 2,
  resources: { requests: { cpu: '50m', memory: '128Mi' }, limits: { cpu: '1', memory: '256Mi' } },
});
const both = renderText(ROOT, { ...EXTERNAL, reapers: [entry(''), entry('0.9.0')] });
const one = renderText(ROOT, { ...EXTERNAL, reapers: [entry('')] });
const first = revisionOf(record('jobmon', 1, 'superseded', both));
const second = revisionOf(record('jobmon', 2, 'deployed', one));

/** As the cluster holds them after helm made them. */
const made = (objects: readonly KubernetesObject[], release = 'jobmon', more: object = {}): KubernetesObject[] =>
  objects.map((object) => ({
    ...object,
    metadata: {
      ...object.metadata,
      namespace: NAMESPACE,
      annotations: { 'meta.helm.sh/release-name': release, 'meta.helm.sh/release-namespace': NAMESPACE },
      ...more,
    },
  }));
const names = (found: readonly KubernetesObject[], revisions: readonly Revision[]): string[] =>
  orphansAmong(found, revisions, NAMESPACE).map(({ name }) => name);

describe('an orphan', () => {
  it('is what no standing revision names: a reaper that the next revision left out, and nothing else', () => {
    expect(names(made(first.objects), [first, second])).toEqual([
      'deployment.apps/jobmon-reaper-0-9-0',
      'poddisruptionbudget.policy/jobmon-reaper-0-9-0',
      'serviceaccount/jobmon-reaper-0-9-0',
    ]);
    expect(orphansAmong(made(first.objects), [first, second], NAMESPACE)[0]).toMatchObject({
      release: 'jobmon',
      why: 'the release jobmon names it no more',
    });
    expect(names(made(second.objects), [first, second])).toEqual([]);
  });

  it('is everything of a release that helm has no record of', () => {
    const lost = orphansAmong(made(first.objects, 'lost'), [], NAMESPACE);
    expect(lost.length).toBe(first.objects.length);
    expect(new Set(lost.map(({ why }) => why))).toEqual(new Set(['there is no release lost']));
  });

  it('is not what a hook made, what is owned by another object, what is going, or what Kubernetes made of a service', () => {
    const job: KubernetesObject = { apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'jobmon-backup' } };
    const withHook = revisionOf(record('jobmon', 2, 'deployed', one, [JSON.stringify(job)]));
    expect(names(made([job]), [withHook])).toEqual([]);
    expect(names(made([job]), [second])).toEqual(['job.batch/jobmon-backup']);
    const owned = made([job], 'jobmon', { ownerReferences: [{ kind: 'Deployment', name: 'x' }] });
    const going = made([job], 'jobmon', { deletionTimestamp: '2026-01-01T00:00:00Z' });
    const slice = made([{ apiVersion: 'v1', kind: 'Endpoints', metadata: { name: 'jobmon-api' } }]);
    expect(names([...owned, ...going, ...slice], [second])).toEqual([]);
  });

  it('is known by group, kind, namespace and name, whatever the version of its kind', () => {
    const budget = first.objects.find(({ kind }) => kind === 'PodDisruptionBudget')!;
    expect(names(made([{ ...budget, apiVersion: 'policy/v1beta1' }]), [first, second])).toEqual([]);
    expect(names(made([{ ...budget, apiVersion: 'example.org/v1' }]), [second])).toEqual([
      `poddisruptionbudget.example.org/${budget.metadata.name}`,
    ]);
    expect(names(made([budget], 'jobmon', { namespace: 'elsewhere' }), [second])).toHaveLength(1);
    expect(nameOf({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' } })).toBe('configmap/a');
  });

  it('that helm never had is told as such', () => {
    const plain = second.objects.map((object) => ({ ...object, metadata: { ...object.metadata, labels: {} } }));
    expect(orphansAmong(plain.slice(0, 1), [], NAMESPACE)).toEqual([
      expect.objectContaining({ release: null, why: 'helm never had it (kubectl apply?)' }),
    ]);
  });
});

describe('a standing revision', () => {
  const revision = (version: number, status: string): Revision => ({ name: 'a', namespace: 'n', version, status, objects: [] });
  it.each([
    ['the one that is deployed', [revision(1, 'superseded'), revision(2, 'deployed')], [2]],
    ['one that failed, and the one that serves on', [revision(1, 'deployed'), revision(2, 'failed')], [1, 2]],
    ['one that is on its way', [revision(1, 'deployed'), revision(2, 'pending-upgrade')], [1, 2]],
    ['not an older one that failed', [revision(1, 'failed'), revision(2, 'deployed')], [2]],
    ['none of a release that was uninstalled with its history kept', [revision(1, 'superseded'), revision(2, 'uninstalled')], []],
  ])('%s', (_, revisions, expected) => {
    expect(standing(revisions).map(({ version }) => version)).toEqual(expected);
  });
});

it('is refused with its cure when it is no record of helm', () => {
  const broken = { ...record('a', 1, 'deployed', one), data: { release: 'bm9uZQ==' } };
  expect(() => revisionOf(broken)).toThrow(/sh\.helm\.release\.v1\.a\.v1 holds no release of helm .*helm history/);
});

it('refuses wrong usage with exit code 2, and records that are not in secrets', async () => {
  for (const wrong of [
    ['--adopt', 'a', '--delete'],
    ['--adopt', 'Not_a_name'],
    ['-n', 'Not_a_name'],
    ['-o', 'xml'],
  ])
    expect([wrong, (await typed('orphans', ...wrong)).code]).toEqual([wrong, 2]);
  process.env['HELM_DRIVER'] = 'configmap';
  try {
    expect(await typed('orphans', '-n', 'a')).toMatchObject({ code: 1, err: expect.stringContaining('HELM_DRIVER=configmap') });
  } finally {
    delete process.env['HELM_DRIVER'];
  }
  expect((await typed('orphans', '--help')).out).toContain('jobmon-server orphans -n jobmon --delete --yes');
});
