/**
 * `node tools/sbom.mjs FILE`: writes the list of components (CycloneDX) of what runs in production, by the lock file: names, versions, hashes and
 * licences. The same commit and npm give the same file, whatever the folder and the registry: npm's random number and its time are left out.
 *
 * npm is shown a lock file of production packages only. Told to omit the others itself it leaves out packages that both sides need.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const read = (file) => JSON.parse(readFileSync(path.join(ROOT, file), 'utf8'));
const withoutOthers = (manifest) => ({ ...manifest, devDependencies: undefined, optionalDependencies: undefined });

/** A licence in the old ways of writing it, which lock files do not take over. */
function licenceOf(place) {
  const { license, licenses = [] } = read(path.join(place, 'package.json'));
  return [license, ...licenses].map((given) => given?.type ?? given).find((given) => typeof given === 'string');
}

/** The list, as an object. Throws with what npm said. */
export function componentsOfProduction() {
  const manifest = withoutOthers(read('package.json'));
  const lock = read('package-lock.json');
  const isNeeded = ([place, { dev, devOptional, optional, peer }]) => place === '' || !(dev || devOptional || optional || peer);
  const packages = Object.fromEntries(Object.entries(lock.packages).filter(isNeeded));
  packages[''] = withoutOthers(packages['']);
  for (const [place, one] of Object.entries(packages)) if (one.license === undefined) one.license = licenceOf(place);
  const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-sbom-'));
  try {
    writeFileSync(path.join(folder, 'package.json'), JSON.stringify(manifest));
    writeFileSync(path.join(folder, 'package-lock.json'), JSON.stringify({ ...lock, packages }));
    // Whatever a person's own settings leave out.
    const all = ['dev', 'optional', 'peer'].map((kind) => `--include=${kind}`);
    const { status, stdout, stderr } = spawnSync('npm', ['sbom', '--sbom-format=cyclonedx', '--package-lock-only', ...all], {
      cwd: folder,
      encoding: 'utf8',
      maxBuffer: 64 * 1024 ** 2,
    });
    if (status !== 0) throw new Error(`npm can't list the components: ${stderr.trim()}`);
    const list = JSON.parse(stdout);
    delete list.serialNumber;
    delete list.metadata.timestamp;
    list.metadata.component.name = manifest.name;
    return list;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [file] = process.argv.slice(2);
  if (file === undefined) throw new Error('name the file: node tools/sbom.mjs FILE');
  writeFileSync(file, `${JSON.stringify(componentsOfProduction(), undefined, 2)}\n`);
}
