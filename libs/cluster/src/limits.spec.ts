/** What attempts may use and what they did: rooms, memory, run time, and the record of each, with real commands. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Assignment } from '@jobmon/contracts';
import { attemptsDirectory } from './attempt-folder';
import { Bench } from './cluster.conformance';
import { launcherKind } from './launcher';
import { identityOf, Sessions, type ProcessIdentity } from './processes';
import { excessOf } from './room';
import { limitsOf, Watch } from './watch';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
let bench: Bench;
beforeEach(() => void (bench = new Bench()));
afterEach(() => bench.close());

const asking = (requested_resources: Assignment['requested_resources']) => ({ requested_resources });
/** A shell that holds so many bytes in a variable. */
const hold = (bytes: number): string => `x=$(head -c ${bytes} /dev/zero | tr '\\0' x)`;
const diary = (): string[] => readFileSync(join(bench.folder, 'diary'), 'utf8').trimEnd().split('\n');
/** A command that tells when it starts and ends when its file is there. */
const gate = (id: number): string => `echo ${id} >>diary; until [ -e go-${id} ]; do sleep 0.02; done`;
const open = (id: number): void => writeFileSync(join(bench.folder, `go-${id}`), '');

describe('the room of a machine', () => {
  it('a task with three cores takes three; the first that waits is not passed; one that asks for all runs alone', async () => {
    const cluster = bench.open('multiprocess', { cores: 4 });
    cluster.start(bench.assignment(1, gate(1), asking({ cores: 3 })));
    await bench.running(1);
    expect(cluster.room()).toMatchObject({ slots: 1, cores: 1 });
    cluster.start(bench.assignment(2, gate(2), asking({ cores: 400 })));
    // What is started in one breath is prepared side by side and may come in any order.
    await until(() => existsSync(join(attemptsDirectory(bench.settings.state_directory), '2', 'start.sh')));
    cluster.start(bench.assignment(3, gate(3), asking({ cores: 1 })));
    expect(cluster.room()).toMatchObject({ slots: 0, cores: 0 });
    await pause(300);
    expect(diary()).toEqual(['1']);
    open(1);
    await bench.running(2);
    expect(diary()).toEqual(['1', '2']);
    open(2);
    await bench.running(3);
    open(3);
    await bench.end(3);
    expect(diary()).toEqual(['1', '2', '3']);
    expect(cluster.room()).toEqual(cluster.size);
  });

  it('memory that was asked for is kept, and given back exactly', async () => {
    const cluster = bench.open('multiprocess', { cores: 4, memory_gib: 0.3 });
    const ids = [1, 2, 3, 4];
    for (const id of ids) cluster.start(bench.assignment(id, gate(id), asking({ memory: 0.1 })));
    await bench.until(() => bench.reports.length === 3);
    expect(cluster.room().memory_gib).toBe(0);
    await pause(300);
    expect(bench.reports.map(({ status }) => status)).toEqual(['R', 'R', 'R']);
    for (const id of ids) open(id);
    for (const id of ids) expect(await bench.end(id)).toMatchObject({ status: 'D' });
    expect(cluster.room()).toEqual(cluster.size);
  });

  it('more memory than there is counts as all of it; what is not asked for is not limited', () => {
    const size = { slots: 4, cores: 4, memory_gib: 8 };
    const of = (resources: Assignment['requested_resources']) => limitsOf(bench.assignment(1, '', asking(resources)), size);
    expect(of({ memory: 100, runtime: 5 })).toEqual({ memory_bytes: 8 * GIB, runtime_seconds: 5 });
    expect(of({ memory: 0.5, runtime: '60' })).toEqual({ memory_bytes: GIB / 2, runtime_seconds: 60 });
    expect(of({})).toEqual({ memory_bytes: null, runtime_seconds: null });
    expect(of({ memory: '1G', runtime: '1h' })).toEqual({ memory_bytes: null, runtime_seconds: null });
    const excess = (resources: Assignment['requested_resources']) => excessOf(bench.assignment(1, '', asking(resources)), size);
    expect(excess({ cores: 4, memory: 8 })).toBeNull();
    expect(excess({ cores: 9, memory: 8.5 })).toBe(
      'it asks for 9 cores of 4 and 8.5 GiB of memory of 8: it counts as asking for all of it, and runs alone',
    );
  });
});

describe('memory', () => {
  it('of all processes of an attempt together ends it as Z, with what was asked and used', async () => {
    const command = `(${hold(50e6)}; sleep 60; :) | (${hold(50e6)}; sleep 60; :)`;
    bench.open('multiprocess').start(bench.assignment(1, command, asking({ memory: 80 / 1024 })));
    const report = await bench.end(1);
    expect(report).toMatchObject({ status: 'Z', exit_code: 130 });
    expect(report.error_description).toMatch(
      /^the command was ended since it went over the memory it asked for: 80 MiB asked, \d+(\.\d+)? MiB used; it returned exit status 130: killed by SIGINT$/,
    );
    expect(report.max_rss_bytes).toBeGreaterThan(80 * MIB);
  });

  it('that processes share counts once', async () => {
    const command = `${hold(50e6)}; for n in 1 2 3; do (sleep 1.2; :) & done; wait`;
    bench.open('multiprocess').start(bench.assignment(1, command, asking({ memory: 150 / 1024 })));
    const report = await bench.end(1);
    expect(report.status).toBe('D');
    expect(report.max_rss_bytes).toBeGreaterThan(45 * MIB);
    expect(report.max_rss_bytes).toBeLessThan(150 * MIB);
  });
});

describe('run time', () => {
  it('ends an attempt as Z, also when the command returns 0 then', async () => {
    const command = `trap 'echo saved; exit 0' INT; while :; do sleep 0.05; done`;
    bench.open('multiprocess').start(bench.assignment(1, command, asking({ runtime: 0.4 })));
    const report = await bench.end(1);
    expect(report).toMatchObject({ status: 'Z', exit_code: 0, stdout_log: 'saved\n' });
    expect(report.error_description).toMatch(
      /over the run time it asked for: 0\.4 s asked, \d(\.\d+)? s used; it returned exit status 0$/,
    );
  });

  it('may be followed by an order, which may shorten the grace', async () => {
    const cluster = bench.open('multiprocess');
    cluster.start(bench.assignment(1, `trap '' INT; sleep 300; sleep 300`, asking({ runtime: 1 })));
    await bench.running(1);
    await until(() => existsSync(join(attemptsDirectory(bench.settings.state_directory), '1', 'overrun')));
    cluster.kill(1, 100);
    expect(await bench.end(1, 5_000)).toMatchObject({ status: 'Z', exit_code: 137 });
  });

  it('counts from the start of the process, whoever watches it since when', async () => {
    const first = identityOf(1) as ProcessIdentity;
    const reason = await new Promise<string>((resolve) => {
      const watch = new Watch((_, told) => {
        watch.close();
        resolve(told);
      });
      watch.add(1, first, { memory_bytes: null, runtime_seconds: 0.5 });
    });
    expect(Number(/0\.5 s asked, ([\d.]+) s used/.exec(reason)?.[1])).toBeGreaterThan(10);
  });

  it('is kept to for an attempt that is adopted', async () => {
    const assignment = bench.assignment(1, 'sleep 60', asking({ runtime: 1.2 }));
    const first = bench.open('multiprocess');
    first.start(assignment);
    await bench.running(1);
    first.close();
    bench.open('multiprocess').adopt({ ...assignment, status: 'R' });
    expect(await bench.end(1)).toMatchObject({ status: 'Z', error_description: expect.stringContaining('1.2 s asked') });
  });

  it('that a former agent ended is still Z, whether the command has ended or runs on', async () => {
    const attempts = attemptsDirectory(bench.settings.state_directory);
    const own = `${process.pid} ${identityOf(process.pid)?.start_time}`;
    mkdirSync(join(attempts, '1'), { recursive: true });
    writeFileSync(join(attempts, '1', 'started'), `999999999 1 ${own} .\n`);
    writeFileSync(join(attempts, '1', 'exit'), '0 2048 30000 0 .\n');
    writeFileSync(join(attempts, '1', 'overrun'), 'it took too long .\n');
    bench.open('multiprocess').adopt(bench.assignment(1, 'true', { status: 'R' }));
    expect(await bench.end(1)).toMatchObject({
      status: 'Z',
      error_description: 'it took too long; it returned exit status 0',
      max_rss_bytes: 2048 * 1024,
      cpu_seconds: 0.03,
    });
  });
});

const countsAll = launcherKind() === 'perl';
const noPerl = countsAll ? '' : ': this machine has no Perl';
describe('the record of what was used', () => {
  (countsAll ? it : it.skip)(`is right for commands of some milliseconds${noPerl}`, async () => {
    const cluster = bench.open('multiprocess');
    cluster.start(bench.assignment(1, hold(40e6)));
    cluster.start(bench.assignment(2, 'i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done'));
    cluster.start(bench.assignment(3, `sh -c '${hold(40e6).replaceAll("'", `'\\''`)}; true'; true`));
    for (const id of [1, 3]) expect((await bench.end(id)).max_rss_bytes).toBeGreaterThan(38 * MIB);
    const busy = await bench.end(2);
    expect(busy.cpu_seconds).toBeGreaterThan(0.02);
    expect(busy.cpu_seconds).toBeLessThanOrEqual((busy.wallclock_seconds as number) + 0.05);
    expect(busy.max_rss_bytes).toBeLessThan(20 * MIB);
  });

  it('of a command whose launcher was killed is what was seen of it', async () => {
    bench.open('sequential').start(bench.assignment(1, `echo $PPID >launcher; ${hold(30e6)}; sleep 2`));
    await bench.running(1);
    process.kill(Number(readFileSync(join(bench.folder, 'launcher'), 'utf8')), 'SIGKILL');
    const report = await bench.end(1);
    expect(report.status).toBe('U');
    expect(report.max_rss_bytes).toBeGreaterThan(28 * MIB);
    expect(report.cpu_seconds).toBeGreaterThan(0);
  });
});

describe('what is left of a command', () => {
  it('an order ends what made a process group of its own inside the session, too', async () => {
    const cluster = bench.open('sequential');
    const inner = `trap '' INT; echo $$ >ready; sleep 300; true`;
    cluster.start(bench.assignment(1, `trap '' INT; timeout 300 sh -c "${inner.replaceAll('$', '\\$')}"; sleep 300`));
    const { process_group_id } = await bench.running(1);
    const session = process_group_id as number;
    await until(() => existsSync(join(bench.folder, 'ready')));
    expect(new Set(sessionOf(session).map(({ group }) => group)).size).toBe(2);
    cluster.kill(1, 100);
    expect(await bench.end(1)).toMatchObject({ status: 'E', exit_code: 137 });
    await until(() => sessionOf(session).length === 0);
  });

  (countsAll ? it : it.skip)(`a process that nobody reaps does not hold the end up${noPerl}`, async () => {
    // Its child ends at once and is never waited for; the parent leaves the session, the child's number stays in the group.
    const escape = `perl -MPOSIX -e 'fork or exit; setsid(); open(my $f, ">", "escaped"); print $f $$; close $f; sleep 60'`;
    bench.open('sequential').start(bench.assignment(1, `${escape} & until [ -s escaped ]; do sleep 0.02; done`));
    const began_ms = performance.now();
    expect(await bench.end(1)).toMatchObject({ status: 'D' });
    expect(performance.now() - began_ms).toBeLessThan(5_000);
    process.kill(Number(readFileSync(join(bench.folder, 'escaped'), 'utf8')), 'SIGKILL');
  });
});

describe('memory of the machine', () => {
  const group = `/sys/fs/cgroup/memory/jobmon-test-${process.pid}`;
  const isMade =
    spawnSync('sh', ['-c', `mkdir ${group} && echo 0 >${group}/memory.swappiness && echo 64M >${group}/memory.limit_in_bytes`])
      .status === 0;
  afterAll(() => {
    if (isMade) rmdirSync(group);
  });
  const why = isMade ? '' : ': no control group of memory can be made here';

  (isMade ? it : it.skip)(`that is used up makes the kernel end the command, which is Z${why}`, async () => {
    bench.open('sequential').start(bench.assignment(1, `echo $$ >${group}/cgroup.procs; ${hold(200e6)}`));
    const report = await bench.end(1);
    expect(report).toMatchObject({ status: 'Z', exit_code: 137 });
    expect(report.error_description).toMatch(
      /^the command was ended by the kernel, since there was no memory left for it, it had used \d+/,
    );
  });

  it('is taken from commands first', async () => {
    bench.open('sequential').start(bench.assignment(1, 'cat /proc/$$/oom_score_adj; sh -c "cat /proc/self/oom_score_adj"'));
    expect(await bench.end(1)).toMatchObject({ stdout_log: '500\n500\n' });
  });
});

/** Waits until something holds, at most 10 s. */
async function until(holds: () => boolean): Promise<void> {
  const bound_ms = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > bound_ms) throw new Error('not so within 10 s');
    await pause(10);
  }
}

function sessionOf(session: number) {
  return new Sessions().read([session]).get(session) ?? [];
}

test('sessions are read again and again: strangers once, ours each time, and numbers that change hands within ten reads', async () => {
  const sessions = new Sessions();
  const child = spawn('/bin/sh', ['-c', 'read x; sleep 300 & sleep 300'], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const pid = child.pid as number;
  expect(sessions.read([]).size).toBe(0);
  expect(sessions.read([pid]).get(pid)).toMatchObject([{ pid, group: pid, start_time: identityOf(pid)?.start_time }]);
  child.stdin.write('\n');
  await until(() => sessions.read([pid]).get(pid)?.length === 3);
  process.kill(-pid, 'SIGKILL');
  await once(child, 'exit');
  await until(() => !sessions.read([pid]).has(pid));
});
