/**
 * Which objects no release of helm names. Pure: it compares what a cluster holds with what helm has written down of its releases, in secrets called
 * `sh.helm.release.v1.RELEASE.vREVISION`.
 */
import { gunzipSync } from 'node:zlib';
import { JobmonError } from '@jobmon/contracts';
import { objectsOf, type KubernetesObject } from './kubernetes';

/** One revision of a release, as helm stored it. */
export interface Revision {
  readonly name: string;
  readonly namespace: string;
  readonly version: number;
  readonly status: string;
  /** Objects of its manifest and of its hooks. */
  readonly objects: readonly KubernetesObject[];
}

export interface Orphan {
  readonly object: KubernetesObject;
  /** As kubectl takes it: `deployment.apps/jobmon-reaper-0-9-0`. */
  readonly name: string;
  /** The release that made it, as its annotations say; null where helm never had it. */
  readonly release: string | null;
  /** Why nobody answers for it. */
  readonly why: string;
}

/** What every object of Jobmon carries, whichever release and version made it. */
export const OURS = 'app.kubernetes.io/part-of=jobmon';
export const RELEASE_NAME = 'meta.helm.sh/release-name';
export const RELEASE_NAMESPACE = 'meta.helm.sh/release-namespace';
export const MANAGED_BY = 'app.kubernetes.io/managed-by';
/** Type of the secrets in which helm keeps its releases. */
export const RECORD_TYPE = 'helm.sh/release.v1';

/** States of a revision that is a release's no more: another one took its place, or it was uninstalled with its history kept. */
const PAST: ReadonlySet<string> = new Set(['superseded', 'uninstalled']);
/** Made by Kubernetes itself, with the labels of what it is about. */
export const MADE_BY_KUBERNETES: ReadonlySet<string> = new Set(['Endpoints', 'EndpointSlice', 'Event']);

/** Reads one of helm's secrets. @throws JobmonError MALFORMED for one that holds no release */
export function revisionOf({ metadata, data }: KubernetesObject): Revision {
  try {
    const packed = Buffer.from(Buffer.from(data.release as string, 'base64').toString(), 'base64');
    const text = (packed[0] === 0x1f && packed[1] === 0x8b ? gunzipSync(packed) : packed).toString();
    const release = JSON.parse(text) as {
      name: string;
      namespace: string;
      version: number;
      info: { status: string };
      manifest?: string;
      hooks?: { manifest: string }[];
    };
    const manifests = [release.manifest ?? '', ...(release.hooks ?? []).map(({ manifest }) => manifest)];
    const { name, namespace, version, info } = release;
    return { name, namespace, version, status: info.status, objects: manifests.flatMap(objectsOf) };
  } catch (error) {
    const sentence = `the secret ${metadata.name} holds no release of helm (${(error as Error).message}): helm history tells whether helm reads it`;
    throw new JobmonError('MALFORMED', sentence, undefined, { cause: error });
  }
}

/**
 * The revisions that name objects now: of each release the newest one, and the one that was deployed before it when it failed or is on its way.
 * An uninstalled release names nothing.
 */
export function standing(revisions: readonly Revision[]): Revision[] {
  const newest = new Map<string, number>();
  const key = ({ namespace, name }: Revision): string => `${namespace}/${name}`;
  for (const revision of revisions) newest.set(key(revision), Math.max(revision.version, newest.get(key(revision)) ?? 0));
  return revisions.filter(
    (revision) =>
      !PAST.has(revision.status) && (revision.status === 'deployed' || revision.version === newest.get(key(revision))),
  );
}

/** Kubectl's name of an object. */
export function nameOf({ apiVersion, kind, metadata }: KubernetesObject): string {
  const [group, version] = apiVersion.split('/');
  return `${kind.toLowerCase()}${version === undefined ? '' : `.${group}`}/${metadata.name}`;
}

/**
 * Of what was found in a namespace by our label, what no standing revision names. What has an owner goes with it, and what is going
 * already is left alone. The version of a kind is no part of its name: `policy/v1beta1` and `policy/v1` are one object.
 */
export function orphansAmong(found: readonly KubernetesObject[], revisions: readonly Revision[], namespace: string): Orphan[] {
  const now = standing(revisions);
  const place = (object: KubernetesObject, otherwise: string): string =>
    `${object.metadata.namespace ?? otherwise} ${nameOf(object)}`;
  const named = new Set(now.flatMap((revision) => revision.objects.map((object) => place(object, revision.namespace))));
  return found
    .filter(({ kind, metadata }) => !MADE_BY_KUBERNETES.has(kind) && (metadata.ownerReferences ?? []).length === 0)
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .filter((object) => !named.has(place(object, namespace)))
    .map((object) => ({ object, name: nameOf(object), ...reasonOf(object, now, namespace) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function reasonOf(
  { metadata }: KubernetesObject,
  now: readonly Revision[],
  namespace: string,
): { release: string | null; why: string } {
  const release = metadata.annotations?.[RELEASE_NAME];
  if (release === undefined) {
    const isHelms = metadata.labels?.[MANAGED_BY] === 'Helm';
    return { release: null, why: isHelms ? 'it names no release' : 'helm never had it (kubectl apply?)' };
  }
  const home = metadata.annotations?.[RELEASE_NAMESPACE] ?? namespace;
  const isThere = now.some((revision) => revision.name === release && revision.namespace === home);
  const from = home === namespace ? release : `${release} in ${home}`;
  return { release, why: isThere ? `the release ${from} names it no more` : `there is no release ${from}` };
}
