/** What only real processes show: hard commands, ends by signals and orders, and what is left behind. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AttemptReport } from '@jobmon/contracts';
import { Bench } from './cluster.conformance';
import { attemptsDirectory, look } from './attempt-folder';
import { clearLeftovers } from './leftovers';

const EMOJI = '🧬';
let bench: Bench;
beforeEach(() => void (bench = new Bench()));
afterEach(() => bench.close());

/** Whether there is any process of this group. */
function groupLives(process_group_id: number): boolean {
  try {
    process.kill(-process_group_id, 0);
    return true;
  } catch {
    return false;
  }
}

describe('hard commands', () => {
  const long = 'x'.repeat(64 * 1024 - 10);
  const cases: [string, string, Partial<AttemptReport>][] = [
    ['success', 'true', { status: 'D', exit_code: 0, stdout_log: '', stderr_log: '' }],
    ['an exit code', 'exit 3', { status: 'E', exit_code: 3, error_description: 'the command ended with exit status 3' }],
    ['exit code 125', 'exit 125', { status: 'E', exit_code: 125 }],
    ['exit code 255', 'exit 255', { status: 'E', exit_code: 255 }],
    [
      'an unknown command',
      'no-such-command',
      {
        status: 'E',
        exit_code: 127,
        error_description: 'the command ended with exit status 127: a command was not found (no-such-command: not found)',
      },
    ],
    [
      'a file that is no program',
      'touch data; ./data',
      {
        status: 'E',
        exit_code: 126,
        error_description: expect.stringMatching(/could not be executed \(.*\.\/data: Permission denied\)$/),
      },
    ],
    [
      'a folder for a program',
      'mkdir f; ./f',
      { status: 'E', exit_code: 126, error_description: expect.stringContaining('./f:') },
    ],
    ['a syntax error', 'if', { status: 'E', exit_code: 2 }],
    ['a comment', '# nothing', { status: 'D', exit_code: 0 }],
    ['64 KB in one word', `printf %s ${long}`, { status: 'D', stdout_log: 'x'.repeat(10_000) }],
    ['64 KB of comment', `echo ok #${long}`, { status: 'D', stdout_log: 'ok\n' }],
    ['newlines', 'echo one\necho two\n\n\necho three', { status: 'D', stdout_log: 'one\ntwo\nthree\n' }],
    ['a here-document', 'cat <<END\na $((1 + 1))\nEND', { status: 'D', stdout_log: 'a 2\n' }],
    ['a failing middle line', 'false\ntrue', { status: 'D', exit_code: 0 }],
    ['quotes', `printf '%s|' 'a"b' "c'd" \\$HOME "\`echo e\`" '\\n'`, { status: 'D', stdout_log: `a"b|c'd|$HOME|e|\\n|` }],
    ['a backslash at the end', 'printf %s a\\', { status: 'D', stdout_log: 'a\\' }],
    ['4-byte characters', `printf %s '${EMOJI}ä'`, { status: 'D', stdout_log: `${EMOJI}ä` }],
    ['U+0000 in the output', `printf 'a\\000b'`, { status: 'D', stdout_log: 'a\u0000b' }],
    ['bytes that are no UTF-8', `printf 'a\\377b'`, { status: 'D', stdout_log: 'a\ufffdb' }],
    ['output on both', 'echo out; echo err >&2', { status: 'D', stdout_log: 'out\n', stderr_log: 'err\n' }],
    ['exec', 'exec sh -c "exit 4"', { status: 'E', exit_code: 4 }],
    [
      'SIGKILL to itself',
      'kill -KILL $$',
      { status: 'E', exit_code: 137, error_description: 'the command ended with exit status 137: killed by SIGKILL' },
    ],
    [
      'a segmentation fault of its own process',
      'kill -SEGV $$',
      { status: 'E', exit_code: 139, error_description: expect.stringContaining('exit status 139: killed by SIGSEGV') },
    ],
    [
      'an abort in a program that it runs',
      'ulimit -c 0; sh -c "kill -ABRT \\$\\$"',
      { status: 'E', exit_code: 134, error_description: 'the command ended with exit status 134: killed by SIGABRT' },
    ],
    [
      'no signal ignored or blocked',
      'grep -Eh "Sig(Ign|Blk)" /proc/$$/status | cut -f 2 | uniq',
      { status: 'D', stdout_log: '0000000000000000\n' },
    ],
    ['its log folder removed in the middle', 'rm -r jobmon-logs; echo lost', { status: 'D', exit_code: 0, stdout_log: '' }],
    [
      'its log folder removed, and then a failure',
      'rm -r jobmon-logs; exit 3',
      { status: 'E', exit_code: 3, error_description: expect.stringMatching(/exit status 3; its output folder .* is gone$/) },
    ],
    ['its working directory removed in the middle', 'mkdir w; cd w; rmdir ../w; ls; pwd; exit 4', { status: 'E', exit_code: 4 }],
    ['SIGINT to itself', 'kill -INT $$; sleep 5', { status: 'E', exit_code: 130 }],
    ['a broken pipe', 'yes | head -n 1; yes 2>&1 >/dev/full | head -c 0', { status: 'D', stdout_log: 'y\n', stderr_log: '' }],
    ['no arguments, no input', 'echo $#; cat; read x || echo end', { status: 'D', stdout_log: '0\nend\n' }],
    [
      'shell options as by default',
      'set -o | grep -c " on$"; echo a >f; echo b >f; cat f',
      { status: 'D', stdout_log: '0\nb\n' },
    ],
    ['redirecting its own output', 'exec >own; echo lost', { status: 'D', stdout_log: '' }],
    ['a NUL in the command', 'echo a\u0000b', { status: 'W', error_description: expect.stringContaining('NUL') }],
  ];
  it.each(cases)('%s', async (_, command, expected) => {
    bench.open('sequential').start(bench.assignment(1, command));
    expect(await bench.end(1)).toMatchObject(expected);
  });

  it('tells the command who it is and where it is, and adds nothing else', async () => {
    const own = Object.keys(process.env);
    bench.open('multiprocess').start(bench.assignment(5, 'pwd; env'));
    const lines = ((await bench.end(5)).stdout_log ?? '').trimEnd().split('\n');
    expect(lines.shift()).toBe(bench.folder);
    const added = lines.filter((line) => /^\w+=/.test(line) && !own.includes(line.split('=')[0] as string)).sort();
    expect(added).toEqual(
      expect.arrayContaining([
        'JOBMON_TASK_ID=1005',
        'JOBMON_TASK_INSTANCE_ID=5',
        'JOBMON_WORKFLOW_ID=7',
        'JOBMON_WORKFLOW_RUN_ID=8',
      ]),
    );
    expect(added.filter((line) => !/^(JOBMON_(TASK|WORKFLOW)|PWD=|_=)/.test(line))).toEqual([]);
  });

  it('keeps all of a large output and reads only its end', async () => {
    bench.open('sequential').start(bench.assignment(1, `head -c 50000000 /dev/zero | tr '\\0' a; printf '%s' '${EMOJI}end'`));
    const report = await bench.end(1);
    expect(report).toMatchObject({ status: 'D', stdout_log: `${'a'.repeat(9_996)}${EMOJI}end` });
    expect(statSync(report.stdout as string).size).toBe(50_000_007);
  });

  it('measures how long the command ran', async () => {
    bench.open('sequential').start(bench.assignment(1, 'sleep 0.5'));
    const { wallclock_seconds } = await bench.end(1);
    expect(wallclock_seconds).toBeGreaterThanOrEqual(0.45);
    expect(wallclock_seconds).toBeLessThan(5);
  });
});

describe('while nothing may start', () => {
  it('what is taken waits; then it starts, and what was ordered to end meanwhile does not', async () => {
    let mayStart = false;
    let asked = 0;
    const cluster = bench.open('multiprocess', { mayStart: () => ++asked < 0 || mayStart });
    cluster.start(bench.assignment(1, 'echo one'));
    cluster.start(bench.assignment(2, 'echo two'));
    // Both are ready, and have been asked for more than once since.
    while (asked < 6) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(bench.reports).toEqual([]);
    for (const id of [1, 2]) expect(look(attemptsDirectory(bench.settings.state_directory), id).is).toBe('unclaimed');
    cluster.kill(2);
    expect(await bench.end(2)).toMatchObject({ status: 'E', error_description: 'ended by order before it started' });
    mayStart = true;
    expect(await bench.end(1)).toMatchObject({ status: 'D', stdout_log: 'one\n' });
  });
});

describe('where output goes', () => {
  it('goes to jobmon-logs/<workflow>/<task>.<instance> in the working directory', async () => {
    bench.open('sequential').start(bench.assignment(3, 'echo out; echo err >&2', { task_name: 'fit' }));
    const report = await bench.end(3);
    expect(report.stdout).toBe(join(bench.folder, 'jobmon-logs/7/fit.3.out'));
    expect(report.stderr).toBe(join(bench.folder, 'jobmon-logs/7/fit.3.err'));
    expect(readFileSync(report.stdout as string, 'utf8')).toBe('out\n');
    expect(readFileSync(report.stderr as string, 'utf8')).toBe('err\n');
  });

  it('goes to the folders that the resources name, with quotes and newlines in them', async () => {
    const stdout = join(bench.folder, `it's "o u\nt"`);
    bench.open('sequential').start(bench.assignment(3, 'echo x', { requested_resources: { stdout, stderr: 'errors' } }));
    const report = await bench.end(3);
    expect(report).toMatchObject({ status: 'D', stdout: join(stdout, 'task.3.out'), stdout_log: 'x\n' });
    expect(report.stderr).toBe(join(bench.folder, 'errors/task.3.err'));
  });

  it('cuts a task name that is too long for a file at a whole character', async () => {
    bench.open('sequential').start(bench.assignment(3, 'echo x', { task_name: `t${EMOJI.repeat(120)}` }));
    expect(await bench.end(3)).toMatchObject({
      status: 'D',
      stdout: expect.stringMatching(new RegExp(`/t(${EMOJI}){57}\\.3\\.out$`)),
    });
  });

  it.each<[string, (folder: string) => Parameters<Bench['assignment']>[2], RegExp]>([
    [
      'a working directory that is missing',
      (folder) => ({ working_directory: join(folder, 'gone') }),
      /working directory.*ENOENT/,
    ],
    [
      'a working directory that is a file',
      (folder) => ({ working_directory: join(folder, 'file') }),
      /working directory.*no directory/,
    ],
    [
      'an output folder that is a file',
      (folder) => ({ requested_resources: { stdout: join(folder, 'file') } }),
      /EEXIST|ENOTDIR/,
    ],
    ['an output file that is a folder', () => ({ requested_resources: { stdout: '.' } }), /output file can't be written/],
  ])('%s is reported as W with the reason', async (_, more, reason) => {
    writeFileSync(join(bench.folder, 'file'), '');
    mkdirSync(join(bench.folder, 'task.1.out'));
    const cluster = bench.open('sequential');
    cluster.start(bench.assignment(1, 'echo ran >>ran', more(bench.folder)));
    expect(await bench.end(1)).toMatchObject({ status: 'W', error_description: expect.stringMatching(reason) });
    expect(existsSync(join(bench.folder, 'ran'))).toBe(false);
    expect(existsSync(join(bench.folder, 'gone'))).toBe(false);
    cluster.start(bench.assignment(2));
    expect(await bench.end(2)).toMatchObject({ status: 'D' });
  });
});

describe('a full disk for the output', () => {
  const isRoot = process.getuid?.() === 0;
  (isRoot ? it : it.skip)(`fails the attempt with the reason${isRoot ? '' : ': only root can mount a small disk'}`, async () => {
    const disk = join(bench.folder, 'disk');
    mkdirSync(disk);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'jobmon-test', disk], { encoding: 'utf8' });
    if (mounted.status !== 0) return console.log(`no small disk can be mounted here: ${mounted.stderr}`);
    try {
      const cluster = bench.open('sequential');
      const to = { requested_resources: { stdout: disk, stderr: disk } };
      cluster.start(bench.assignment(1, 'head -c 5000000 /dev/zero', to));
      expect(await bench.end(1)).toMatchObject({
        status: 'E',
        exit_code: 1,
        error_description: `the command ended with exit status 1; the disk of its output folder ${disk} is full`,
      });
      // The house goes on: with others at once, and there when there is room again.
      cluster.start(bench.assignment(2, 'echo x'));
      expect(await bench.end(2)).toMatchObject({ status: 'D' });
      rmSync(join(disk, 'task.1.out'));
      cluster.start(bench.assignment(3, 'echo x', to));
      expect(await bench.end(3)).toMatchObject({ status: 'D', stdout_log: 'x\n' });
    } finally {
      spawnSync('umount', ['-l', disk]);
    }
  });
});

describe('ending commands', () => {
  it('interrupts the whole process group, so that a command can clean up', async () => {
    const cluster = bench.open('sequential');
    cluster.start(bench.assignment(1, `trap 'echo cleaned; exit 9' INT; echo up; while :; do sleep 0.1; done`));
    const { process_group_id } = await bench.running(1);
    await until(() => readFileSync(join(bench.folder, 'jobmon-logs/7/task.1.out'), 'utf8') !== '');
    cluster.kill(1);
    expect(await bench.end(1)).toMatchObject({
      status: 'E',
      exit_code: 9,
      stdout_log: 'up\ncleaned\n',
      error_description: /order/,
    });
    expect(groupLives(process_group_id as number)).toBe(false);
  });

  it('kills what forks and ignores signals when its time is over', async () => {
    const cluster = bench.open('sequential');
    const stubborn = `trap '' INT TERM HUP; (sh -c 'sleep 300; true' &) ; (sleep 300; true) & sleep 300; sleep 300`;
    cluster.start(bench.assignment(1, stubborn));
    const { process_group_id } = await bench.running(1);
    cluster.kill(1, 300);
    expect(await bench.end(1)).toMatchObject({ status: 'E', exit_code: 137 });
    await until(() => !groupLives(process_group_id as number));
  });

  it('does not start what was killed while it waited', async () => {
    const cluster = bench.open('sequential');
    cluster.start(bench.assignment(1, 'until [ -e go ]; do sleep 0.05; done'));
    // Only now: what is started in one breath is prepared side by side and may come in any order.
    await bench.running(1);
    cluster.start(bench.assignment(2, 'echo ran >ran'));
    cluster.kill(2);
    expect(await bench.end(2)).toMatchObject({ status: 'E', error_description: 'ended by order before it started' });
    writeFileSync(join(bench.folder, 'go'), '');
    await bench.end(1);
    cluster.start(bench.assignment(3));
    await bench.end(3);
    expect(existsSync(join(bench.folder, 'ran'))).toBe(false);
  });

  it('ends what a command leaves behind in its process group, and keeps the exit status', async () => {
    const cluster = bench.open('sequential');
    cluster.start(bench.assignment(1, `sleep 300 & echo $$; exit 5`));
    const report = await bench.end(1);
    expect(report).toMatchObject({ status: 'E', exit_code: 5 });
    await until(() => !groupLives(Number(report.stdout_log)));
  });

  it('goes on when a launcher is killed: the exit status is unknown, and nothing runs twice', async () => {
    const cluster = bench.open('sequential');
    cluster.start(bench.assignment(1, 'echo $PPID; echo x >>ran; while [ ! -e go ]; do sleep 0.1; done'));
    await bench.running(1);
    const out = join(bench.folder, 'jobmon-logs/7/task.1.out');
    await until(() => readFileSync(out, 'utf8').endsWith('\n') && existsSync(join(bench.folder, 'ran')));
    process.kill(Number(readFileSync(out, 'utf8')), 'SIGKILL');
    cluster.start(bench.assignment(2));
    writeFileSync(join(bench.folder, 'go'), '');
    expect(await bench.end(1)).toMatchObject({ status: 'U', error_description: expect.stringContaining('unknown') });
    expect(await bench.end(2)).toMatchObject({ status: 'D' });
    expect(readFileSync(join(bench.folder, 'ran'), 'utf8')).toBe('x\n');
  });
});

describe('what is kept', () => {
  it('is removed when the server has acknowledged the end; the output stays', async () => {
    const cluster = bench.open('sequential');
    cluster.start(bench.assignment(1, 'echo x'));
    const report = await bench.end(1);
    const folder = join(attemptsDirectory(bench.settings.state_directory), '1');
    expect(existsSync(folder)).toBe(true);
    cluster.forget(1);
    await until(() => !existsSync(folder));
    expect(existsSync(report.stdout as string)).toBe(true);
  });

  it('is cleared at the next start, with what still runs of it, but for what is to be kept', async () => {
    const cluster = bench.open('multiprocess');
    const attempts = attemptsDirectory(bench.settings.state_directory);
    cluster.start(bench.assignment(1, 'exit 3'));
    await bench.end(1);
    cluster.start(bench.assignment(2, 'sleep 300'));
    cluster.start(bench.assignment(3, 'sleep 300'));
    const [stray, kept] = await Promise.all([bench.running(2), bench.running(3)]);
    cluster.close();
    expect(await clearLeftovers(bench.settings.state_directory, new Set([3]))).toEqual({ removed: 2, killed: 1 });
    await until(() => !groupLives(stray.process_group_id as number));
    expect(look(attempts, 3)).toMatchObject({ is: 'running' });
    expect(existsSync(join(attempts, '2'))).toBe(false);
    process.kill(-(kept.process_group_id as number), 'SIGKILL');
    await until(() => look(attempts, 3).is === 'ended');
  });
});

/** Waits until something holds, at most 10 s. */
async function until(holds: () => boolean): Promise<void> {
  const bound = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > bound) throw new Error('not so within 10 s');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
