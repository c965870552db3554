/** Processes whose starter is killed, as `npm run services` may be, and those that ended before. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

/** Starts two that end by SIGTERM and one that takes no notice of it, says their ids, and stays. */
const STARTER = `
  const { startKeeper } = await import(process.argv[1]);
  const { spawn } = await import('node:child_process');
  const keeper = startKeeper();
  const begin = (script, patience_ms) => {
    const child = spawn('sh', ['-c', script], { stdio: 'ignore', detached: true });
    keeper.keep(child, patience_ms);
    return child;
  };
  const gone = begin('exit 0', 500);
  await new Promise((resolve) => gone.on('exit', resolve));
  keeper.forget(gone);
  const kept = [begin('exec sleep 600', 500), begin('exec sleep 600', 60_000), begin('trap "" TERM; while :; do sleep 1; done', 500)];
  console.log(JSON.stringify(kept.map(({ pid }) => pid)));
  setInterval(() => undefined, 60_000);
`;

const WAIT_MS_MAX = 40_000;

/** Whether it runs, other than one that has ended and that nobody has asked about. */
function lives(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !['Z', 'X'].includes(stat.slice(stat.lastIndexOf(')') + 2)[0]!);
  } catch {
    return false;
  }
}

it('are ended when their starter was killed, those that take no notice of SIGTERM too', async () => {
  const keeper = pathToFileURL(path.join(__dirname, 'keeper.mjs')).href;
  const starter = spawn(process.execPath, ['--input-type=module', '-e', STARTER, keeper], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(starter.stdout, 'data')) as [Buffer];
  const pids = JSON.parse(String(line)) as number[];
  expect(pids.map(lives)).toEqual([true, true, true]);
  starter.kill('SIGKILL');
  for (const deadline = Date.now() + WAIT_MS_MAX; pids.some(lives);) {
    if (Date.now() > deadline) throw new Error(`still there: ${pids.filter(lives).join(', ')}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}, 60_000);
