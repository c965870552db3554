/**
 * `npm run cluster`: a real Kubernetes on this machine (control plane, one node with kubelet and containerd, a source of metrics), and proofs on it
 * of what a rendered chart can't tell. tools/cluster/control-plane starts the processes; this is its face.
 */
import { spawnSync } from 'node:child_process';
import { homedir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { proofsOf } from './cluster/proofs.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const CONTROL_PLANE = path.join(ROOT, 'tools', 'cluster', 'control-plane');
/** The longest proof took 4 minutes on 2 cores. */
const PROOF_MS_MAX = 900_000;
const COMMANDS = ['build', 'up', 'down', 'status', 'env', 'test'];

const HELP = `Usage: npm run cluster -- COMMAND [options]

A real Kubernetes on this machine, without a container engine or an image registry.

Commands:
  build   the programs from their Go modules, once (Go 1.26; 17 minutes on 2 cores)
  up      start it; builds first when programs are missing
  down    end it, with all that runs on it
  status  its processes
  env     the line that makes a shell use it: eval "$(npm run --silent cluster -- env)"
  test    proofs of the chart on it; starts it when it is not up, and ends it then

Options:
  --only a,b  these proofs alone: ${proofsOf({})
    .proofs.map(({ name }) => name)
    .join(', ')}
  -h, --help  this text

Settings:
  JOBMON_CLUSTER_HOME      programs and state; default: ~/.cache/kube-control-plane, or that of XDG_CACHE_HOME
  JOBMON_CLUSTER_INSTANCE  name of the cluster, for several at once; default: default
  JOBMON_CLUSTER_PORT      the first of its six ports of 127.0.0.1; default: 16440

Needs Linux on x64, root, and the Debian packages runc, nftables, iproute2.

Exit codes: 0 done, 1 a proof failed or it could not start, 2 wrong usage.
`;

class Usage extends Error {}

function flags() {
  let parsed;
  try {
    parsed = parseArgs({
      allowPositionals: true,
      options: { only: { type: 'string' }, help: { type: 'boolean', short: 'h', default: false } },
    });
  } catch (error) {
    throw new Usage(error.message);
  }
  const { values, positionals } = parsed;
  if (values.help) return { help: true };
  if (positionals.length !== 1 || !COMMANDS.includes(positionals[0])) {
    throw new Usage(`name one command: ${COMMANDS.join(', ')}`);
  }
  const [command] = positionals;
  if (values.only !== undefined && command !== 'test') throw new Usage(`--only belongs to test, not to ${command}`);
  const only = values.only?.split(',');
  const names = proofsOf({}).proofs.map(({ name }) => name);
  const unknown = (only ?? []).filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Usage(`--only: no proof is called ${unknown.join(', ')}; there are ${names.join(', ')}`);
  return { help: false, command, only };
}

function controlPlane(command, stdio = 'inherit') {
  const { status, stdout, error } = spawnSync(CONTROL_PLANE, [command], { stdio, encoding: 'utf8' });
  if (error !== undefined) throw new Error(`tools/cluster/control-plane can't be started: ${error.message}. It needs bash`);
  return { status, stdout };
}

/** The environment in which kubectl and helm are administrators of the cluster. */
function asAdmin() {
  const cache = process.env.XDG_CACHE_HOME?.startsWith('/') ? process.env.XDG_CACHE_HOME : path.join(homedir(), '.cache');
  const home = process.env.JOBMON_CLUSTER_HOME ?? path.join(cache, 'kube-control-plane');
  const run = path.join(home, 'run', process.env.JOBMON_CLUSTER_INSTANCE ?? 'default');
  return {
    ...process.env,
    KUBECONFIG: path.join(run, 'pki', 'admin.kubeconfig'),
    PATH: `${path.join(home, 'bin')}:${process.env.PATH}`,
  };
}

/** What `proof` answers, or an error when it takes too long; the next proof is tried all the same. */
async function within(milliseconds, proof) {
  const patience = new AbortController();
  const late = pause(milliseconds, undefined, { signal: patience.signal }).then(() => {
    throw new Error(`no end after ${milliseconds / 60_000} minutes`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([proof, late]);
  } finally {
    patience.abort();
  }
}

async function test(only) {
  const wasUp = /^kube-apiserver +up/m.test(controlPlane('status', 'pipe').stdout);
  const { proofs: all, close } = proofsOf({ root: ROOT, env: asAdmin() });
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
  ]) {
    // A second signal ends it at once.
    process.once(signal, () => void close().finally(() => process.exit(128 + number)));
  }
  try {
    if (!wasUp && controlPlane('up', ['ignore', 'ignore', 'inherit']).status !== 0) throw new Error('the cluster did not start');
    let failed = 0;
    const proofs = all.filter(({ name }) => only?.includes(name) ?? true);
    for (const { name, prove } of proofs) {
      const began = Date.now();
      let [verdict, figure] = ['PASS', ''];
      try {
        figure = await within(PROOF_MS_MAX, prove());
      } catch (error) {
        [verdict, figure] = ['FAIL', error.message];
        failed += 1;
      }
      console.log(`${verdict}  ${name.padEnd(16)} ${((Date.now() - began) / 1_000).toFixed(1).padStart(6)} s  ${figure}`);
    }
    console.log(`${proofs.length - failed} of ${proofs.length} proofs passed`);
    return failed === 0 ? 0 : 1;
  } finally {
    await close();
    if (!wasUp) controlPlane('down', 'ignore');
  }
}

try {
  const { help, command, only } = flags();
  if (help) process.stdout.write(HELP);
  else process.exitCode = command === 'test' ? await test(only) : (controlPlane(command).status ?? 1);
} catch (error) {
  process.stderr.write(`Error: ${error.message}\n`);
  if (error instanceof Usage) process.stderr.write('npm run cluster -- --help tells the commands.\n');
  process.exitCode = error instanceof Usage ? 2 : 1;
}
