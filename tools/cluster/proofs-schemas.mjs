/** The chart's objects by the schemas of several Kubernetes versions, strictly, as kubeconform reads them. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { VARIANTS } from './variants.mjs';

/** Of custom resources, which the versions of Kubernetes do not know; the proof `dry-run` holds them against their projects' own definitions. */
const CUSTOM = 'HTTPRoute,IngressRoute,ServiceMonitor,PrometheusRule';
const LOCATION = '{{ .NormalizedKubernetesVersion }}/{{ .ResourceKind }}{{ .KindSuffix }}.json';

/** What kubeconform writes of one version of Kubernetes: counts of objects. */
const SUMMARY = /Summary: \d+ resources? .*Valid: (\d+), Invalid: (\d+), Errors: (\d+), Skipped: (\d+)/;

/** This proof; `call` and `done` run a program, `cluster` the script beside this file. */
export function schemaProofs({ root, call, cluster, done }) {
  /** The schemas of one version in the layout that kubeconform asks for, a file for each kind. */
  function layOut(folder, version) {
    const { kinds, definitions } = JSON.parse(
      readFileSync(path.join(root, 'tools', 'kubernetes-schemas', `${version}.json`), 'utf8'),
    );
    const own = path.join(folder, `v${version}`);
    mkdirSync(own);
    for (const [kind, definition] of Object.entries(kinds)) {
      const [apiVersion, name] = kind.split(' ');
      const [group, ...rest] = apiVersion.split('/');
      const file = [name, group.split('.')[0], ...rest].join('-').toLowerCase();
      writeFileSync(path.join(own, `${file}.json`), JSON.stringify({ $ref: `#/definitions/${definition}`, definitions }));
    }
  }

  function kubeconform() {
    const program = cluster('kubeconform').stdout.trim();
    const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-schemas-'));
    try {
      const versions = readdirSync(path.join(root, 'tools', 'kubernetes-schemas'))
        .map((file) => /^(\d+\.\d+\.\d+)\.json$/.exec(file)?.[1])
        .filter((version) => version !== undefined)
        .sort();
      versions.forEach((version) => layOut(folder, version));
      const chart = path.join(root, 'helm', 'jobmon');
      const rendered = (version, { values }) =>
        done('helm', ['template', 'jobmon', chart, '--kube-version', version, '--values', '-'], JSON.stringify(values)).stdout;
      const check = (version, text) =>
        call(
          program,
          [
            ...['-strict', '-summary', '-kubernetes-version', version],
            ...['-skip', CUSTOM, '-schema-location', path.join(folder, LOCATION), '-'],
          ],
          text,
        );
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
      return `${VARIANTS.length} variants by Kubernetes ${versions.join(', ')}: ${valid} objects each, strictly, none refused; ${skipped} custom ones left to dry-run; an unknown field is refused`;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  return [{ name: 'kubeconform', prove: kubeconform }];
}
