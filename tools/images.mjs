/**
 * `npm run images`: builds an image for each process, for real and without a container engine or an image registry, checks what is in
 * them, starts each from its mounted root, and runs a workflow through all of them over a real MariaDB and a real NATS. Prints a table.
 *
 * Needs Linux, root, and the Debian packages buildah and (for the base) mmdebstrap, which it installs where it may. Where it can't
 * work it says why and counts as skipped; with CI=true that is a failure.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeBase } from './images/base.mjs';
import { checkImage, checkTogether, sizeOf } from './images/check.mjs';
import { PROCESSES } from './images/processes.mjs';
import { Storage, Unable } from './images/storage.mjs';
import { takeLock } from './lock.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
/** Another build in the same storage is waited for this long. */
const WAIT_SECONDS_MAX = 1_800;

const HELP = `Usage: npm run images -- [options]

Build, check and try the images of all processes.

Options:
  --only a,b        these alone: ${PROCESSES.map(({ name }) => name).join(', ')}; no workflow is run then
  --base IMAGE      build on this image, named by its digest (NAME@sha256:…). Default: one made here
                    of Debian's packages and this machine's Node, once
  --tag TAG         default: the version in package.json
  --export FOLDER   also write each image to FOLDER/PROCESS.tar, as \`docker load\` and \`ctr images import\` take it
  --without-run     build and check, start nothing
  --storage FOLDER  where images are kept; default: ~/.cache/jobmon/images
  -o, --output      text or json
  -h, --help        this text

Exit codes: 0 done or skipped, 1 something is wrong, 2 wrong usage.
`;

class Usage extends Error {}

function flags() {
  const options = {
    only: { type: 'string' },
    base: { type: 'string' },
    tag: { type: 'string' },
    export: { type: 'string' },
    'without-run': { type: 'boolean', default: false },
    storage: { type: 'string' },
    output: { type: 'string', short: 'o', default: 'text' },
    help: { type: 'boolean', short: 'h', default: false },
  };
  let values;
  try {
    ({ values } = parseArgs({ options }));
  } catch (error) {
    throw new Usage(error.message);
  }
  const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
  const tag = values.tag ?? version;
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(tag)) throw new Usage(`--tag '${tag}' is no tag of an image`);
  if (tag === 'latest') throw new Usage('--tag latest names another image each day: name a version');
  if (values.base !== undefined && !/@sha256:[0-9a-f]{64}$/.test(values.base)) {
    throw new Usage(`--base '${values.base}' must be named by its digest, NAME@sha256:…: a name alone is another image each day`);
  }
  if (!['text', 'json'].includes(values.output)) throw new Usage(`--output must be text or json, not '${values.output}'`);
  const names = values.only?.split(',') ?? PROCESSES.map(({ name }) => name);
  const unknown = names.filter((name) => !PROCESSES.some((process) => process.name === name));
  if (unknown.length > 0) {
    throw new Usage(
      `--only: no image is called ${unknown.join(', ')}; there are ${PROCESSES.map(({ name }) => name).join(', ')}`,
    );
  }
  const cache = process.env.XDG_CACHE_HOME?.startsWith('/') ? process.env.XDG_CACHE_HOME : path.join(homedir(), '.cache');
  const storage = path.resolve(values.storage ?? path.join(cache, 'jobmon', 'images'));
  return {
    ...values,
    tag,
    version,
    storage,
    isJson: values.output === 'json',
    wanted: PROCESSES.filter(({ name }) => names.includes(name)),
  };
}

/** The commit that the images are made from; `-changed` when files differ from it. */
function commitOfCheckout() {
  const git = (...args) => spawnSync('git', args, { cwd: ROOT, encoding: 'utf8' });
  const { status, stdout } = git('rev-parse', 'HEAD');
  if (status !== 0) return { commit: 'unknown', seconds: 0 };
  const isChanged = git('status', '--porcelain').stdout !== '';
  return {
    commit: `${stdout.trim()}${isChanged ? '-changed' : ''}`,
    seconds: Number(git('log', '-1', '--format=%ct').stdout),
  };
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

function table(rows) {
  const head = ['image', 'size', 'own', 'layers', 'user', 'health', 'started', 'stopped'];
  const cells = rows.map((row) => [
    row.image,
    megabytes(row.bytes),
    megabytes(row.own_bytes),
    `${row.layers} (${row.layers_shared} shared)`,
    row.user,
    row.has_healthcheck ? 'yes' : '-',
    row.ready_ms === undefined ? '-' : `${(row.ready_ms / 1000).toFixed(1)} s`,
    row.stopped_ms === undefined ? '-' : `${(row.stopped_ms / 1000).toFixed(1)} s`,
  ]);
  const widths = head.map((title, column) => Math.max(title.length, ...cells.map((line) => line[column].length)));
  return [head, ...cells]
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

async function main() {
  const given = flags();
  if (given.help) return void process.stdout.write(HELP);
  const say = (text) => process.stderr.write(`${text}\n`);
  const storage = Storage.open(given.storage, say);
  mkdirSync(given.storage, { recursive: true });
  const giveBack = takeLock(path.join(given.storage, 'lock'), {
    seconds_max: WAIT_SECONDS_MAX,
    onWait: (pid) => say(`Process ${pid} is building in ${given.storage}; waiting for it.`),
  });
  try {
    const base = given.base ?? makeBase(storage, say);
    const { commit, seconds } = commitOfCheckout();
    const rows = [];
    for (const { name } of given.wanted) {
      say(`Building jobmon/${name}:${given.tag}`);
      storage.build({ root: ROOT, target: name, tag: given.tag, base, version: given.version, commit, seconds });
    }
    const bare = { bytes: sizeOf(storage.mount(base)) };
    for (const target of given.wanted) {
      rows.push(checkImage(storage, target, { root: ROOT, tag: given.tag, version: given.version, commit, base: bare }));
    }
    checkTogether(rows);
    let workflow = 'not run';
    if (!given['without-run'] && given.wanted.length === PROCESSES.length) {
      const { runWorkflow } = await import('./images/workflow.mjs');
      workflow = await runWorkflow(storage, { root: ROOT, tag: given.tag, rows, say });
    }
    if (given.export !== undefined) {
      const folder = path.resolve(given.export);
      mkdirSync(folder, { recursive: true });
      for (const row of rows) row.archive = storage.export(row.image, path.join(folder, `${row.process}.tar`));
    }
    const answer = { base, version: given.version, commit, images: rows, workflow };
    const text = `${table(rows)}\n\nBase: ${base}, ${megabytes(bare.bytes)}\nCommit: ${commit}\nWorkflow through the images: ${workflow.sentence ?? workflow}\n`;
    process.stdout.write(given.isJson ? `${JSON.stringify(answer, undefined, 2)}\n` : text);
  } finally {
    storage.close();
    giveBack();
  }
}

// Servers that are installed on the way say so; standard output is for the result.
console.log = console.error;
try {
  await main();
} catch (error) {
  const isUsage = error instanceof Usage;
  const isSkipped = error instanceof Unable && process.env.CI !== 'true';
  process.stderr.write(isSkipped ? `skipped: ${error.message}\n` : `Error: ${error.message}\n`);
  if (isUsage) process.stderr.write('npm run images -- --help tells the options.\n');
  process.exitCode = isUsage ? 2 : isSkipped ? 0 : 1;
}
