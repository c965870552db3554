/**
 * `kill -9` of the process that uses a plug-in, in the middle of its commands; then another process adopts them. What ran is
 * told by a file that the commands themselves write.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { buildSync } from 'esbuild';
import { attemptsDirectory, look, removeAttempt, voidAttempt, writeAttempt } from './attempt-folder';
import { Bench } from './cluster.conformance';
import { clearLeftovers } from './leftovers';
import { identityOf, isAlive } from './processes';

let bench: Bench;
beforeEach(() => void (bench = new Bench()));
afterEach(() => bench.close());

/** A process of its own that starts the assignments it is given and prints each report as a line. */
const PROGRAM = `
  import { openCluster } from './plug-ins';
  import { readFileSync } from 'node:fs';
  const { settings, assignments } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
  const cluster = openCluster('multiprocess', { ...settings, onReport: (report) => console.log(JSON.stringify(report)) });
  for (const assignment of assignments) cluster.start(assignment);
`;

function startProcess(cores: number, assignments: unknown[]): ChildProcess {
  const program = join(bench.folder, 'program.cjs');
  const stdin = { contents: PROGRAM, resolveDir: __dirname, loader: 'ts' as const };
  const tsconfig = resolve(__dirname, '../../../tsconfig.base.json');
  buildSync({ stdin, outfile: program, bundle: true, platform: 'node', format: 'cjs', tsconfig });
  const input = join(bench.folder, 'input.json');
  writeFileSync(input, JSON.stringify({ settings: { ...bench.settings, cores }, assignments }));
  return spawn(process.execPath, [program, input], { stdio: ['ignore', 'pipe', 'inherit'] });
}

const diary = () => readFileSync(join(bench.folder, 'diary'), 'utf8').trimEnd().split('\n');

it('runs each of 50 commands exactly once and knows every exit code', async () => {
  const ids = Array.from({ length: 50 }, (_, index) => index + 1);
  // Two of three are quick, every third runs on for two seconds: at any moment some have ended, some run, some wait.
  const command = (id: number) =>
    `echo start ${id} >>diary; sleep ${id % 3 === 0 ? 2 : 0.05}; echo end ${id} >>diary; exit ${id % 5}`;
  const assignments = ids.map((id) => bench.assignment(id, command(id)));
  const first = startProcess(8, assignments);
  let reported = 0;
  for await (const line of createInterface({ input: first.stdout as NodeJS.ReadableStream })) {
    if (JSON.parse(line).status !== 'R' && ++reported === 20) break;
  }
  first.kill('SIGKILL');
  await once(first, 'exit');

  const attempts = attemptsDirectory(bench.settings.state_directory);
  const found = ids.map((id) => look(attempts, id).is);
  expect(found).toContain('running');
  expect(found).toContain('unclaimed');
  expect(found.filter((is) => is === 'ended').length).toBeGreaterThanOrEqual(20);

  const cluster = bench.open('multiprocess', { cores: 8 });
  for (const assignment of assignments) cluster.adopt(assignment);
  for (const id of ids) {
    expect(await bench.end(id)).toMatchObject({ status: id % 5 === 0 ? 'D' : 'E', exit_code: id % 5 });
  }
  const wanted = ids.flatMap((id) => [`start ${id}`, `end ${id}`]).sort();
  expect(diary().sort()).toEqual(wanted);
  expect(bench.reports.filter((report) => report.status !== 'R')).toHaveLength(50);
  expect(cluster.room()).toEqual(cluster.size);
}, 60_000);

it('kills what it adopted', async () => {
  const assignment = bench.assignment(1, 'sleep 300; sleep 300');
  const first = startProcess(1, [assignment]);
  for await (const line of createInterface({ input: first.stdout as NodeJS.ReadableStream }))
    if (JSON.parse(line).status === 'R') break;
  first.kill('SIGKILL');
  await once(first, 'exit');
  const cluster = bench.open('multiprocess');
  cluster.adopt({ ...assignment, status: 'R' });
  await bench.running(1);
  expect(cluster.room()).toMatchObject({ slots: 3, cores: 3 });
  cluster.kill(1);
  expect(await bench.end(1)).toMatchObject({ status: 'E', exit_code: 130 });
});

describe('an attempt that is found', () => {
  const attempts = () => attemptsDirectory(bench.settings.state_directory);
  const plant = (files: Record<string, string>) => {
    mkdirSync(join(attempts(), '1'), { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(attempts(), '1', name), text);
  };
  const itself = () => `${process.pid} ${identityOf(process.pid)?.start_time}`;

  it('reported as running, but with nothing in the state directory, is U', async () => {
    bench.open('multiprocess').adopt(bench.assignment(1, 'true', { status: 'R' }));
    expect(await bench.end(1)).toMatchObject({ status: 'U', error_description: expect.stringContaining('gone') });
  });

  it('claimed by a process whose number belongs to another one now is U, and that one is left in peace', async () => {
    plant({ started: `${process.pid} 1 ${process.pid} 1 .\n` });
    const cluster = bench.open('multiprocess');
    cluster.adopt(bench.assignment(1, 'true', { status: 'R' }));
    cluster.kill(1);
    expect(await bench.end(1)).toMatchObject({ status: 'U' });
  });

  it('of an earlier boot is U, and whoever bears its numbers now is left in peace', async () => {
    const stranger = spawn('/bin/sh', ['-c', 'sleep 300 & exit'], { detached: true, stdio: 'ignore' });
    await once(stranger, 'exit');
    const earlier = `${stranger.pid} 5000/00000000`;
    plant({ started: `${earlier} ${earlier} .\n` });
    expect(await clearLeftovers(bench.settings.state_directory, new Set())).toEqual({ removed: 1, killed: 0 });
    const group = -(stranger.pid as number);
    expect(() => process.kill(group, 0)).not.toThrow();
    process.kill(group, 'SIGKILL');
  });

  it('whose launcher died before the command began ends as U when its command ends', async () => {
    const assignment = bench.assignment(1, 'echo x >ran; while [ ! -e go ]; do sleep 0.05; done');
    const output = { stdout: join(bench.folder, 'out'), stderr: join(bench.folder, 'err') };
    await writeAttempt(attempts(), assignment, output);
    const launcher = spawn('/bin/sh', ['-c', 'exec sleep 300'], { stdio: 'ignore' });
    const { start_time } = identityOf(launcher.pid as number) as { start_time: string };
    launcher.kill('SIGKILL');
    await once(launcher, 'exit');
    // Its parent is process 1 now, or whoever takes in orphans: that one never ends.
    const start = `setsid /bin/sh "$0" "$1" "$2" &`;
    const script = join(attempts(), '1', 'start.sh');
    spawn('/bin/sh', ['-c', start, script, `${launcher.pid} ${start_time}`, start_time.split('/')[1] as string]);
    bench.open('multiprocess').adopt(assignment);
    await bench.running(1);
    writeFileSync(join(bench.folder, 'go'), '');
    expect(await bench.end(1)).toMatchObject({ status: 'U' });
  });

  it('is written anew beside a shell that reads the former text, which goes on undisturbed', async () => {
    const assignment = bench.assignment(1, 'echo whole >>diary');
    const output = (name: string) => ({ stdout: join(bench.folder, name), stderr: join(bench.folder, name) });
    await writeAttempt(attempts(), assignment, output('short'));
    const former = openSync(join(attempts(), '1', 'start.sh'), 'r');
    const text = readFileSync(former, 'utf8');
    await writeAttempt(attempts(), assignment, output('a-much-longer-name-of-the-output-file'));
    const next = Buffer.alloc(100);
    expect(readSync(former, next, 0, next.length, Buffer.byteLength(text))).toBe(0);
    expect(readFileSync(join(attempts(), '1', 'start.sh'), 'utf8')).toContain('a-much-longer-name');
    closeSync(former);
    await removeAttempt(attempts(), 1);
    expect(existsSync(join(attempts(), '1'))).toBe(false);
  });

  it('whose launcher lives is watched, although the command is gone', async () => {
    plant({ started: `999999999 1 ${itself()} .\n` });
    bench.open('multiprocess').adopt(bench.assignment(1, 'true', { status: 'R' }));
    await bench.running(1);
    writeFileSync(join(attempts(), '1', 'exit'), '4 .\n');
    expect(await bench.end(1)).toMatchObject({ status: 'E', exit_code: 4 });
  });

  it('with half an exit file is not taken for ended', async () => {
    plant({ started: `999999999 1 ${itself()} .\n`, exit: '' });
    bench.open('multiprocess').adopt(bench.assignment(1, 'true', { status: 'R' }));
    await bench.running(1);
    writeFileSync(join(attempts(), '1', 'exit'), '0 .\n');
    expect(await bench.end(1)).toMatchObject({ status: 'D' });
  });

  it('with a claim that was cut off never ran: W after a few seconds', async () => {
    plant({ started: '' });
    bench.open('multiprocess').adopt(bench.assignment(1, 'echo x >ran'));
    expect(await bench.end(1)).toMatchObject({ status: 'W', error_description: expect.stringContaining('cut off') });
  });

  it('called off by a former agent is W', async () => {
    expect(voidAttempt(attempts(), 1)).toBe(true);
    expect(voidAttempt(attempts(), 1)).toBe(false);
    bench.open('multiprocess').adopt(bench.assignment(1));
    expect(await bench.end(1)).toMatchObject({ status: 'W', error_description: expect.stringContaining('called off') });
  });
});

test('a process is recognised by number and start time together', () => {
  expect(isAlive({ pid: process.pid, start_time: '1' })).toBe(false);
  expect(isAlive({ pid: 999_999_999, start_time: '1' })).toBe(false);
});

test('two plug-ins that are given the same attempt at once run it once', async () => {
  const ids = Array.from({ length: 20 }, (_, index) => index + 1);
  const clusters = [bench.open('multiprocess'), bench.open('multiprocess')];
  for (const id of ids) for (const cluster of clusters) cluster.start(bench.assignment(id, `echo ${id} >>diary`));
  for (const id of ids) await bench.end(id);
  expect(diary().sort()).toEqual(ids.map(String).sort());
  rmSync(join(bench.folder, 'diary'));
});
