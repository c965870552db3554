/** `jobmon-server preflight`: what an installation by these values would miss, and the line that mends it. Changes nothing. */
import { existsSync } from 'node:fs';
import { JobmonError } from '@jobmon/contracts';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { Kubernetes, refused } from './kubernetes';
import {
  globalCheck,
  kindsCheck,
  namespaceCheck,
  podsCheck,
  quotaCheck,
  rightsCheck,
  secretsCheck,
  skipped,
  unseen,
  well,
  type Finding,
  type Secrets,
} from './preflight-cluster';
import { wantedBy, type Wanted } from './preflight-chart';
import { databaseChecks, natsCheck } from './preflight-servers';

/** Exit code when something is missing. */
const EXIT_MISSING = 1;
const SKIPPABLE = ['database', 'nats'] as const;

interface Flags {
  readonly values: string[];
  readonly set: string[];
  readonly namespace?: string;
  readonly context?: string;
  readonly release: string;
  readonly chart: string;
  readonly skip: string[];
  readonly output: 'text' | 'json';
}

export function addPreflightCommand(server: Command): void {
  const collect = (value: string, before: string[]): string[] => [...before, value];
  withCluster(server.command('preflight'))
    .description(
      'Say what an installation or upgrade by these values would miss, with the line to type for each. Changes nothing. Calls kubectl and helm, as you, and asks database and NATS with the passwords of the secrets.',
    )
    .option('-f, --values <file>', 'values of the chart; may be given several times, as to helm', existingFile, [])
    .option('--set <key=value>', 'a single value, as to helm', collect, [])
    .option('--release <name>', 'name of the release', parseRelease, 'jobmon')
    .option('--chart <chart>', 'the chart: a folder, an archive, or an address that helm takes', 'helm/jobmon')
    .addOption(
      new Option('--skip <servers>', 'servers that only pods reach: database, nats, or both').argParser(parseSkip).default([]),
    )
    .addHelpText(
      'after',
      `
Exit codes: 0 all well, 1 something is missing, 2 wrong usage.

Examples:
  jobmon-server preflight -n jobmon --values values.yaml
  jobmon-server preflight -n jobmon -f values.yaml --set api.replicas=4 --skip database,nats
  jobmon-server preflight -n jobmon -f values.yaml -o json`,
    )
    .action(preflight);
}

/** Options of every command that asks a cluster. */
export function withCluster(command: Command): Command {
  return command
    .option('-n, --namespace <name>', 'the namespace; that of the context when absent', parseName)
    .option('--context <name>', 'the context of the kubeconfig; its current one when absent')
    .addOption(new Option('-o, --output <format>', 'how it is printed').choices(['text', 'json']).default('text'));
}

/** A name of an object or of a release. @throws InvalidArgumentError */
export function parseName(text: string): string {
  if (/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text)) return text;
  throw new InvalidArgumentError('It must be 1 to 63 small letters, digits and hyphens, with none of the last at its ends.');
}

/** @throws InvalidArgumentError */
export function parseRelease(text: string): string {
  if (parseName(text).length <= 53) return text;
  throw new InvalidArgumentError('helm takes names of releases up to 53 characters.');
}

function existingFile(file: string, before: string[]): string[] {
  if (!existsSync(file)) throw new InvalidArgumentError('There is no such file.');
  return [...before, file];
}

function parseSkip(text: string): string[] {
  const names = text.split(',');
  if (names.every((name) => (SKIPPABLE as readonly string[]).includes(name))) return names;
  throw new InvalidArgumentError(`It must be ${SKIPPABLE.join(' or ')}, or both with a comma between them.`);
}

async function preflight(flags: Flags): Promise<void> {
  const { namespace, findings } = await look(flags);
  const is_well = findings.every(({ verdict }) => verdict !== 'missing');
  const told = { namespace, release: flags.release, is_well, checks: findings };
  process.stdout.write(flags.output === 'json' ? `${JSON.stringify(told)}\n` : textOf(findings));
  if (!is_well) process.exitCode = EXIT_MISSING;
}

/** All checks in their order. What can't be looked at without another one is left out, since that one tells the cause. */
async function look(flags: Flags): Promise<{ namespace: string | null; findings: Finding[] }> {
  let cluster: Kubernetes;
  const findings: Finding[] = [];
  try {
    cluster = await Kubernetes.of(flags.namespace, flags.context);
    findings.push(await programs(cluster));
  } catch (error) {
    return { namespace: flags.namespace ?? null, findings: [...findings, unseen('programs', error)] };
  }
  const { namespace } = cluster;
  const add = async (check: string, find: () => Promise<Finding>): Promise<Finding> => {
    const finding = await find().catch((error: unknown) => unseen(check, error));
    findings.push(finding);
    return finding;
  };
  let gitVersion = '';
  const reached = await add('cluster', async () => {
    gitVersion = await reach(cluster);
    return well('cluster', `Kubernetes ${gitVersion}`);
  });

  if (reached.verdict === 'missing') return { namespace, findings };

  let wanted: Wanted | undefined;
  await add('values', async () => {
    wanted = await rendered(cluster, flags, gitVersion);
    return well('values', `${wanted.objects.length} objects of release ${wanted.version}`);
  });
  const there = await add('namespace', () => namespaceCheck(cluster));
  if (wanted === undefined) return { namespace, findings };
  const asked = wanted;

  const kinds = await cluster.kinds();
  await add('kinds', async () => kindsCheck(asked, kinds));
  await add('rights', () => rightsCheck(cluster, asked, kinds));
  let secrets: Secrets = new Map();
  await add('secrets', async () => {
    const found = await secretsCheck(cluster, asked);
    secrets = found.secrets;
    return found.finding;
  });
  await add('global', () => globalCheck(cluster, asked));
  if (there.verdict !== 'missing') {
    await add('pods', () => podsCheck(cluster, asked));
    await add('quota', () => quotaCheck(cluster, asked, flags.release));
  }
  if (flags.skip.includes('database')) findings.push(skipped('database', 'not asked, as you said'));
  else findings.push(...(await databaseChecks(cluster, asked, secrets).catch((error: unknown) => [unseen('database', error)])));
  if (flags.skip.includes('nats')) findings.push(skipped('nats', 'not asked, as you said'));
  else await add('nats', () => natsCheck(cluster, asked, secrets));
  return { namespace, findings };
}

async function programs(cluster: Kubernetes): Promise<Finding> {
  const kubectl = await cluster.kubectl(['version', '--client', '-o', 'json']);
  const helm = await cluster.helm(['version', '--template', '{{.Version}}']);
  const version = (text: string): string => /v\d+\.\d+\.\d+/.exec(text)?.[0] ?? 'of an unknown version';
  return well('programs', `kubectl ${version(kubectl.stdout)}, helm ${version(helm.stdout)}`);
}

/** The server's version. @throws JobmonError UNAVAILABLE with what kubectl said */
async function reach(cluster: Kubernetes): Promise<string> {
  const answer = await cluster.kubectl(['version', '-o', 'json']);
  const told = answer.isWell ? (JSON.parse(answer.stdout) as { serverVersion?: { gitVersion: string } }) : {};
  if (told.serverVersion !== undefined) return told.serverVersion.gitVersion;
  const { message } = refused('it does not answer', answer);
  throw new JobmonError(
    'UNAVAILABLE',
    `${message}; see to KUBECONFIG, or name a context of \`kubectl config get-contexts\` by --context`,
  );
}

/** The chart with the values, as helm makes it for this cluster. @throws JobmonError MALFORMED with what helm said */
async function rendered(cluster: Kubernetes, { values, set, release, chart }: Flags, gitVersion: string): Promise<Wanted> {
  const flags = [...values.flatMap((file) => ['--values', file]), ...set.flatMap((value) => ['--set', value])];
  const answer = await cluster.helm(['template', release, chart, '--kube-version', gitVersion, ...flags]);
  if (answer.isWell) return wantedBy(answer.stdout);
  const said = answer.stderr.replace(/^Error: /, '').replace(/^execution error at [^\n]*?: /, '');
  throw new JobmonError('MALFORMED', said.replace(/\n\nUse --debug [^]*$/, '').trim());
}

function textOf(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const rows = findings.map(({ check, verdict, found }) => {
    const text = found.split('\n').join(`\n${' '.repeat(width + 11)}`);
    return `${check.padEnd(width)}  ${verdict.padEnd(7)}  ${text}\n`;
  });
  const lines = findings.flatMap((finding) => finding.lines);
  const lacking = findings.filter(({ verdict }) => verdict === 'missing').length;
  if (lacking === 0) return `${rows.join('')}\nNothing is missing.\n`;
  const type = lines.length === 0 ? '' : ` To type:\n${[...new Set(lines)].map((line) => `  ${line}\n`).join('')}`;
  return `${rows.join('')}\n${lacking} of ${findings.length} are missing.${type === '' ? '\n' : type}`;
}
