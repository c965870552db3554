/**
 * The published Python client beside the containers: it runs on this machine, with its own distributor and workers, and knows of them no more
 * than the address of the api. Its script and its commands are those of the tests of Python clients.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { pythonEnvironment } from '../python.mjs';

/** Six commands in four tiers; one of them fails the first time, so seven begin. */
const TIERS = ['--tier', 'start', '--tier', 'left', 'right:once', '--tier', 'join', '--tier', 'last', 'beside'];
const COMMANDS_BEGUN = 7;
const SECONDS_MAX = 240;

/**
 * Plays the script against `url`, keeping its files in `folder`, which is made. Answers `{tasks, ms}`; throws with what the client said when
 * its run did not end as DONE with every task done and each command begun as often as it may.
 */
export async function runPythonClient({ root, url, folder }) {
  const programs = await pythonEnvironment();
  mkdirSync(folder, { recursive: true });
  const diary = path.join(folder, 'diary');
  const own = Object.entries(process.env).filter(([name]) => !/^(PYTHON|VIRTUAL_ENV|JOBMON__)/.test(name));
  const env = {
    ...Object.fromEntries(own),
    PATH: `${programs}:${process.env.PATH}`,
    HOME: folder,
    PYTHONDONTWRITEBYTECODE: '1',
    DIARY: diary,
    JOBMON__HTTP__SERVICE_URL: url,
    JOBMON__HTTP__ROUTE_PREFIX: '/api/v3',
    JOBMON__HEARTBEAT__WORKFLOW_RUN_INTERVAL: '1',
    JOBMON__HEARTBEAT__TASK_INSTANCE_INTERVAL: '1',
    JOBMON__HEARTBEAT__REPORT_BY_BUFFER: '60',
  };
  const flow = path.join(root, 'apps', 'local', 'test', 'python', 'flow.py');
  const began = Date.now();
  const args = [flow, '--cluster', 'multiprocess', '--workflow-args', 'images', '--patience', '60', ...TIERS];
  // A group of its own: its distributor and workers go with it when it does not come to an end.
  const client = spawn(path.join(programs, 'python'), args, { cwd: folder, env, detached: true });
  let [out, said] = ['', ''];
  client.stdout.on('data', (data) => (out += String(data)));
  client.stderr.on('data', (data) => (said += String(data)));
  const timer = setTimeout(() => process.kill(-client.pid, 'SIGKILL'), SECONDS_MAX * 1_000);
  const [code] = await once(client, 'close');
  clearTimeout(timer);
  const ms = Date.now() - began;
  const complaint = (what) => new Error(`the Python client's workflow: ${what}\n${out.slice(-2_000)}${said.slice(-2_000)}`);
  if (code !== 0) throw complaint(`ended with ${code ?? `more than ${SECONDS_MAX} s`}`);
  const { status, tasks } = JSON.parse(out.trim().split('\n').at(-1));
  const letters = Object.values(tasks);
  if (status !== 'D' || letters.length !== 6 || letters.some((letter) => letter !== 'D')) {
    throw complaint(`ended as ${status}, its tasks as ${JSON.stringify(tasks)}`);
  }
  const begun = readFileSync(diary, 'utf8').match(/^begin /gm).length;
  if (begun !== COMMANDS_BEGUN) throw complaint(`${begun} commands were begun instead of ${COMMANDS_BEGUN}`);
  return { tasks: letters.length, ms };
}
