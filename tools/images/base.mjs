/**
 * A base image where no registry can be reached: Debian's smallest set of packages, and this machine's Node with its npm at the places where
 * the official image has them. Made once for each Node; found again by its digest.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import path from 'node:path';
import { find, install } from '../server.mjs';
import { Unable } from './storage.mjs';

const SUITE = 'bookworm';
/** libstdc++ is what Node needs beside the C library; the authorities are for services that speak TLS. */
const PACKAGES = ['ca-certificates', 'libstdc++6'];
/** What a container never reads. */
const LEFT_OUT = ['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*', '/usr/share/info/*'];
const RECIPE = createHash('sha256')
  .update(JSON.stringify([SUITE, PACKAGES, LEFT_OUT, process.version, process.arch]))
  .digest('hex')
  .slice(0, 12);

/** The name by digest of the base, which is made when it is not there. Throws Unable where it can't be made. */
export function makeBase(storage, say) {
  const name = `localhost/jobmon-base:node-${process.versions.node}-${SUITE}-${RECIPE}`;
  if (!storage.has(name)) fill(storage, name, say);
  const { digest } = storage.inspect(name);
  return `${name.slice(0, name.lastIndexOf(':'))}@${digest}`;
}

function fill(storage, name, say) {
  if (!find('mmdebstrap')) {
    try {
      install('mmdebstrap', 'mmdebstrap');
    } catch (error) {
      throw new Unable(error.message);
    }
  }
  say(`Making the base ${name} of Debian's packages and Node ${process.version} (once; half a minute)`);
  const folder = mkdtempSync(path.join(storage.folder, 'base-'));
  try {
    const root = path.join(folder, 'root');
    const skipped = LEFT_OUT.map((glob) => `--dpkgopt=path-exclude=${glob}`);
    const args = ['--quiet', '--variant=minbase', `--include=${PACKAGES.join(',')}`, ...skipped, SUITE, `${root}.tar`];
    const made = spawnSync('mmdebstrap', args, { encoding: 'utf8' });
    if (made.status !== 0) throw new Unable(`Debian's packages could not be had: ${made.stderr.trim().split('\n').at(-1)}`);
    mkdirSync(root);
    if (spawnSync('tar', ['-C', root, '-xf', `${root}.tar`]).status !== 0) throw new Error(`${root}.tar could not be unpacked`);
    placeNode(root);
    const works = spawnSync('chroot', [root, 'npm', '--version'], {
      encoding: 'utf8',
      env: { PATH: '/usr/local/bin:/usr/sbin:/usr/bin:/bin' },
    });
    if (works.status !== 0) {
      throw new Unable(
        `this machine's Node (${process.execPath}) does not run in Debian ${SUITE}: ${works.stderr.trim()}. Name a base by --base`,
      );
    }
    spawnSync('tar', ['-C', root, '--sort=name', '-cf', `${root}.tar`, '.']);
    const container = storage.buildah('from', 'scratch');
    storage.buildah('add', container, `${root}.tar`, '/');
    storage.buildah('config', '--env', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', container);
    storage.buildah('commit', '--format', 'docker', '--timestamp', '0', '--rm', container, name);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function placeNode(root) {
  const binary = realpathSync(process.execPath);
  const npm = npmFolder();
  const [bin, modules] = [path.join(root, 'usr/local/bin'), path.join(root, 'usr/local/lib/node_modules')];
  mkdirSync(modules, { recursive: true });
  copyFileSync(binary, path.join(bin, 'node'));
  cpSync(npm, path.join(modules, 'npm'), { recursive: true });
  for (const program of ['npm', 'npx']) symlinkSync(`../lib/node_modules/npm/bin/${program}-cli.js`, path.join(bin, program));
}

/** The folder of the npm that is used here: that of the program which started this one, else the one on the PATH. */
function npmFolder() {
  const started = process.env.npm_execpath ?? find('npm');
  let folder = started === undefined ? '/' : path.dirname(realpathSync(started));
  while (folder !== '/') {
    const manifest = path.join(folder, 'package.json');
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === 'npm') return folder;
    folder = path.dirname(folder);
  }
  throw new Unable('npm was not found beside Node: install it, or name a base by --base');
}
