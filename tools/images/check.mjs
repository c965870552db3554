/** What must be true of each image: whom it runs as, what it says of itself, what is in it and what is not, and how large it may be. */
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** Unpacked bytes that an image may add to its base: packages are 60 MB, a bundle with its source map at most 5 MB. */
const OWN_BYTES_MAX = 80e6;
/** Layers that an image has for itself. */
const OWN_LAYERS_MAX = 4;
const HOME = 'opt/jobmon';
/** File names that hold credentials or belong to a person. */
const PRIVATE = /^(\.npmrc|\.env.*|\.git|\.netrc|id_(rsa|ed25519)|.*\.(pem|key|ini))$/;
const SECRET_WORDS = /(TOKEN|PASSWORD|SECRET|CREDENTIAL)[A-Z_]*=./i;

/** A row of the table. Throws one error that tells everything that is wrong with the image. */
export function checkImage(storage, target, { root, tag, version, commit, base }) {
  const image = `jobmon/${target.name}:${tag}`;
  const found = storage.inspect(`localhost/${image}`);
  const files = storage.mount(`localhost/${image}`);
  const wrong = [
    ...sayings(found, target, { version, commit }),
    ...contents(path.join(files, HOME), target, root),
    ...packages(path.join(files, HOME), root),
    ...components(path.join(files, HOME)),
  ];
  const bytes = sizeOf(files);
  const own_bytes = bytes - base.bytes;
  if (own_bytes > OWN_BYTES_MAX) wrong.push(`adds ${own_bytes} bytes to its base, more than ${OWN_BYTES_MAX}`);
  if (wrong.length > 0) throw new Error(`${image}:\n${wrong.map((sentence) => `  - ${sentence}`).join('\n')}`);
  return {
    process: target.name,
    image,
    digest: found.digest,
    bytes,
    own_bytes,
    layers: found.layers.length,
    layer_ids: found.layers,
    user: found.config.User,
    has_healthcheck: target.has_healthcheck,
    root: files,
    env: found.config.Env,
    entrypoint: found.config.Entrypoint,
  };
}

/** The images share their layers but the last few. Adds `layers_shared` to each row. */
export function checkTogether(rows) {
  for (const row of rows) {
    row.layers_shared = row.layer_ids.findIndex((id, at) => rows.some(({ layer_ids }) => layer_ids[at] !== id));
    if (row.layers_shared === -1) row.layers_shared = row.layers;
    if (row.layers - row.layers_shared > OWN_LAYERS_MAX) {
      throw new Error(
        `${row.image} shares ${row.layers_shared} of its ${row.layers} layers with the others; it may have ${OWN_LAYERS_MAX} of its own`,
      );
    }
  }
  for (const row of rows) delete row.layer_ids;
}

/** What the image says of itself. */
function sayings({ config, history }, target, { version, commit }) {
  const wrong = [];
  const expect = (what, is, wanted) => {
    if (JSON.stringify(is ?? null) !== JSON.stringify(wanted))
      wrong.push(`${what} is ${JSON.stringify(is)}, not ${JSON.stringify(wanted)}`);
  };
  expect('user', config.User, '1000:1000');
  expect('working folder', config.WorkingDir, '/opt/jobmon');
  expect('entry point', config.Entrypoint, target.entrypoint);
  expect('ports', Object.keys(config.ExposedPorts ?? {}).sort(), target.ports);
  const test = config.Healthcheck?.Test;
  expect('health check', test, target.has_healthcheck ? ['CMD', 'node', '/opt/jobmon/healthcheck.js'] : ['NONE']);
  const labels = { title: `jobmon/${target.name}`, version, revision: commit, licenses: 'Apache-2.0', vendor: 'Jobmon' };
  for (const [key, value] of Object.entries(labels))
    expect(`label ${key}`, config.Labels?.[`org.opencontainers.image.${key}`], value);
  for (const setting of config.Env ?? [])
    if (SECRET_WORDS.test(setting)) wrong.push(`the environment has a secret: ${setting.split('=')[0]}`);
  for (const { created_by = '' } of history) if (SECRET_WORDS.test(created_by)) wrong.push('a step of the build shows a secret');
  return wrong;
}

/** The process and no other one; nothing that the user could write to, nothing private. */
function contents(home, target, root) {
  const wrong = [];
  const apps = readdirSync(path.join(home, 'dist', 'apps'));
  if (apps.join() !== target.app) wrong.push(`dist/apps has ${apps.join(', ')}, not ${target.app} alone`);
  if (!existsSync(path.join(home, 'dist', 'apps', target.app, 'main.js')))
    wrong.push(`dist/apps/${target.app}/main.js is missing`);
  for (const name of ['apps', 'libs', 'tools', 'tsconfig.base.json']) {
    if (existsSync(path.join(home, name))) wrong.push(`has ${name}, which is for building only`);
  }
  const writable = [];
  const priv = [];
  for (const entry of readdirSync(home, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    const { uid, mode } = lstatSync(file);
    if (!entry.isSymbolicLink() && (uid !== 0 || (mode & 0o022) !== 0)) writable.push(path.relative(home, file));
    // Packages carry keys for their own tests; ours are looked at.
    if (PRIVATE.test(entry.name) && !file.includes('/node_modules/')) priv.push(path.relative(home, file));
  }
  if (writable.length > 0)
    wrong.push(
      `${writable.length} files belong to others than root or can be written by them: ${writable.slice(0, 3).join(', ')}`,
    );
  if (priv.length > 0) wrong.push(`has ${priv.join(', ')}`);
  const { name } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  if (JSON.parse(readFileSync(path.join(home, 'package.json'), 'utf8')).name !== name) wrong.push('package.json is another one');
  return wrong;
}

/** Exactly what the lock file says that production needs, and nothing of what development needs. */
function packages(home, root) {
  const wrong = [];
  const locked = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages;
  let count = 0;
  for (const [place, { dev, devOptional, optional, peer, version }] of Object.entries(locked)) {
    if (place === '') continue;
    const manifest = path.join(home, place, 'package.json');
    const isThere = existsSync(manifest);
    if ((dev || devOptional || optional) && isThere) wrong.push(`has a package that production does not need: ${place}`);
    if (dev || devOptional || optional || peer) continue;
    count += 1;
    if (!isThere) wrong.push(`lacks ${place}`);
    else if (JSON.parse(readFileSync(manifest, 'utf8')).version !== version) wrong.push(`${place} is not ${version}`);
  }
  if (count === 0) wrong.push('the lock file names no production package');
  return wrong;
}

/** The list of components names each package that is there, with its licence, and no other. */
function components(home) {
  const named = JSON.parse(readFileSync(path.join(home, 'sbom.cdx.json'), 'utf8')).components;
  const have = new Set(named.map(({ name, version }) => `${name}@${version}`));
  const { packages: locked } = JSON.parse(readFileSync(path.join(home, 'node_modules', '.package-lock.json'), 'utf8'));
  const installed = Object.entries(locked).map(([place, { version }]) => `${place.split('node_modules/').at(-1)}@${version}`);
  const unlicensed = named
    .filter(({ licenses = [] }) => licenses.length === 0)
    .map(({ name }) => `${name} has no licence in sbom.cdx.json`);
  const missing = installed.filter((name) => !have.has(name)).map((name) => `sbom.cdx.json lacks ${name}`);
  const more = [...have]
    .filter((name) => !installed.includes(name))
    .map((name) => `sbom.cdx.json has ${name}, which is not there`);
  return [...missing, ...more, ...unlicensed];
}

/** Bytes of all files below a folder; a file with several names counts once. */
export function sizeOf(folder) {
  const seen = new Set();
  let bytes = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const { size, ino, nlink } = lstatSync(path.join(entry.parentPath ?? entry.path, entry.name));
    if (nlink > 1 && seen.has(ino)) continue;
    seen.add(ino);
    bytes += size;
  }
  return bytes;
}
