/**
 * Schemathesis against the OpenAPI document of the Python protocol: whatever the document allows, and what it does not, meets no 5xx (but
 * S4's, which is one by design), and every answer fits the schema that the document gives for it.
 *
 * `JOBMON_FUZZ_EXAMPLES` sets how many cases of each operation are generated; with it the document's borders are walked too.
 */
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stateMachineModule } from '@jobmon/state-machine';
import { describeOnDatabases } from '@jobmon/testkit';
import { makeWorld } from '../../test/python-requests';
import { serve, type Served } from '../../test/serve';

const ROOT = join(__dirname, '../../../..');
const EXAMPLES = Number(process.env.JOBMON_FUZZ_EXAMPLES ?? 0);
/** Of each operation in an ordinary run of the tests. */
const EXAMPLES_SHORT = 3;
const CHECKS = 'not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance';

/** The environment's programs, or why there is none: where Python is missing and may not be installed, the fuzzer can't run. */
function fuzzerPrograms(): { folder: string } | { missing: string } {
  const made = spawnSync(process.execPath, [join(ROOT, 'tools/python.mjs'), join(ROOT, 'tools/schemathesis.txt')], {
    encoding: 'utf8',
  });
  if (made.status === 0) return { folder: made.stdout.trim().split('\n').at(-1) as string };
  return { missing: made.stderr.trim().split('\n').at(-1) ?? 'tools/python.mjs failed' };
}

/** Runs the fuzzer and answers what it said; the event loop goes on, since the api that it asks lives in this process. */
function run(program: string, args: readonly string[], folder: string): Promise<{ code: number | null; text: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, NO_COLOR: '1', COLUMNS: '200' },
    });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
    child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, text }));
  });
}

describeOnDatabases('the Python protocol under a fuzzer', (database, { name }) => {
  let served: Served;
  let folder: string;
  beforeAll(async () => {
    served = await serve(database(), { modules: (context) => [stateMachineModule(context)] });
    folder = mkdtempSync(join(tmpdir(), 'jobmon-fuzz-'));
    copyFileSync(join(ROOT, 'tools/schemathesis_hooks.py'), join(folder, 'schemathesis_hooks.py'));
    writeFileSync(join(folder, 'schemathesis.toml'), 'hooks = "schemathesis_hooks"\n');
    // Ids from 1 on are of something.
    for (let world = 0; world < 3; world++) await makeWorld(database());
  });
  afterAll(async () => {
    await served.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('answers no 5xx, and nothing that its document does not say', async () => {
    const programs = fuzzerPrograms();
    if ('missing' in programs) throw new Error(programs.missing);
    const args = [
      ...['run', `${served.url}/api/openapi.json`, '--include-path-regex', '^/api/v3/', '--exclude-path', '/api/v3/test_bad'],
      ...['--checks', CHECKS, '--phases', EXAMPLES > 0 ? 'coverage,fuzzing' : 'fuzzing'],
      ...['--max-examples', String(EXAMPLES > 0 ? EXAMPLES : EXAMPLES_SHORT), '--seed', '1', '--generation-database', 'none'],
      ...['--suppress-health-check', 'all', '--continue-on-failure', '--no-color'],
    ];
    const { code, text } = await run(join(programs.folder, 'st'), args, folder);
    const summary = text.slice(text.lastIndexOf('SUMMARY'));
    process.stdout.write(`fuzzed (${name}): ${summary.replace(/^.*=+\n/, '').replace(/\s+/g, ' ')}\n`);
    if (code !== 0) throw new Error(text.slice(-20_000));
    const defects = served.lines.filter(({ level, route }) => Number(level) >= 50 && !String(route).endsWith('/test_bad'));
    expect(defects).toEqual([]);
  }, 3_600_000);
});
