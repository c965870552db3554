/**
 * The chart's own MariaDB and NATS, for trying out: installed with them, at work, and both pods killed under it. Their image is made of Debian's packages,
 * since no registry can be reached; the database's volume is a folder of this machine.
 */
import { appendFileSync, chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { find, install } from '../server.mjs';
import { strikeUnderWork } from './work.mjs';

const NAMESPACE = 'jobmon-built-in';
const IMAGE = 'localhost/servers:1';
const VOLUME = 'jobmon-built-in';
/** 127.0.0.1 at these ports is the api's Service, and the database's. */
const REACH_PORT = 16467;
const DATABASE_PORT = 16468;
/** Any number that is not root's; it gets a name, because MariaDB asks for the name of its user. */
const USER = 999;
const READY = ['--wait', '--timeout', '300s'];

/** This proof; `system` (system.mjs) lends its token and what ends things, its images are on the node. */
export function builtInProof(system) {
  const { cluster, done, root, undo } = system;
  const kubectl = (...args) => done('kubectl', ['-n', NAMESPACE, ...args]).stdout;
  const helm = (...args) => done('helm', ['-n', NAMESPACE, ...args]).stdout;
  const apply = (...objects) =>
    done('kubectl', ['apply', '-f', '-'], objects.map((object) => JSON.stringify(object)).join('\n---\n'));

  /** One image with both servers. */
  function serversOnTheNode(folder) {
    if (!find('mmdebstrap')) install('mmdebstrap', 'mmdebstrap');
    // Unpacked here without /dev: while a root folder is filled, this machine's own stands mounted in it.
    const [archive, files] = [path.join(folder, 'root.tar'), path.join(folder, 'root')];
    const packages = '--include=mariadb-server,nats-server';
    done('mmdebstrap', ['--quiet', '--variant=minbase', packages, 'bookworm', archive]);
    mkdirSync(files);
    const leftOut = ['./dev', './var/lib/mysql', './var/cache/apt', './usr/share/doc'].map((folder) => `--exclude=${folder}`);
    done('tar', ['-C', files, ...leftOut, '-xf', archive]);
    appendFileSync(path.join(files, 'etc', 'passwd'), `servers:x:${USER}:${USER}::/tmp:/bin/sh\n`);
    const config = { Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'] };
    cluster('image', IMAGE, JSON.stringify(config), `${files}:/`);
  }

  function values() {
    const builtIn = { enabled: true, image: IMAGE, runAsUser: USER, resources: {} };
    const database = { name: 'docker', builtIn: { ...builtIn, storage: '1Gi' } };
    return JSON.stringify({ ...system.ownValues(), database, nats: { builtIn } });
  }

  function reached() {
    const address = (service) =>
      kubectl('get', 'service', service, '-o', 'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}').trim();
    cluster('reach', String(REACH_PORT), address('jobmon-api'));
    cluster('reach', String(DATABASE_PORT), address('jobmon-database'));
    const { data } = JSON.parse(kubectl('get', 'secret', 'jobmon-database', '-o', 'json'));
    const password = Buffer.from(data['app-password'], 'base64').toString();
    return { url: `http://127.0.0.1:${REACH_PORT}`, database: `mariadb://app:${password}@127.0.0.1:${DATABASE_PORT}/docker` };
  }

  /** The pod is gone at once; its Deployment brings another. */
  function strike(name) {
    kubectl('delete', 'pod', '-l', `app.kubernetes.io/component=${name}`, '--grace-period=0', '--force');
    kubectl('rollout', 'status', `deployment/jobmon-${name}`, '--timeout=120s');
  }

  async function builtIn() {
    const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-cluster-built-in-'));
    undo.push(() => rmSync(folder, { recursive: true, force: true }));
    const data = path.join(folder, 'data');
    mkdirSync(data);
    for (const open of [folder, data]) chmodSync(open, 0o777);
    serversOnTheNode(folder);
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    const token = { metadata: { name: 'jobmon-token', namespace: NAMESPACE }, stringData: { token: system.token } };
    const spec = { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], hostPath: { path: data } };
    apply(
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, labels } },
      { apiVersion: 'v1', kind: 'Secret', ...token },
      { apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name: VOLUME }, spec },
    );
    try {
      const began = Date.now();
      const chart = path.join(root, 'helm', 'jobmon');
      done('helm', ['-n', NAMESPACE, 'install', 'jobmon', chart, '--values', '-', ...READY], values());
      const ready = ((Date.now() - began) / 1_000).toFixed(1);
      if (!/Phase: +Succeeded/.test(helm('test', 'jobmon', '--timeout', '300s'))) throw new Error('helm test failed');
      const own = { root, token: system.token, undo, reached };
      const came = await strikeUnderWork(own, 'builtin', {
        'the pod of NATS': () => strike('nats'),
        'that of MariaDB': () => strike('database'),
      });
      helm('uninstall', 'jobmon', '--wait', '--timeout', '180s');
      return `ready ${ready} s after helm install, helm test done; ${came}`;
    } finally {
      done('kubectl', ['delete', 'namespace', NAMESPACE, '--wait=true', '--timeout=120s']);
      done('kubectl', ['delete', 'persistentvolume', VOLUME, '--wait=false']);
    }
  }

  return { name: 'built-in', prove: builtIn };
}
