/** The pipelines call the stages of `.ci` and hold no logic; a release is refused for each reason that it has to be. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  appendFileSync,
  constants,
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parse } from 'yaml';

const ROOT = path.resolve(__dirname, '..');
const stages = readdirSync(path.join(ROOT, '.ci'));

test('every stage can be run and ends at the first error', () => {
  for (const stage of stages) {
    accessSync(path.join(ROOT, '.ci', stage), constants.X_OK);
    expect([stage, readFileSync(path.join(ROOT, '.ci', stage), 'utf8')]).toEqual([
      stage,
      expect.stringContaining('set -euo pipefail'),
    ]);
  }
});

test("GitHub's workflow only calls stages, and actions by their commit", () => {
  interface Job {
    readonly strategy?: { readonly matrix: { readonly stage: readonly string[] } };
    readonly steps: readonly { readonly run?: string; readonly uses?: string }[];
  }
  const workflow = parse(readFileSync(path.join(ROOT, '.github/workflows/ci.yml'), 'utf8')) as { jobs: Record<string, Job> };
  const jobs = Object.values(workflow.jobs);
  for (const { uses, run } of jobs.flatMap(({ steps }) => steps)) {
    if (uses !== undefined) expect(uses).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40}$/);
    else expect(run).toMatch(/^\.ci\/(\$\{\{ matrix\.stage \}\}|release "\$GITHUB_REF_NAME")$/);
  }
  const called = jobs.flatMap(({ strategy }) => strategy?.matrix.stage ?? []);
  expect(called.length).toBeGreaterThan(0);
  expect(called.filter((stage) => !stages.includes(stage))).toEqual([]);
});

test("Jenkins's pipeline only calls stages", () => {
  const calls = [...readFileSync(path.join(ROOT, 'Jenkinsfile'), 'utf8').matchAll(/^\s*(?:sh|bat|script)\b(.*)$/gm)].map(
    ([, call]) => call!.trim(),
  );
  expect(calls.length).toBeGreaterThan(3);
  for (const call of calls) expect(call).toMatch(/^'\.ci\/[a-z]+( "\$TAG_NAME")?'$/);
  expect(calls.map((call) => /\.ci\/([a-z]+)/.exec(call)![1]!).filter((stage) => !stages.includes(stage))).toEqual([]);
});

describe('a deployment', () => {
  const deploy = (...args: string[]) => {
    const { status, stderr } = spawnSync(path.join(ROOT, '.ci/deploy'), args, { encoding: 'utf8' });
    return { status, stderr };
  };

  // What it does on a cluster is shown there: the proof `deploy` of `npm run cluster`.
  test.each([
    [[], 'name the namespace'],
    [['--namespace'], '--namespace needs a value'],
    [['--namespace', 'research'], 'name the file of values'],
    [['--namespace', 'research', '--values', 'nowhere.yaml'], "'nowhere.yaml' can't be read"],
    [['--namespace', 'research', '--force'], "'--force' is no option"],
  ])('is refused before anything is asked or built: %j', (args, why) => {
    expect(deploy(...args)).toEqual({ status: 2, stderr: expect.stringContaining(why) });
  });
});

describe('a release', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-release-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const git = (...args: string[]): string =>
    execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.org', ...args], { cwd: folder, encoding: 'utf8' });
  const run = (tag: readonly string[], settings: NodeJS.ProcessEnv) => {
    const env = { ...process.env, GH_TOKEN: '', GITHUB_REPOSITORY: '', ...settings };
    return spawnSync(path.join(folder, '.ci/release'), tag, { cwd: folder, encoding: 'utf8', env });
  };
  const release = (...args: string[]) => {
    const { status, stderr } = run(args, {});
    return { status, stderr };
  };
  const commit = (): void => void [git('add', '-A'), git('commit', '-qm', 'x')];

  test('is refused for a wrong tag, changes, a tag of another commit, and without its notes', () => {
    mkdirSync(path.join(folder, '.ci'));
    copyFileSync(path.join(ROOT, '.ci/release'), path.join(folder, '.ci/release'));
    writeFileSync(path.join(folder, 'package.json'), '{"version":"1.2.3"}');
    writeFileSync(path.join(folder, 'CHANGELOG.md'), '# Changelog\n\n## Unreleased\n\n- x\n\n## 1.2.30\n\n- y\n');
    git('init', '-q');
    commit();
    expect(release()).toEqual({ status: 1, stderr: expect.stringContaining('name the tag') });
    expect(release('v1.2.4')).toEqual({
      status: 1,
      stderr: expect.stringContaining('the tag is v1.2.4 and package.json has 1.2.3'),
    });
    expect(release('v1.2.3')).toEqual({ status: 1, stderr: expect.stringContaining('not of this commit') });
    git('tag', 'v1.2.3');
    expect(release('v1.2.3')).toEqual({ status: 1, stderr: expect.stringContaining("no section '## 1.2.3'") });
    writeFileSync(path.join(folder, 'new'), '');
    expect(release('v1.2.3')).toEqual({ status: 1, stderr: expect.stringContaining('the tree has changes') });
    commit();
    expect(release('v1.2.3')).toEqual({ status: 1, stderr: expect.stringContaining('not of this commit') });
  });

  // What packs is tried by pack.spec.ts and `npm run pack:try`; here something quick stands in its place.
  test('is made of a tag whose version has its notes: packages, checksums, notes', () => {
    mkdirSync(path.join(folder, 'tools'));
    writeFileSync(path.join(folder, 'tools/setup.mjs'), '');
    copyFileSync(path.join(ROOT, 'tools/provenance.mjs'), path.join(folder, 'tools/provenance.mjs'));
    // The list itself is looked at by sbom.spec.ts.
    writeFileSync(
      path.join(folder, 'tools/sbom.mjs'),
      `import { writeFileSync } from 'node:fs'; writeFileSync(process.argv[2], '{}');`,
    );
    writeFileSync(
      path.join(folder, 'tools/pack.mjs'),
      `import { mkdirSync, writeFileSync } from 'node:fs';
       mkdirSync(process.argv[2], { recursive: true });
       for (const name of ['cli', 'server']) writeFileSync(process.argv[2] + '/jobmon-' + name + '-1.2.3.tgz', name);`,
    );
    writeFileSync(path.join(folder, 'package.json'), '{"version":"1.2.3","scripts":{"pack":"node tools/pack.mjs"}}');
    writeFileSync(path.join(folder, '.gitignore'), 'dist\nbin\n');
    writeFileSync(
      path.join(folder, 'CHANGELOG.md'),
      '# Changelog\n\n## Unreleased\n\n- later\n\n## 1.2.3 (today)\n\n- this\n- that\n\n## 1.2.2\n\n- before\n',
    );
    commit();
    git('tag', '-f', 'v1.2.3');
    const jenkins = { JENKINS_URL: 'https://ci.example.org/', JOB_URL: 'https://ci.example.org/job/jobmon/' };
    const place = { BUILD_URL: `${jenkins.JOB_URL}7/`, GIT_URL: 'https://me:secret@git.example.org/jobmon.git' };
    const { status, stdout, stderr } = run(['v1.2.3'], { ...jenkins, ...place });
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout.trim()).toMatch(/^dist\/release is ready: gh release create v1\.2\.3 /);
    const made = path.join(folder, 'dist/release');
    expect(readFileSync(path.join(made, 'notes.md'), 'utf8').trim()).toBe('- this\n- that');
    expect(spawnSync('sha256sum', ['-c', 'checksums.txt'], { cwd: made, encoding: 'utf8' }).stdout).toBe(
      ['jobmon-cli-1.2.3.tgz', 'jobmon-server-1.2.3.tgz', 'provenance.json', 'sbom.cdx.json']
        .map((name) => `./${name}: OK\n`)
        .join(''),
    );

    // Each file by its hash, from this commit, by that pipeline.
    const provenance = JSON.parse(readFileSync(path.join(made, 'provenance.json'), 'utf8'));
    const hash = (name: string) =>
      createHash('sha256')
        .update(readFileSync(path.join(made, name)))
        .digest('hex');
    expect(provenance).toMatchObject({
      subject: ['jobmon-cli-1.2.3.tgz', 'jobmon-server-1.2.3.tgz', 'notes.md', 'sbom.cdx.json'].map((name) => ({
        name,
        digest: { sha256: hash(name) },
      })),
      predicate: {
        buildDefinition: {
          externalParameters: { tag: 'v1.2.3' },
          resolvedDependencies: [
            {
              uri: 'git+https://git.example.org/jobmon.git@refs/tags/v1.2.3',
              digest: { gitCommit: git('rev-parse', 'HEAD').trim() },
            },
          ],
        },
        runDetails: { builder: { id: jenkins.JOB_URL }, metadata: { invocationId: place.BUILD_URL } },
      },
    });

    // With a key the checksums are signed, and a changed list is seen.
    const openssl = (...args: string[]) => spawnSync('openssl', args, { cwd: made, encoding: 'utf8' });
    const key = path.join(folder, 'bin/release.pem');
    mkdirSync(path.dirname(key));
    openssl('genpkey', '-algorithm', 'ed25519', '-out', key);
    openssl('pkey', '-in', key, '-pubout', '-out', `${key}.pub`);
    expect(run(['v1.2.3'], { JOBMON_RELEASE_KEY: key }).stdout).toContain(' dist/release/checksums.txt.sig');
    const verify = () =>
      openssl(
        ...['pkeyutl', '-verify', '-pubin', '-inkey', `${key}.pub`, '-rawin'],
        ...['-in', 'checksums.txt', '-sigfile', 'checksums.txt.sig'],
      );
    expect(verify().status).toBe(0);
    appendFileSync(path.join(made, 'checksums.txt'), 'x');
    expect(verify().status).toBe(1);
    expect(run(['v1.2.3'], { JOBMON_RELEASE_KEY: '/nowhere' })).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('is no file with a private key: openssl genpkey'),
    });

    // Where GitHub's program is signed in it is called, once, with all of that.
    writeFileSync(path.join(folder, 'bin/gh'), '#!/bin/sh\necho "$*"\n');
    chmodSync(path.join(folder, 'bin/gh'), 0o755);
    const signedIn = run(['v1.2.3'], { GH_TOKEN: 'x', PATH: `${path.join(folder, 'bin')}:${process.env.PATH}` });
    expect([signedIn.status, signedIn.stdout.trim()]).toEqual([
      0,
      'release create v1.2.3 --title v1.2.3 --notes-file dist/release/notes.md ' +
        'dist/release/jobmon-cli-1.2.3.tgz dist/release/jobmon-server-1.2.3.tgz dist/release/provenance.json dist/release/sbom.cdx.json dist/release/checksums.txt',
    ]);
  });
});
