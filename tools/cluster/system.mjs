/**
 * The whole system on the cluster, from nothing: our images on the real node, the chart in a namespace under PodSecurity restricted, MariaDB and NATS with
 * the accounts of docker/accounts.sql and of the chart's nats.conf on this machine, where pods reach them. Each proof goes on where the one before ended.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { makeAccounts } from '../images/accounts.mjs';
import { PROCESSES } from '../images/processes.mjs';
import { startMariadb } from '../mariadb.mjs';
import { startNats } from '../nats.mjs';
import { autoscalerProof } from './proofs-autoscaler.mjs';
import { builtInProof } from './proofs-built-in.mjs';
import { upgradeProofs } from './proofs-upgrade.mjs';
import { kill9, WIRE_HOSTS, workProofs } from './work.mjs';

const NAMESPACE = 'jobmon-system';
/** 127.0.0.1 at this port is the api's Service. */
const REACH_PORT = 16469;
/** This machine as pods see it (tools/cluster/control-plane). */
const HOST = '10.245.0.1';
const READY_SECONDS_MAX = 600;
const SERVICES = ['api', 'state-machine', 'scheduler', 'log-sink', 'reaper'];
/** Revisions that helm keeps, as docs/operating/upgrade.md says. */
const HISTORY = 10;

export class System {
  undo = [];
  token = randomBytes(24).toString('hex');
  isReached = false;

  /** `env` leads to the cluster, `cluster` runs tools/cluster/control-plane, `done` a program with the cluster's environment, or throws what it said. */
  constructor({ root, env, cluster, done }) {
    Object.assign(this, { root, env, cluster, done });
    this.proofs = [
      { name: 'images', prove: () => this.images() },
      { name: 'install', prove: () => this.install() },
      { name: 'helm-test', prove: () => this.helmTest() },
      { name: 'scale', prove: () => this.scale() },
      autoscalerProof(this, NAMESPACE),
      { name: 'kill', prove: () => this.kill() },
      { name: 'restart', prove: () => this.restart() },
      ...workProofs(this),
      { name: 'deploy', prove: () => this.deploy() },
      { name: 'rollback', prove: () => this.rollback() },
      { name: 'failing', prove: () => this.failing() },
      ...upgradeProofs(this),
      { name: 'remove', prove: () => this.remove() },
      builtInProof(this),
    ];
  }

  kubectl(...args) {
    return this.done('kubectl', ['-n', NAMESPACE, ...args]).stdout;
  }

  apply(...objects) {
    this.done('kubectl', ['apply', '-f', '-'], objects.map((object) => JSON.stringify(object)).join('\n---\n'));
  }

  /** Builds, unless the folder that JOBMON_CLUSTER_IMAGES names holds them, and imports into the node. */
  images() {
    let folder = process.env.JOBMON_CLUSTER_IMAGES;
    if (folder === undefined) {
      folder = mkdtempSync(path.join(tmpdir(), 'jobmon-cluster-images-'));
      this.undo.push(() => rmSync(folder, { recursive: true, force: true }));
      this.done(process.execPath, [path.join(this.root, 'tools', 'images.mjs'), '--without-run', '--export', folder]);
    }
    for (const { name } of PROCESSES) this.cluster('import', path.join(folder, `${name}.tar`));
    return `${PROCESSES.length} images on the node`;
  }

  /** Where this machine reaches the api and the database: `{url, database}`. */
  reached() {
    if (!this.isReached) {
      const address = this.kubectl('get', 'service', 'jobmon-api', '-o', 'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}');
      this.cluster('reach', String(REACH_PORT), address);
      this.isReached = true;
    }
    return { url: `http://127.0.0.1:${REACH_PORT}`, database: `${this.mariadb.url}/docker` };
  }

  /** Values without a database and a bus. */
  ownValues({ replicas = 1, level = 'info', autoscaling = { enabled: false } } = {}) {
    const small = { replicas, autoscaling, resources: { requests: { cpu: '20m', memory: '64Mi' } } };
    return {
      image: { registry: 'docker.io', pullPolicy: 'Never' },
      login: { mode: 'off', open: true, existingSecret: 'jobmon-token' },
      ...{ api: { ...small, hosts: WIRE_HOSTS }, stateMachine: small, scheduler: small, logSink: small, reaper: small },
      settings: { log: { level } },
    };
  }

  values(given) {
    return {
      ...this.ownValues(given),
      database: { host: HOST, port: this.mariadb.port, name: 'docker', existingSecret: 'jobmon-database', maxConnections: 500 },
      nats: { url: `nats://${HOST}:${this.nats.port}`, existingSecret: 'jobmon-nats' },
    };
  }

  /** Arguments of `helm` for a command of the chart, whose values come by standard input. */
  chartArgs(command, ...more) {
    return ['-n', NAMESPACE, command, 'jobmon', path.join(this.root, 'helm', 'jobmon'), '--values', '-', ...more];
  }

  helm(command, values, ...more) {
    return this.done('helm', this.chartArgs(command, ...more), JSON.stringify(values));
  }

  /** A command of helm about the release. */
  release(command, ...more) {
    return this.done('helm', ['-n', NAMESPACE, command, 'jobmon', ...more]).stdout;
  }

  /** Arguments of `mariadb` and the environment for them; by the administrator. */
  get #sqlCall() {
    const { port, password } = this.mariadb;
    const args = ['--no-defaults', '-N', '-B', '-h127.0.0.1', `-P${port}`, '-ujobmon', 'docker', '-e'];
    return { args, env: { ...process.env, MYSQL_PWD: password } };
  }

  /** What a statement answers, as text. */
  sql(statement) {
    const { args, env } = this.#sqlCall;
    const { status, stdout, stderr } = spawnSync('mariadb', [...args, statement], { env, encoding: 'utf8' });
    if (status !== 0) throw new Error(`${statement}: ${stderr.trim()}`);
    return stdout.trim();
  }

  /** Statements of a session that stays; `kill()` ends it. */
  sqlSession(statements) {
    const { args, env } = this.#sqlCall;
    const child = spawn('mariadb', [...args, statements], { env, stdio: 'ignore' });
    this.undo.push(() => child.kill());
    return child;
  }

  /** Killed, and started again at its address with an empty store. */
  async strikeNats() {
    const { pid, port } = this.nats;
    await kill9(pid);
    rmSync(path.join(this.folder, 'nats', 'store'), { recursive: true, force: true });
    this.nats = await startNats(path.join(this.folder, 'nats'), { port, config: this.natsConfig });
  }

  /** Killed, and started again at its address. */
  async strikeMariadb() {
    const { pid, port, password } = this.mariadb;
    await kill9(pid);
    this.mariadb = await startMariadb(path.join(this.folder, 'mariadb'), { port, password });
  }

  /** Installed from nothing, every Deployment ready. */
  async install() {
    const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-cluster-'));
    this.undo.push(() => rmSync(folder, { recursive: true, force: true }));
    this.folder = folder;
    this.mariadb = await startMariadb(path.join(folder, 'mariadb'));
    this.undo.push(() => this.mariadb.stop());
    const passwords = Object.fromEntries(SERVICES.map((name) => [name, randomBytes(12).toString('hex')]));
    const conf = readFileSync(path.join(this.root, 'helm', 'jobmon', 'files', 'nats', 'nats.conf'), 'utf8');
    this.natsConfig = conf
      .slice(conf.indexOf('authorization'))
      .replace(/\$PASSWORD_(\w+)/g, (_, name) => JSON.stringify(passwords[name.toLowerCase().replaceAll('_', '-')]));
    this.nats = await startNats(path.join(folder, 'nats'), { config: this.natsConfig });
    this.undo.push(() => this.nats.stop());
    for (const { port } of [this.mariadb, this.nats]) this.cluster('expose', String(port));
    const { app, migrate } = makeAccounts(this.root, this.mariadb);
    const secret = (name, stringData) => ({
      ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: NAMESPACE } },
      stringData,
    });
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    this.apply(
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, labels } },
      secret('jobmon-database', { 'app-password': app.password, 'migrate-password': migrate.password }),
      secret('jobmon-nats', passwords),
      secret('jobmon-token', { token: this.token }),
    );
    const began = Date.now();
    this.helm('install', this.values(), '--wait', '--timeout', `${READY_SECONDS_MAX}s`);
    return `${this.pods().length} pods ready ${seconds(began)} s after helm install`;
  }

  /** Pods of the services, those that end left out. */
  pods() {
    const { items } = JSON.parse(this.kubectl('get', 'pods', '-o', 'json'));
    return items.filter(({ metadata, status }) => metadata.deletionTimestamp === undefined && status.phase === 'Running');
  }

  rolledOut() {
    for (const name of JSON.parse(this.kubectl('get', 'deployments', '-o', 'json')).items.map(({ metadata }) => metadata.name))
      this.kubectl('rollout', 'status', `deployment/${name}`, `--timeout=${READY_SECONDS_MAX}s`);
  }

  /** Six tasks in four tiers, by the chart's own test. */
  helmTest() {
    const began = Date.now();
    const said = this.release('test', '--timeout', `${READY_SECONDS_MAX}s`);
    if (!/Phase: +Succeeded/.test(said)) throw new Error(said.slice(-2_000));
    return `six tasks done in ${seconds(began)} s, the pod's start included`;
  }

  /** Each service by hand to two and back to one, as a value; the system works on. */
  scale() {
    const began = Date.now();
    this.helm('upgrade', this.values({ replicas: 2 }), '--wait', '--timeout', `${READY_SECONDS_MAX}s`);
    const many = this.pods().length;
    this.helmTest();
    this.helm('upgrade', this.values(), '--wait', '--timeout', `${READY_SECONDS_MAX}s`);
    return `${many} pods with two of each, a workflow among them, ${seconds(began)} s there and back`;
  }

  /** Every pod killed at once, without grace; the Deployments bring all back. */
  kill() {
    const began = Date.now();
    const before = this.pods().map(({ metadata }) => metadata.name);
    this.kubectl('delete', 'pod', ...before, '--grace-period=0', '--force');
    this.rolledOut();
    const again = seconds(began);
    const test = this.helmTest();
    return `${before.length} pods ready again after ${again} s; ${test}`;
  }

  /** Each Deployment restarted, and waited for. */
  replaceAll() {
    this.kubectl('rollout', 'restart', 'deployment', '-l', 'app.kubernetes.io/instance=jobmon');
    this.rolledOut();
  }

  /** Each Deployment restarted as for new passwords. */
  restart() {
    const began = Date.now();
    this.replaceAll();
    const all = seconds(began);
    return `all replaced one after the other in ${all} s; ${this.helmTest()}`;
  }

  /** The stage of a pipeline, as an upgrade: preflight, helm, `helm test`; and first without changing anything. */
  deploy() {
    const file = path.join(this.folder, 'values.yaml');
    writeFileSync(file, JSON.stringify(this.values()));
    const stage = path.join(this.root, '.ci', 'deploy');
    const call = (...more) => this.done(stage, ['--namespace', NAMESPACE, '--values', file, '--skip-servers', ...more]).stdout;
    const began = Date.now();
    const revision = () => JSON.parse(this.release('status', '-o', 'json')).version;
    const before = revision();
    const dry = call('--dry-run').trim().split('\n').at(-1);
    if (revision() !== before) throw new Error('a dry run made a revision');
    const said = call().trim().split('\n').at(-1);
    if (revision() !== before + 1) throw new Error(`revision ${before} became ${revision()}`);
    return `"${dry}", then "${said}", ${seconds(began)} s for both`;
  }

  /** Twelve revisions, ten of them kept, and back to the fifth last. */
  rollback() {
    const history = () => JSON.parse(this.release('history', '-o', 'json', '--max', '256'));
    const keep = ['--history-max', String(HISTORY)];
    for (let at = 0; history().at(-1).revision < 12; at += 1) {
      const [replicas, level] = [1, at % 2 === 0 ? 'debug' : 'info'];
      this.helm('upgrade', this.values({ replicas, level }), '--wait', '--timeout', `${READY_SECONDS_MAX}s`, ...keep);
    }
    const kept = history();
    if (kept.length !== HISTORY) throw new Error(`helm keeps ${kept.length} revisions, not ${HISTORY}`);
    const target = kept.at(-5).revision;
    const began = Date.now();
    this.release('rollback', String(target), '--wait', '--timeout', `${READY_SECONDS_MAX}s`, ...keep);
    return `${kept.length} of 12 revisions kept, back to revision ${target} in ${seconds(began)} s; ${this.helmTest()}`;
  }

  /** An upgrade whose migration can't succeed stops before any pod is replaced; with --atomic the release is as it was. */
  async failing() {
    const before = this.pods()
      .map(({ metadata }) => metadata.name)
      .sort();
    const values = this.values();
    values.database.migrateUser = 'nobody_of_this_name';
    values.migration = { attempts: 1, deadlineSeconds: 120 };
    let said = '';
    try {
      this.helm('upgrade', values, '--atomic', '--timeout', '180s');
    } catch (error) {
      said = error.message;
    }
    if (said === '') throw new Error('the upgrade with an account that does not exist succeeded');
    // helm keeps a hook that failed for its log, after an uninstall too.
    this.kubectl('delete', 'job', 'jobmon-migrate');
    const after = this.pods()
      .map(({ metadata }) => metadata.name)
      .sort();
    if (before.join() !== after.join()) throw new Error(`pods were replaced: ${before.join()} became ${after.join()}`);
    return `refused (${said.split('\n').at(-1).slice(0, 120)}), no pod replaced; ${this.helmTest()}`;
  }

  /** Uninstalled: nothing of the release is left. */
  async remove() {
    this.release('uninstall', '--wait', '--timeout', '180s');
    const kinds =
      'deployments,statefulsets,jobs,pods,services,configmaps,serviceaccounts,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers';
    let left = '';
    for (let look = 0; look < 120; look += 1) {
      left = this.kubectl('get', kinds, '-l', 'app.kubernetes.io/instance=jobmon', '-o', 'name').trim();
      if (left === '') break;
      await pause(500);
    }
    if (left !== '') throw new Error(`left: ${left}`);
    return 'nothing is left';
  }

  /** Ends what was started on this machine. */
  async close() {
    for (const step of this.undo.splice(0).reverse()) await step();
  }
}

const seconds = (began) => ((Date.now() - began) / 1_000).toFixed(1);
