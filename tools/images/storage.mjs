/** Images on this machine, by buildah: no engine, no daemon, a storage of its own. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { find, install } from '../server.mjs';

/** This machine can't build images; the message says what it lacks. */
export class Unable extends Error {}

/** Where credentials of registries may stand, and where the certificates that this machine trusts are. */
const AUTHORITIES = '/etc/ssl/certs/ca-certificates.crt';

export class Storage {
  /** Opens the storage in `folder`, made when missing. Throws Unable where images can't be built. */
  static open(folder, say) {
    if (process.platform !== 'linux') throw new Unable('images are built on Linux only');
    if (process.getuid() !== 0) throw new Unable('images are built as root only: their files belong to other users. Use sudo');
    if (!find('buildah')) {
      try {
        install('buildah', 'buildah');
      } catch (error) {
        throw new Unable(error.message);
      }
    }
    mkdirSync(folder, { recursive: true });
    const refusals = [];
    for (const driver of ['overlay', 'vfs']) {
      const storage = new Storage(folder, driver, say);
      const refusal = storage.refusal();
      if (refusal === undefined) return storage;
      refusals.push(`${driver}: ${refusal}`);
    }
    throw new Unable(`buildah can't keep images in ${folder} (${refusals.join('; ')})`);
  }

  constructor(folder, driver, say) {
    this.folder = folder;
    this.driver = driver;
    this.say = say;
    this.containers = [];
  }

  call(args) {
    const home = path.join(this.folder, this.driver);
    const own = ['--root', home, '--runroot', path.join(home, 'run'), '--storage-driver', this.driver];
    return spawnSync('buildah', [...own, ...args], { encoding: 'utf8', maxBuffer: 256 * 1024 ** 2 });
  }

  /** One call's standard output, trimmed. Throws with the end of what it said. */
  buildah(...args) {
    const { status, stdout, stderr } = this.call(args);
    if (status !== 0)
      throw new Error(`buildah ${args[0]} failed:\n${`${stdout}\n${stderr}`.trim().split('\n').slice(-25).join('\n')}`);
    return stdout.trim();
  }

  /** Why this driver does not work here, or undefined. Overlays are refused on some file systems and in some containers. */
  refusal() {
    const made = this.call(['from', 'scratch']);
    if (made.status !== 0) return made.stderr.trim().split('\n').at(-1);
    const mounted = this.call(['mount', made.stdout.trim()]);
    this.call(['rm', made.stdout.trim()]);
    return mounted.status === 0 ? undefined : mounted.stderr.trim().split('\n').at(-1);
  }

  has(image) {
    return this.call(['inspect', '--type', 'image', image]).status === 0;
  }

  /** Builds one target of docker/Dockerfile. Packages come from the registry that npm uses, through npm's own cache. */
  build({ root, target, tag, base, version, commit, seconds }) {
    const npm = (key) => spawnSync('npm', ['config', 'get', key], { encoding: 'utf8', cwd: root }).stdout.trim();
    const cache = npm('cache');
    mkdirSync(cache, { recursive: true });
    const npmrc = path.join(this.folder, 'npmrc');
    writeFileSync(npmrc, `registry=${npm('registry')}\ncache=/var/cache/npm\nprefer-offline=true\n`, { mode: 0o600 });
    try {
      this.buildah(
        'bud',
        ...['--isolation', 'chroot', '--format', 'docker', '--layers', '--pull-never'],
        // What the files and the image say of their age: the commit's. The same commit gives the same image.
        ...['--timestamp', String(seconds)],
        ...['--secret', `id=npmrc,src=${npmrc}`],
        ...(existsSync(AUTHORITIES) ? ['--secret', `id=ca,src=${AUTHORITIES}`] : []),
        ...['--volume', `${cache}:/var/cache/npm`],
        ...['--build-arg', `BASE=${base}`, '--build-arg', `VERSION=${version}`, '--build-arg', `COMMIT=${commit}`],
        ...['--ignorefile', path.join(root, 'docker', 'Dockerfile.dockerignore')],
        ...['-f', path.join(root, 'docker', 'Dockerfile'), '--target', target, '-t', `localhost/jobmon/${target}:${tag}`, root],
      );
    } finally {
      rmSync(npmrc, { force: true });
    }
  }

  /** `{config, history, layers, digest}` of an image: its configuration, the steps that made it, its layers' digests. */
  inspect(image) {
    const whole = JSON.parse(this.buildah('inspect', '--type', 'image', image));
    return {
      config: whole.Docker.config,
      history: whole.Docker.history ?? [],
      layers: whole.Docker.rootfs.diff_ids,
      digest: whole.FromImageDigest,
    };
  }

  /** Mounts an image's root file system; unmounted by `close()`. */
  mount(image) {
    const container = this.buildah('from', '--pull-never', image);
    this.containers.push(container);
    return this.buildah('mount', container);
  }

  /** Writes an image where an engine or containerd takes it from; answers the file. */
  export(image, file) {
    rmSync(file, { force: true });
    this.buildah('push', `localhost/${image}`, `docker-archive:${file}:${image}`);
    return file;
  }

  close() {
    for (const container of this.containers.splice(0)) this.call(['rm', container]);
  }
}
