/** The list of components that images and releases carry: npm makes it of the lock file, and it is held against that here and against an image there. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(__dirname, '..');

interface Component {
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly licenses?: readonly unknown[];
  readonly hashes?: readonly { readonly alg: string }[];
}
interface Locked {
  readonly packages: Record<string, { version: string; dev?: true; devOptional?: true; optional?: true; peer?: true }>;
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'jobmon-sbom-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The file's text, made once more. */
function made(name: string): string {
  const file = join(folder, name);
  const { status, stderr } = spawnSync(process.execPath, [join(ROOT, 'tools/sbom.mjs'), file], { cwd: folder, encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
  return readFileSync(file, 'utf8');
}

it('names exactly the production packages of the lock file, each with its hash and its licence, and is the same each time', () => {
  const text = made('first.json');
  const list = JSON.parse(text) as { bomFormat: string; metadata: { component: { name: string } }; components: Component[] };
  expect([list.bomFormat, list.metadata.component.name]).toEqual(['CycloneDX', 'jobmon']);
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as Locked;
  const needed = Object.entries(packages).filter(
    ([place, { dev, devOptional, optional, peer }]) => place !== '' && !(dev || devOptional || optional || peer),
  );
  const wanted = new Set(needed.map(([place, { version }]) => `${place.split('node_modules/').at(-1)}@${version}`));
  expect(list.components.map(({ name, version }) => `${name}@${version}`).sort()).toEqual([...wanted].sort());
  const lacking = list.components.filter(
    ({ purl, licenses = [], hashes = [] }) =>
      !purl.startsWith('pkg:npm/') || licenses.length === 0 || !hashes.some(({ alg }) => alg === 'SHA-512'),
  );
  expect(lacking).toEqual([]);
  // Neither the time nor the place in which it was made: the same commit gives the same image.
  expect(text).not.toContain(folder);
  expect(made('second.json')).toBe(text);
}, 60_000);
