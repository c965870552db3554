/**
 * `npm run pack:try`: packs the three packages, installs them into an empty folder as a stranger would, and uses them there: the command
 * line without a server says what it lacks, with one it runs a workflow file; the SDK submits from an ES module; a site's preset brings its settings. Nothing
 * of this checkout is seen.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { packClient } from './pack.mjs';
import { packCli, packServer } from './pack-programs.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const SERVE_SECONDS_MAX = 120;
const COMMAND_SECONDS_MAX = 180;

const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-packages-'));
const [packed, home] = ['packed', 'home'].map((name) => path.join(folder, name));
const place = path.join(folder, 'empty');
for (const made of [packed, home, place]) mkdirSync(made);
const env = { ...process.env, HOME: home, XDG_DATA_HOME: path.join(home, 'data'), XDG_CONFIG_HOME: path.join(home, 'config') };
for (const key of Object.keys(env)) if (key.startsWith('JOBMON__') || key.startsWith('npm_')) delete env[key];

function call(program, args, options = {}) {
  const done = spawnSync(program, args, { cwd: place, env, encoding: 'utf8', timeout: COMMAND_SECONDS_MAX * 1_000, ...options });
  return { code: done.status, text: `${done.stdout ?? ''}${done.stderr ?? ''}` };
}

function expect(what, { code, text }, wanted_code, pattern) {
  if (code !== wanted_code || !pattern.test(text))
    throw new Error(`${what}: exit code ${code} instead of ${wanted_code}, or not ${pattern}:\n${text}`);
  console.log(`ok  ${what}`);
}

const bin = (name) => path.join(place, 'node_modules', '.bin', name);
const install = (...files) =>
  call('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', ...files], {
    env: { ...env, HOME: process.env.HOME },
    timeout: 600_000,
  });

/** Runs \`jobmon serve\` of the installed packages while \`use\` runs. */
async function whileServing(use) {
  const server = spawn(bin('jobmon'), ['serve', '--port', '0'], { cwd: place, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (data) => (said += String(data)));
  const ended = new Promise((resolve) => server.on('exit', resolve));
  try {
    const deadline = Date.now() + SERVE_SECONDS_MAX * 1_000;
    while (call(bin('jobmon'), ['workflow', 'list']).code !== 0) {
      if (server.exitCode !== null || Date.now() > deadline) throw new Error(`jobmon serve does not answer:\n${said}`);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    use();
  } finally {
    server.kill('SIGTERM');
    const code = await ended;
    if (code !== 0) throw new Error(`jobmon serve ended with ${code}:\n${said}`);
  }
}

try {
  const [client, cli, server] = [await packClient(packed), await packCli(packed), await packServer(packed)];
  writeFileSync(path.join(place, 'package.json'), '{"name": "empty", "version": "1.0.0", "private": true}');
  expect('npm install @jobmon/client @jobmon/cli', install(client, cli), 0, /added \d+ packages/);
  expect(
    'neither brings a database, a bus or a compiler',
    call('ls', ['node_modules']),
    0,
    /^(?!.*(typeorm|better-sqlite3|mysql2|nats|fastify|typescript))/s,
  );
  expect('jobmon version', call(bin('jobmon'), ['version']), 0, /^jobmon \d/);
  expect(
    'jobmon serve without @jobmon/server says what to install',
    call(bin('jobmon'), ['serve']),
    1,
    /npm install @jobmon\/server@/,
  );
  const preset = call('npm', ['pack', '--silent', '--pack-destination', packed, path.join(ROOT, 'examples', 'site-preset')]);
  expect(
    "npm install of a site's preset",
    install(path.join(packed, preset.text.trim().split('\n').at(-1))),
    0,
    /added \d+ package/,
  );
  const away = { ...env, JOBMON__HTTP__SERVICE_URL: 'http://127.0.0.1:9' };
  expect(
    "the preset's command asks the site's server",
    call(bin('jobmon-example'), ['workflow', 'list']),
    5,
    /https:\/\/jobmon\.example\.org/,
  );
  expect(
    'or the one that is named',
    call(bin('jobmon-example'), ['workflow', 'list'], { env: away }),
    5,
    /http:\/\/127\.0\.0\.1:9/,
  );
  expect('npm install @jobmon/server', install(server), 0, /added \d+ packages/);
  expect('jobmon-server --help', call(bin('jobmon-server'), ['--help']), 0, /db/);
  for (const name of ['api', 'state-machine', 'scheduler', 'log-sink', 'reaper']) {
    const main = `node_modules/@jobmon/server/dist/apps/${name}/main.js`;
    const settings = { ...env, JOBMON__DB__URL: 'sqlite:no.sqlite', JOBMON__HTTP__TOKEN: 'a-token-of-sixteen-or-more' };
    expect(`${name} starts, and refuses a SQLite file`, call(process.execPath, [main], { env: settings }), 1, /sqlite/i);
  }
  writeFileSync(
    path.join(place, 'flow.yaml'),
    'tool: stranger\ncluster: multiprocess\ntasks:\n  one: {command: "true"}\n  two: {command: "true", needs: one}\n',
  );
  writeFileSync(
    path.join(place, 'flow.mjs'),
    `import * as client from '@jobmon/client';
     import { OPERATIONS } from '@jobmon/client/contracts';
     const server = await client.findServer();
     console.log(Object.keys(client).length > 10 && OPERATIONS.length > 10 && /^http:/.test(server.url) ? 'sdk works' : 'sdk does not');`,
  );
  await whileServing(() => {
    expect('jobmon run flow.yaml', call(bin('jobmon'), ['run', 'flow.yaml']), 0, /DONE|2 of 2|done/i);
    expect('jobmon workflow list -o json', call(bin('jobmon'), ['workflow', 'list', '-o', 'json']), 0, /DONE/);
    expect('the SDK as an ES module', call(process.execPath, ['flow.mjs']), 0, /sdk works/);
  });
  console.log('The packages work where nothing else is installed.');
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
