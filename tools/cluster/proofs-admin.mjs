/**
 * What an administrator does with the chart, on the real cluster: reapers by version, orphans found, adopted and deleted, and an installation prepared by
 * the lines that `jobmon-server preflight` says. No image is needed: what is looked at are objects, a database and a NATS.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { makeAccounts } from '../images/accounts.mjs';
import { startMariadb } from '../mariadb.mjs';
import { startNats } from '../nats.mjs';

/** A fresh one for each part: what goes in the one before is not waited for. */
const NAMESPACES = { reapers: 'jobmon-reapers', left: 'jobmon-left', lost: 'jobmon-lost', plain: 'jobmon-plain' };
const PREFLIGHT = 'jobmon-preflight';
const OLDER = '0.9.0';
const OLDER_REAPER = 'jobmon-reaper-0-9-0';
const GONE_LOOKS_MAX = 120;

const off = { replicas: 0, autoscaling: { enabled: false } };
/** Services without pods, but for the reapers, whose images no node has: what counts are objects. */
const withReapers = (...versions) => ({
  image: { registry: 'localhost', pullPolicy: 'Never' },
  database: { builtIn: { enabled: true } },
  nats: { builtIn: { enabled: true } },
  migration: { enabled: false },
  ...{ api: off, stateMachine: off, scheduler: off, logSink: off },
  reapers: versions.map((version) => ({ version })),
});

/** What k8s/ is rendered from, without its migration. */
const PLAIN = {
  image: { registry: 'registry.example.org:5000/research' },
  database: { host: 'mariadb.example.org', existingSecret: 'jobmon-database' },
  nats: { url: 'nats://nats.example.org:4222', existingSecret: 'jobmon-nats' },
  migration: { enabled: false },
};

/** These proofs; `env` leads to the cluster, `done` runs a program with it or throws what it said. */
export function adminProofs({ root, env, done }) {
  const chart = path.join(root ?? '', 'helm', 'jobmon');
  const helm = (command, values) =>
    done('helm', ['-n', namespace, ...command, 'jobmon', chart, '--values', '-'], JSON.stringify(values));
  const kubectl = (...args) => done('kubectl', ['-n', namespace, ...args]).stdout.trim();
  let namespace = '';
  let isBuilt = false;
  /** `jobmon-server` as it is typed, with its exit code and the JSON that it said. */
  function server(...args) {
    if (!isBuilt) done(process.execPath, [path.join(root, 'tools', 'build.mjs')]);
    isBuilt = true;
    const main = path.join(root, 'dist', 'apps', 'admin', 'main.js');
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args, '-o', 'json'], {
      env,
      cwd: root,
      encoding: 'utf8',
    });
    if (stdout === '') throw new Error(`jobmon-server ${args[0]}: ${stderr.trim()}`);
    return { code: status, told: JSON.parse(stdout) };
  }
  const orphans = (...args) => {
    const { code, told } = server('orphans', '-n', namespace, ...args);
    return { code, names: told.objects.map(({ name }) => name), why: told.objects.map(({ why }) => why) };
  };
  const expect = (what, found, wanted) => {
    if (JSON.stringify(found) !== JSON.stringify(wanted)) {
      throw new Error(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
    }
  };
  const none = () => expect('orphans', orphans(), { code: 0, names: [], why: [] });
  const ofOlder = () =>
    kubectl(
      'get',
      'deployments,replicasets,pods,serviceaccounts,poddisruptionbudgets,hpa',
      '-l',
      `app.kubernetes.io/component=reaper-0-9-0`,
      '-o',
      'name',
    );
  const until = (what, isSo) => {
    for (let look = 0; look < GONE_LOOKS_MAX; look += 1) {
      if (isSo()) return;
      spawnSync('sleep', ['0.5']);
    }
    throw new Error(`${what}: not within ${GONE_LOOKS_MAX / 2} s`);
  };
  const fresh = (name) => {
    if (namespace !== '') done('kubectl', ['delete', 'namespace', namespace, '--ignore-not-found', '--wait=false']);
    namespace = name;
    done('kubectl', ['delete', 'namespace', name, '--ignore-not-found', '--wait', '--timeout=120s']);
    done('kubectl', ['create', 'namespace', name]);
  };

  /** Two of them listed, each with its image; one taken out, and nothing of it is left. */
  function reapers() {
    fresh(NAMESPACES.reapers);
    helm(['install'], withReapers('', OLDER));
    const images = kubectl(
      'get',
      'deployments',
      '-l',
      'app.kubernetes.io/name=jobmon',
      '-o',
      'jsonpath={range .items[*]}{.spec.template.spec.containers[0].image}{"\\n"}{end}',
    );
    expect(
      'images',
      images
        .split('\n')
        .filter((image) => image.includes('/reaper:'))
        .sort(),
      ['localhost/jobmon/reaper:0.1.0', `localhost/jobmon/reaper:${OLDER}`],
    );
    until('a pod of the older reaper', () => ofOlder().includes('pod/'));
    const before = ofOlder().split('\n').length;
    helm(['upgrade'], withReapers(''));
    until('the end of the older reaper', () => ofOlder() === '');
    kubectl('get', 'deployment', 'jobmon-reaper');
    none();
    return `two listed; one taken out: its ${before} objects are gone, the other one's stand, no orphan`;
  }

  /** Left by a policy that somebody set: adopted by an upgrade, and deleted the next time; then a whole record of helm that was lost. */
  function orphaned() {
    fresh(NAMESPACES.left);
    const deployment = `deployment.apps/${OLDER_REAPER}`;
    const uid = (name) => kubectl('get', name, '-o', 'jsonpath={.metadata.uid}');
    const leave = () => {
      kubectl('annotate', '--overwrite', deployment, 'helm.sh/resource-policy=keep');
      helm(['upgrade'], withReapers(''));
      expect('left', orphans(), { code: 1, names: [deployment], why: ['the release jobmon names it no more'] });
    };
    helm(['install'], withReapers('', OLDER));
    none();
    const first = uid(deployment);
    leave();
    expect('adopted', orphans('--adopt', 'jobmon').names, [deployment]);
    helm(['upgrade'], withReapers('', OLDER));
    none();
    expect('the reaper after its adoption', uid(deployment), first);
    leave();
    expect('deleted', orphans('--delete', '--yes').names, [deployment]);
    until('the end of the older reaper', () => ofOlder() === '');
    none();

    fresh(NAMESPACES.lost);
    helm(['install'], withReapers(''));
    kubectl('delete', 'secrets', '-l', 'owner=helm,name=jobmon');
    const lost = orphans();
    expect('why', [...new Set(lost.why)], ['there is no release jobmon']);
    const account = 'serviceaccount/jobmon-reaper';
    kubectl('annotate', account, 'meta.helm.sh/release-name-');
    let refusal = '';
    try {
      helm(['upgrade', '--install'], withReapers(''));
    } catch (error) {
      refusal = error.message;
    }
    if (!/cannot be imported into the current release/.test(refusal)) throw new Error(`helm took what it never had: ${refusal}`);
    expect('adopted', orphans('--adopt', 'jobmon', account).names, [account]);
    const same = uid(account);
    helm(['upgrade', '--install'], withReapers(''));
    expect('the account after its adoption', uid(account), same);
    none();

    fresh(NAMESPACES.plain);
    kubectl('apply', '-f', path.join(root, 'k8s', 'jobmon.yaml'));
    const plain = orphans('--delete', '--yes');
    expect('deleted of plain manifests', plain, { code: 1, names: [], why: [] });
    const applied = orphans('--adopt', 'jobmon').names;
    const api = uid('deployment/jobmon-api');
    helm(['install'], PLAIN);
    expect('the api after its adoption', uid('deployment/jobmon-api'), api);
    none();
    done('kubectl', ['delete', 'namespace', namespace, '--wait=false']);
    return `one left by a policy: adopted by an upgrade, and deleted the next time; ${lost.names.length} of a lost record: taken over again, the one without marks after --adopt; ${applied.length} of plain manifests: spared by --delete, handed to helm`;
  }

  /** From an empty cluster to "nothing is missing" by the lines that it says, one lack after the other. */
  async function preflight() {
    const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-preflight-proof-'));
    const undo = [() => rmSync(folder, { recursive: true, force: true })];
    try {
      const mariadb = await startMariadb(path.join(folder, 'mariadb'), { args: ['--max-connections=200'] });
      undo.push(() => mariadb.stop());
      const { app, migrate } = makeAccounts(root, mariadb);
      const conf = readFileSync(path.join(chart, 'files', 'nats', 'nats.conf'), 'utf8');
      const passwords = { 'app-password': app.password, 'migrate-password': migrate.password };
      const config = conf.slice(conf.indexOf('authorization')).replace(/\$PASSWORD_(\w+)/g, (_, name) => {
        const account = name.toLowerCase().replaceAll('_', '-');
        return JSON.stringify((passwords[account] = randomBytes(12).toString('hex')));
      });
      const nats = await startNats(path.join(folder, 'nats'), { config });
      undo.push(() => nats.stop());
      done('kubectl', ['delete', 'namespace', PREFLIGHT, '--ignore-not-found', '--wait', '--timeout=120s']);
      undo.push(() => done('kubectl', ['delete', 'namespace', PREFLIGHT, '--ignore-not-found', '--wait=false']));
      undo.push(() => {
        done('helm', ['-n', 'jobmon-global', 'uninstall', 'jobmon-global', '--ignore-not-found']);
        done('kubectl', ['delete', 'namespace', 'jobmon-global', '--ignore-not-found', '--wait=false']);
      });
      const values = path.join(folder, 'values.json');
      writeFileSync(
        values,
        JSON.stringify({
          image: { registry: 'registry.example.org:5000/research' },
          database: {
            host: '127.0.0.1',
            port: mariadb.port,
            name: 'docker',
            existingSecret: 'jobmon-database',
          },
          nats: { url: `nats://127.0.0.1:${nats.port}`, existingSecret: 'jobmon-nats' },
          pods: { priorityClassName: 'jobmon-services' },
        }),
      );
      const look = () => {
        const { code, told } = server('preflight', '-n', PREFLIGHT, '--values', values);
        const lacking = told.checks.filter(({ verdict }) => verdict === 'missing');
        expect('the exit code', code, lacking.length === 0 ? 0 : 1);
        return { lacking: lacking.map(({ check }) => check), lines: [...new Set(lacking.flatMap(({ lines }) => lines))], told };
      };
      /** A line as it was said, with the passwords that only its reader knows. */
      const type = (line) => {
        const known = line.replace(/([\w-]+)(=|":")…/g, (_, key, sign) => `${key}${sign}${passwords[key]}`);
        if (known.includes('…')) throw new Error(`nobody knows what stands in ${line}`);
        done('sh', [
          '-c',
          known.replace(/-u root -p /, `-u jobmon --password=${mariadb.password} `).replace('helm/jobmon-global', `${root}/$&`),
        ]);
      };

      const empty = look();
      expect('missing from the start', empty.lacking, ['namespace', 'secrets', 'global', 'database', 'migration', 'nats']);
      empty.lines.forEach(type);
      const quota = JSON.stringify({
        ...{ apiVersion: 'v1', kind: 'ResourceQuota' },
        metadata: { name: 'small' },
        spec: { hard: { 'requests.cpu': '1', pods: '50' } },
      });
      done('kubectl', ['-n', PREFLIGHT, 'apply', '-f', '-'], quota);
      until(
        'the quota in force',
        () =>
          done('kubectl', ['-n', PREFLIGHT, 'get', 'resourcequota', 'small', '-o', 'jsonpath={.status.hard.pods}']).stdout ===
          '50',
      );
      const patch = JSON.stringify({ stringData: { api: 'not-this-one' } });
      done('kubectl', ['-n', PREFLIGHT, 'patch', 'secret', 'jobmon-nats', '-p', patch]);
      const later = look();
      expect('missing then', later.lacking, ['quota', 'connections', 'nats']);
      later.lines.forEach(type);
      const end = look();
      expect('missing at the end', end.lacking, []);
      const typed = empty.lines.length + later.lines.length;
      return `${empty.lacking.length + later.lacking.length} lacks named (${[...empty.lacking, ...later.lacking].join(', ')}), ${typed} lines typed, then all ${end.told.checks.length} checks well`;
    } finally {
      for (const step of undo.reverse()) await step();
    }
  }

  return [
    { name: 'reapers', prove: reapers },
    { name: 'orphans', prove: orphaned },
    { name: 'preflight', prove: preflight },
  ];
}
