/**
 * `node tools/kubeconform.mjs`: every variant of the chart's values by the schemas of the versions of Kubernetes in tools/kubernetes-schemas,
 * strictly, as kubeconform reads them. The program is built once from its Go module into `node_modules/.cache`, 17 s from nothing. Exit codes:
 * 0 all are good, or skipped with its reason where there is no Go or its modules can't be had; 1 an object is refused.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { VARIANTS } from './cluster/variants.mjs';
import { kubernetesPrograms } from './helm.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const CACHE = path.join(ROOT, 'node_modules', '.cache');
const SCHEMAS = path.join(ROOT, 'tools', 'kubernetes-schemas');
const VERSION = 'v0.7.0';
/** Of custom resources, which the versions of Kubernetes do not know; the proof `dry-run` holds them against their projects' own definitions. */
const CUSTOM = 'HTTPRoute,IngressRoute,ServiceMonitor,PrometheusRule';
const LOCATION = '{{ .NormalizedKubernetesVersion }}/{{ .ResourceKind }}{{ .KindSuffix }}.json';
/** What kubeconform writes of one version of Kubernetes: counts of objects. */
const SUMMARY = /Summary: \d+ resources? .*Valid: (\d+), Invalid: (\d+), Errors: (\d+), Skipped: (\d+)/;
/** Building it from nothing took 17 s on two cores. */
const BUILD_MS_MAX = 300_000;

class SkippedError extends Error {}

function run(program, args, { input, env, cwd, timeout } = {}) {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    ...{ input, cwd, timeout, encoding: 'utf8', maxBuffer: 64 * 1024 ** 2 },
    env: { ...process.env, ...env },
  });
  return { isWell: status === 0, stdout: stdout ?? '', stderr: `${stderr ?? ''}${error?.message ?? ''}`.trim() };
}

/** The program's path; built by the versions of its own module, beside no other go.mod. */
function built() {
  const program = path.join(CACHE, `kubeconform-${VERSION}`);
  if (existsSync(program)) return program;
  mkdirSync(CACHE, { recursive: true });
  const bin = mkdtempSync(path.join(CACHE, 'kubeconform-'));
  try {
    const { isWell, stderr } = run('go', ['install', '-trimpath', `github.com/yannh/kubeconform/cmd/kubeconform@${VERSION}`], {
      ...{ cwd: bin, timeout: BUILD_MS_MAX, env: { CGO_ENABLED: '0', GOBIN: bin } },
    });
    if (!isWell) throw new SkippedError(`kubeconform ${VERSION} can't be built: ${stderr.split('\n').at(-1)}`);
    renameSync(path.join(bin, 'kubeconform'), program);
    return program;
  } finally {
    rmSync(bin, { recursive: true, force: true });
  }
}

/** The schemas of one version in the layout that kubeconform asks for, a file for each kind. */
function layOut(folder, version) {
  const { kinds, definitions } = JSON.parse(readFileSync(path.join(SCHEMAS, `${version}.json`), 'utf8'));
  const own = path.join(folder, `v${version}`);
  mkdirSync(own);
  for (const [kind, definition] of Object.entries(kinds)) {
    const [apiVersion, name] = kind.split(' ');
    const [group, ...rest] = apiVersion.split('/');
    const file = [name, group.split('.')[0], ...rest].join('-').toLowerCase();
    writeFileSync(path.join(own, `${file}.json`), JSON.stringify({ $ref: `#/definitions/${definition}`, definitions }));
  }
}

/** The chart's objects with the values of one variant. */
function rendered(version, { name, values }) {
  const chart = path.join(ROOT, 'helm', 'jobmon');
  const { isWell, stdout, stderr } = run(
    path.join(kubernetesPrograms(), 'helm'),
    ['template', 'jobmon', chart, '--kube-version', version, '--values', '-'],
    { input: JSON.stringify(values) },
  );
  if (!isWell) throw new Error(`${name}: helm renders nothing: ${stderr}`);
  return stdout;
}

/** One line with the counts. Throws what was refused. */
function proven() {
  const program = built();
  const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-schemas-'));
  try {
    const versions = readdirSync(SCHEMAS)
      .map((file) => /^(\d+\.\d+\.\d+)\.json$/.exec(file)?.[1])
      .filter((version) => version !== undefined)
      .sort();
    versions.forEach((version) => layOut(folder, version));
    const location = ['-skip', CUSTOM, '-schema-location', path.join(folder, LOCATION)];
    const check = (version, input) =>
      run(program, ['-strict', '-summary', '-kubernetes-version', version, ...location, '-'], { input });
    const counts = versions.map((version) => {
      const { isWell, stdout, stderr } = check(version, VARIANTS.map((variant) => rendered(version, variant)).join('\n---\n'));
      const [valid, , , skipped] = (SUMMARY.exec(stdout) ?? []).slice(1).map(Number);
      if (!isWell || !(valid > 0)) throw new Error(`Kubernetes ${version}: ${stdout}${stderr}`);
      return { valid, skipped };
    });
    const good = rendered(versions[0], VARIANTS[0]);
    const broken = good.replace(/^kind: Deployment$/m, 'kind: Deployment\nspce: {}');
    if (broken === good || check(versions[0], broken).isWell) throw new Error('an unknown field was let in');
    const [{ valid, skipped }] = counts;
    if (counts.some((one) => one.valid !== valid)) throw new Error(`not the same objects: ${JSON.stringify(counts)}`);
    return `${VARIANTS.length} variants by Kubernetes ${versions.join(', ')}: ${valid} objects each, strictly, none refused; ${skipped} custom ones left to the cluster's dry run; an unknown field is refused`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

try {
  console.log(`kubeconform ${VERSION}: ${proven()}`);
} catch (error) {
  const isSkipped = error instanceof SkippedError;
  console.log(isSkipped ? `skipped: ${error.message}` : `kubeconform ${VERSION}: ${error.message}`);
  process.exitCode = isSkipped ? 0 : 1;
}
