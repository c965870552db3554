/**
 * The programs `kubectl` and `helm`, called as a person would call them: with his kubeconfig, his way to log in and his rights. Nothing here knows
 * what Jobmon is.
 */
import { spawn } from 'node:child_process';
import { JobmonError } from '@jobmon/contracts';
import { parseAllDocuments } from 'yaml';

/** An object of Kubernetes, as far as everybody has it. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly creationTimestamp?: string;
    readonly deletionTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly { readonly kind: string; readonly name: string }[];
  };
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- what else an object has is its kind's matter
  readonly [field: string]: any;
}

/** A kind of objects that the cluster knows, as `kubectl api-resources` tells it. */
export interface ResourceKind {
  /** As kubectl takes it: `deployments.apps`, `pods`. */
  readonly resource: string;
  readonly apiVersion: string;
  readonly kind: string;
  readonly isNamespaced: boolean;
}

export interface Called {
  readonly isWell: boolean;
  readonly stdout: string;
  /** Without blanks at its ends. */
  readonly stderr: string;
}

/** A call that takes longer is ended: a cluster that is away answers nothing at all. */
const CALL_MS_MAX = 60_000;
const OUTPUT_BYTES_MAX = 256 * 1024 ** 2;

/** Kubectl and helm for one namespace of one cluster. */
export class Kubernetes {
  private constructor(
    readonly namespace: string,
    private readonly context: string | undefined,
  ) {}

  /**
   * For the namespace that is named, else for that of the context. A context that kubectl does not know is told by the first call that needs it.
   *
   * @throws JobmonError UNAVAILABLE where kubectl is missing.
   */
  static async of(namespace: string | undefined, context: string | undefined): Promise<Kubernetes> {
    if (namespace !== undefined) return new Kubernetes(namespace, context);
    const flags = ['config', 'view', '--minify', '-o', 'jsonpath={..namespace}'];
    const told = await call('kubectl', context === undefined ? flags : [...flags, '--context', context]);
    // Without any kubeconfig there is nothing to view; who asks for the cluster then is told so.
    return new Kubernetes(told.stdout === '' ? 'default' : told.stdout, context);
  }

  /** What `kubectl` comes to; it is asked of the namespace. */
  kubectl(args: readonly string[], input?: string): Promise<Called> {
    return call('kubectl', [...this.flags('--context'), ...args], input);
  }

  /** What `helm` comes to; it is asked of the namespace. */
  helm(args: readonly string[], input?: string): Promise<Called> {
    return call('helm', [...this.flags('--kube-context'), ...args], input);
  }

  /** What a person types to ask the same cluster. */
  line(command: string): string {
    const [program = '', ...rest] = command.split(' ');
    const context = this.context === undefined ? '' : ` --${program === 'helm' ? 'kube-' : ''}context ${this.context}`;
    return `${program} -n ${this.namespace}${context} ${rest.join(' ')}`;
  }

  /** What `kubectl get` finds, objects that are not there left out. @throws JobmonError UNAVAILABLE with what kubectl said */
  async get(...args: readonly string[]): Promise<KubernetesObject[]> {
    const answer = await this.kubectl(['get', ...args, '--ignore-not-found', '-o', 'json']);
    if (!answer.isWell) throw refused('kubectl get', answer);
    return itemsOf(answer.stdout);
  }

  /**
   * What is found by a label among many kinds, and the kinds that whoever calls may not look at.
   *
   * @throws JobmonError UNAVAILABLE with what kubectl said, for anything else
   */
  async getAllowed(resources: readonly string[], label: string): Promise<{ found: KubernetesObject[]; forbidden: string[] }> {
    const answer = await this.kubectl(['get', resources.join(','), '-l', label, '--ignore-not-found', '-o', 'json']);
    if (answer.isWell) return { found: itemsOf(answer.stdout), forbidden: [] };
    const said = answer.stderr.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('Warning: '));
    const forbidden = said.map((line) => /^Error from server \(Forbidden\): (\S+) is forbidden: .* cannot list /.exec(line)?.[1]);
    if (forbidden.includes(undefined)) throw refused('kubectl get', answer);
    return { found: itemsOf(answer.stdout), forbidden: forbidden as string[] };
  }

  /** All kinds that have these verbs. @throws JobmonError UNAVAILABLE with what kubectl said, unless it tells some */
  async kinds(...verbs: readonly string[]): Promise<ResourceKind[]> {
    const flags = verbs.length === 0 ? [] : [`--verbs=${verbs.join(',')}`];
    const answer = await this.kubectl(['api-resources', '--no-headers', ...flags]);
    const kinds = kindsOf(answer.stdout);
    // A group whose own server is away (metrics, most often) is told as an error beside all others.
    if (!answer.isWell && kinds.length === 0) throw refused('kubectl api-resources', answer);
    return kinds;
  }

  private flags(context: string): string[] {
    return ['--namespace', this.namespace, ...(this.context === undefined ? [] : [context, this.context])];
  }
}

/** The lines of `kubectl api-resources`: name, short names or none, version, whether in namespaces, kind. */
export function kindsOf(text: string): ResourceKind[] {
  return text
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((words) => words.length >= 4)
    .map((words) => {
      const [apiVersion, isNamespaced, kind] = words.slice(-3) as [string, string, string];
      const group = apiVersion.includes('/') ? `.${apiVersion.split('/')[0]}` : '';
      return { resource: `${words[0]}${group}`, apiVersion, kind, isNamespaced: isNamespaced === 'true' };
    });
}

function itemsOf(json: string): KubernetesObject[] {
  if (json.trim() === '') return [];
  const found = JSON.parse(json) as KubernetesObject;
  return found.kind.endsWith('List') ? (found['items'] as KubernetesObject[]) : [found];
}

/** Objects of a manifest, in its order. @throws YAMLParseError */
export function objectsOf(manifest: string): KubernetesObject[] {
  return parseAllDocuments(manifest)
    .map((document) => {
      const [problem] = document.errors;
      if (problem !== undefined) throw problem;
      return document.toJS() as KubernetesObject | null;
    })
    .filter((object) => object !== null);
}

/** What makes a call that failed understood: the last line that a program said, most often. */
export function refused(what: string, { stderr }: Called): JobmonError {
  const lines = stderr.split('\n').filter((line) => !/^[EWI]\d{4} /.test(line) && line.trim() !== '');
  const said = (lines.length === 0 ? stderr : lines.join('; ')).replace(/^Error( from server)?( \(\w+\))?: /, '').slice(0, 1_000);
  return new JobmonError('UNAVAILABLE', `${what}: ${said === '' ? 'it ended without a word' : said}`);
}

function call(program: string, args: readonly string[], input?: string): Promise<Called> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: process.env });
    const timer = setTimeout(() => child.kill('SIGKILL'), CALL_MS_MAX);
    const parts: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
    let bytes = 0;
    for (const name of ['stdout', 'stderr'] as const)
      child[name].on('data', (part: Buffer) => {
        bytes += part.length;
        if (bytes > OUTPUT_BYTES_MAX) child.kill('SIGKILL');
        else parts[name].push(part);
      });
    child.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      const cure = error.code === 'ENOENT' ? 'install it, or put its folder into PATH' : error.message;
      reject(new JobmonError('UNAVAILABLE', `${program} can't be started: ${cure}`));
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const text = (name: 'stdout' | 'stderr'): string => Buffer.concat(parts[name]).toString();
      const ended = signal === null ? '' : `${program} was ended: it took longer than ${CALL_MS_MAX / 1_000} s, or said too much`;
      resolve({ isWell: code === 0, stdout: text('stdout'), stderr: `${text('stderr').trim()}${ended}` });
    });
    // A program that ends early does not read all of it.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input ?? '');
  });
}
