/** `jobmon-server orphans`: objects of Jobmon in a namespace that no release of helm names; they are listed, handed to a release, or deleted. */
import { createInterface } from 'node:readline';
import { JobmonError } from '@jobmon/contracts';
import { Option, type Command } from 'commander';
import { Kubernetes, refused, type KubernetesObject } from './kubernetes';
import {
  MADE_BY_KUBERNETES,
  MANAGED_BY,
  orphansAmong,
  OURS,
  RECORD_TYPE,
  RELEASE_NAME,
  RELEASE_NAMESPACE,
  revisionOf,
  standing,
  type Orphan,
  type Revision,
} from './orphans-find';
import { parseRelease, withCluster } from './preflight';

/** Exit code of the list when there are some. */
const EXIT_SOME = 1;
const EXIT_USAGE = 2;
/** Seconds until what was deleted is gone, pods and all. */
const DELETE_SECONDS_MAX = 50;

interface Flags {
  readonly namespace?: string;
  readonly context?: string;
  readonly adopt?: string;
  readonly delete?: boolean;
  readonly yes?: boolean;
  readonly output: 'text' | 'json';
}

export function addOrphansCommand(server: Command): void {
  withCluster(server.command('orphans'))
    .description(
      'List objects of Jobmon in a namespace that no release of helm names: what an upgrade, a policy or a lost record left behind. Calls kubectl, as you.',
    )
    .argument('[objects...]', 'only these, as the list names them')
    .addOption(
      new Option('--adopt <release>', 'hand them to this release: its next upgrade that names them takes them over')
        .argParser(parseRelease)
        .conflicts('delete'),
    )
    .option('--delete', 'delete them, after naming them; those that helm never had only when they are named')
    .option('-y, --yes', 'delete without asking')
    .addHelpText(
      'after',
      `
Exit codes: 0 there are none, or it is done; 1 there are some, or an error; 2 wrong usage.

Examples:
  jobmon-server orphans -n jobmon
  jobmon-server orphans -n jobmon --adopt jobmon deployment.apps/jobmon-reaper-0-9-0
  jobmon-server orphans -n jobmon --delete --yes
  jobmon-server orphans -n jobmon -o json`,
    )
    .action(orphans);
}

async function orphans(names: string[], flags: Flags): Promise<void> {
  const cluster = await Kubernetes.of(flags.namespace, flags.context);
  const { revisions, found } = await look(cluster);
  const all = orphansAmong(found, revisions, cluster.namespace);
  const unknown = names.filter((name) => all.every((orphan) => orphan.name !== name));
  if (unknown.length > 0) {
    const there = all.length === 0 ? 'there are none' : `there are ${all.map(({ name }) => name).join(', ')}`;
    throw new JobmonError('NOT_FOUND', `no orphan in ${cluster.namespace} is called ${unknown.join(', ')}: ${there}`);
  }
  const chosen = names.length === 0 ? all : all.filter(({ name }) => names.includes(name));
  const isActing = (flags.adopt !== undefined || flags.delete === true) && chosen.length > 0;
  if (!isActing) {
    print(chosen, cluster.namespace, null, flags.output);
    if (chosen.length > 0) process.exitCode = EXIT_SOME;
  } else if (flags.adopt !== undefined) {
    await adopt(cluster, chosen, flags.adopt);
    print(chosen, cluster.namespace, 'adopted', flags.output);
    tellAdoption(flags.adopt, standing(revisions), cluster);
  } else await remove(cluster, chosen, { ...flags, isNamed: names.length > 0 });
}

/**
 * What is there with our label, and what helm has written down, also in other namespaces whose releases made something here.
 *
 * @throws JobmonError CONFLICT where helm's records are elsewhere, UNAVAILABLE where they can't be read: without them all would be orphans.
 */
async function look(cluster: Kubernetes): Promise<{ revisions: Revision[]; found: KubernetesObject[] }> {
  const driver = process.env['HELM_DRIVER'] ?? '';
  if (!['', 'secret', 'secrets'].includes(driver)) {
    throw new JobmonError('CONFLICT', `HELM_DRIVER=${driver}: only releases that helm keeps in secrets are known here`);
  }
  const kinds = (await cluster.kinds('list', 'delete')).filter(
    ({ isNamespaced, apiVersion, kind }) =>
      isNamespaced && !apiVersion.startsWith('metrics.k8s.io/') && !MADE_BY_KUBERNETES.has(kind),
  );
  const names = kinds.map(({ resource }) => resource);
  const { found, forbidden } = await cluster.getAllowed(names, OURS);
  if (forbidden.length > 0) process.stderr.write(`Not looked at, since you may not: ${forbidden.join(', ')}\n`);
  const homes = new Set([cluster.namespace]);
  for (const { metadata } of found) homes.add(metadata.annotations?.[RELEASE_NAMESPACE] ?? cluster.namespace);
  const revisions: Revision[] = [];
  for (const home of homes) {
    const records = await cluster.get('secrets', '-n', home, '--field-selector', `type=${RECORD_TYPE}`);
    revisions.push(...records.map(revisionOf));
  }
  return { revisions, found };
}

/** Marks objects as helm does, so that an upgrade may take them over instead of refusing what it did not make. */
async function adopt(cluster: Kubernetes, chosen: readonly Orphan[], release: string): Promise<void> {
  const list = listOf(chosen);
  const marks = [`${RELEASE_NAME}=${release}`, `${RELEASE_NAMESPACE}=${cluster.namespace}`];
  for (const [verb, ...values] of [
    ['annotate', ...marks],
    ['label', `${MANAGED_BY}=Helm`],
  ] as [string, ...string[]][]) {
    const answer = await cluster.kubectl([verb, '--overwrite', '-f', '-', ...values], list);
    if (!answer.isWell) throw refused(`kubectl ${verb}`, answer);
  }
}

function tellAdoption(release: string, now: readonly Revision[], { namespace }: Kubernetes): void {
  const isThere = now.some((revision) => revision.name === release && revision.namespace === namespace);
  const next = isThere ? 'The next upgrade' : `There is no release ${release} yet: its installation`;
  process.stderr.write(
    `${next} takes over those that its values name; what they do not name stays an orphan, to be deleted. ` +
      'An older reaper is named by an entry of reapers with its version.\n',
  );
}

async function remove(cluster: Kubernetes, chosen: readonly Orphan[], flags: Flags & { isNamed: boolean }): Promise<void> {
  // A system that was applied as plain manifests is in use: nothing of it goes unless it was named.
  const doomed = flags.isNamed ? chosen : chosen.filter(({ object }) => object.metadata.labels?.[MANAGED_BY] === 'Helm');
  const spared = chosen.length - doomed.length;
  if (spared > 0) process.stderr.write(`${spared} that helm never had are left alone: name them to delete them.\n`);
  if (doomed.length === 0) {
    if (flags.output === 'json') print([], cluster.namespace, 'deleted', 'json');
    process.exitCode = EXIT_SOME;
    return;
  }
  if (flags.yes !== true) {
    print(doomed, cluster.namespace, null, 'text');
    if (!process.stdin.isTTY || !process.stderr.isTTY) {
      process.stderr.write('Error: nobody can be asked here: give --yes to delete them\n');
      process.exitCode = EXIT_USAGE;
      return;
    }
    if (!(await isWanted(`Delete these ${doomed.length} from ${cluster.namespace}?`))) {
      throw new JobmonError('CONFLICT', 'nothing was done');
    }
  }
  const flag = `--timeout=${DELETE_SECONDS_MAX}s`;
  const answer = await cluster.kubectl(['delete', '--ignore-not-found', flag, '-f', '-'], listOf(doomed));
  if (!answer.isWell) throw refused('kubectl delete', answer);
  print(doomed, cluster.namespace, 'deleted', flags.output);
}

async function isWanted(question: string): Promise<boolean> {
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await new Promise<string>((resolve) => {
    reader.once('close', () => resolve(''));
    reader.question(`${question} [y/N] `, resolve);
  });
  reader.close();
  return /^y(es)?$/i.test(answer.trim());
}

/** Names alone: what else an object was when it was looked at may have changed. */
function listOf(chosen: readonly Orphan[]): string {
  const items = chosen.map(({ object: { apiVersion, kind, metadata } }) => ({
    ...{ apiVersion, kind },
    metadata: { name: metadata.name, namespace: metadata.namespace },
  }));
  return JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
}

function print(chosen: readonly Orphan[], namespace: string, done: 'adopted' | 'deleted' | null, output: Flags['output']): void {
  if (output === 'json') {
    const objects = chosen.map(({ object, name, release, why }) => ({
      ...{ name, release, why },
      component: object.metadata.labels?.['app.kubernetes.io/component'] ?? null,
      version: object.metadata.labels?.['app.kubernetes.io/version'] ?? null,
      created_date: object.metadata.creationTimestamp ?? null,
    }));
    process.stdout.write(`${JSON.stringify({ namespace, done, objects })}\n`);
    return;
  }
  if (chosen.length === 0) return void process.stdout.write(`Every object of Jobmon in ${namespace} is named by a release.\n`);
  const width = Math.max(...chosen.map(({ name }) => name.length));
  const lines = chosen.map(({ name, why }) => `${name.padEnd(width)}  ${done ?? why}\n`);
  process.stdout.write(lines.join(''));
}
