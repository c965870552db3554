/**
 * `node tools/provenance.mjs TAG FOLDER`: writes FOLDER/provenance.json, which says of every file of a release from which commit, by which pipeline and
 * when it was made: a statement of in-toto with the predicate of SLSA (https://slsa.dev/spec/v1.0/provenance), for programs that judge where things come
 * from. It is signed with everything else, by the checksums.
 */
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const NAME = 'provenance.json';
const [tag, folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('name the tag and the folder: node tools/provenance.mjs v1.2.3 dist/release');

const { env } = process;
const github = env.GITHUB_REPOSITORY && `${env.GITHUB_SERVER_URL}/${env.GITHUB_REPOSITORY}`;
/** Who made it and in which run, as the pipelines name themselves; where none does, a person did. */
const builder = github
  ? { id: `${env.GITHUB_SERVER_URL}/${env.GITHUB_WORKFLOW_REF}`, run: `${github}/actions/runs/${env.GITHUB_RUN_ID}` }
  : env.JENKINS_URL
    ? { id: env.JOB_URL, run: env.BUILD_URL }
    : { id: 'urn:jobmon:by-hand', run: undefined };
// Credentials that an address has in it are nobody's business.
const repository = (github || env.GIT_URL)?.replace(/\/\/[^/]*@/, '//');
const commit = execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8' }).trim();
const files = readdirSync(folder).filter((name) => name !== NAME);
const statement = {
  _type: 'https://in-toto.io/Statement/v1',
  subject: files.sort().map((name) => ({
    name,
    digest: {
      sha256: createHash('sha256')
        .update(readFileSync(path.join(folder, name)))
        .digest('hex'),
    },
  })),
  predicateType: 'https://slsa.dev/provenance/v1',
  predicate: {
    buildDefinition: {
      buildType: 'urn:jobmon:release',
      externalParameters: { tag },
      resolvedDependencies: [{ ...(repository && { uri: `git+${repository}@refs/tags/${tag}` }), digest: { gitCommit: commit } }],
    },
    runDetails: {
      builder: { id: builder.id, version: { node: process.version } },
      metadata: {
        ...(builder.run && { invocationId: builder.run }),
        finishedOn: new Date().toISOString(),
      },
    },
  },
};
writeFileSync(path.join(folder, NAME), `${JSON.stringify(statement, undefined, 2)}\n`);
