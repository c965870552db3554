/** Both kinds of launcher do the same; only what they know of the usage differs. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { look, voidAttempt, writeAttempt } from './attempt-folder';
import { Bench } from './cluster.conformance';
import { Launcher, launcherKind, type LauncherKind } from './launcher';

const KINDS: LauncherKind[] = launcherKind() === 'perl' ? ['perl', 'shell'] : ['shell'];

describe.each(KINDS)('a launcher that is a %s program', (kind) => {
  const folder = mkdtempSync(join(tmpdir(), 'jobmon-launcher-'));
  const bench = new Bench();
  const disk = join(folder, 'disk');
  mkdirSync(disk);
  const isMounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'jobmon-test', disk]).status === 0;
  const answers: [number, number | null][] = [];
  let onAnswer: () => void = () => undefined;
  const launcher = new Launcher(
    folder,
    2,
    {
      onAnswer: (_, task_instance_id, exit_code) => {
        answers.push([task_instance_id, exit_code]);
        onAnswer();
      },
      onGone: (_, running, reason) => answers.push([running ?? -1, -1]) && console.error(reason),
    },
    kind,
  );
  afterAll(() => {
    launcher.close();
    bench.close();
    if (isMounted) spawnSync('umount', ['-l', disk]);
    rmSync(folder, { recursive: true, force: true });
  });

  const cases: [id: number, command: string, exit_code: number | null, out: string][] = [
    [1, 'echo a', 0, 'a\n'],
    [2, 'exit 3', 3, ''],
    [3, 'kill -TERM $$', 143, ''],
    [4, 'sleep 300 & echo b', 0, 'b\n'],
    [
      5,
      'grep -Eh "Sig(Ign|Blk)" /proc/$$/status | cut -f 2 | uniq; [ "$(cut -d " " -f 6 /proc/$$/stat)" = $$ ] && echo leads',
      0,
      '0000000000000000\nleads\n',
    ],
    [6, 'echo never', null, ''],
    [7, 'echo c', 0, 'c\n'],
  ];
  it.each(cases)('runs attempt %i: %s', async (id, command, exit_code, out) => {
    const output = { stdout: join(folder, `${id}.out`), stderr: join(folder, `${id}.err`) };
    if (exit_code === null) voidAttempt(folder, id);
    await writeAttempt(folder, bench.assignment(id, command), output);
    expect(launcher.isIdle).toBe(true);
    await new Promise<void>((resolve) => {
      onAnswer = resolve;
      launcher.run(id);
    });
    expect(answers.at(-1)).toEqual([id, exit_code]);
    if (exit_code === null) return expect(look(folder, id)).toEqual({ is: 'void' });
    const usage =
      kind === 'perl' ? { max_rss_bytes: expect.any(Number), cpu_seconds: expect.any(Number), has_core: false } : null;
    expect(look(folder, id)).toMatchObject({ is: 'ended', exit_code, usage });
    expect(readFileSync(output.stdout, 'utf8')).toBe(out);
  });

  const why = isMounted ? '' : ': only root can mount a small disk';
  (isMounted ? it : it.skip)(`keeps an exit status until the disk of the attempts has room for it${why}`, async () => {
    const output = { stdout: join(folder, 'out'), stderr: join(folder, 'err') };
    const command = `head -c 5000000 /dev/zero >${disk}/ballast; exit 3`;
    await writeAttempt(disk, bench.assignment(8, command), output);
    let tell: (answer: unknown) => void = () => undefined;
    const told = new Promise((resolve) => (tell = resolve));
    const events = { onAnswer: (_: Launcher, id: number, code: number | null) => tell([id, code]), onGone: () => tell('gone') };
    const small = new Launcher(disk, 2, events, kind);
    small.run(8);
    const bound_ms = performance.now() + 10_000;
    while (!existsSync(join(disk, '8', 'exit')) && performance.now() < bound_ms) await pause(20);
    expect(look(disk, 8)).toMatchObject({ is: 'running' });
    rmSync(join(disk, 'ballast'));
    expect(await told).toEqual([8, 3]);
    expect(look(disk, 8)).toMatchObject({ is: 'ended', exit_code: 3 });
    small.close();
  });
});
