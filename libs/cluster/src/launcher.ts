/**
 * A launcher: one resident process that runs one command after the other and outlives the process that made it. Node's own
 * spawn costs 2 ms of the main thread for each command (about 400 a second), and nobody can wait for a child whose parent
 * died; a launcher costs the agent one short write for each command, and goes on waiting when the agent is gone.
 *
 * It is a Perl program, since what a command used is told by the kernel to whoever waits for it (wait4) and to nobody else,
 * exactly and however short the command was; a shell can wait and is told nothing. Perl belongs to the base of Debian and its
 * kin. Where it is missing, or its system calls do not work, a POSIX shell does the same without these figures.
 *
 * Measured on two cores, where other programs wanted 14, with launchers that were shells: 330 commands a second through the whole
 * plug-in with 8 launchers and 430 with 32, at 0.8 ms of this process's time each, files and reports included; `spawn` did 250
 * in the same minute, and each stopped the main thread for 4 ms. Four rounds in turns on as busy a machine: 270 to 440 with Perl, 290 to
 * 320 with shells. Renaming the exit file into its place by `mv` cost a
 * third of that (380 instead of 570 to 630 of launchers alone), which is why files are completed by an end mark instead (see
 * `attempt-folder.ts`). Processor time for one `sh -c true`: 1.9 ms by a shell with its `setsid`, 1.3 ms by Perl, which needs no
 * program for that; 5.3 ms by a shell with a Perl program of its own for each command.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { BOOT } from './processes';

/**
 * What both launchers do; their arguments are the folder of the attempts and the boot, each line of their input an attempt's id, each line
 * of their output `<id> <exit status>`, or `<id> -` when this launcher did not run it.
 *
 * - The command runs in the foreground in a session of its own, with no signal ignored: a shell starts background commands with SIGINT
 *   ignored, and an ignored signal can't be given back to a command, so a launcher takes one command at a time and there are several.
 * - Who runs a command is decided inside the command's own process (`attempt-folder.ts`, the claim); here it only shows in
 *   the waiter's id of `started`.
 * - What a command leaves behind in its process group ends with it (SIGTERM unless a signal ended the command; SIGKILL
 *   after 10 s): a retry must not run beside the remains of the attempt before it. A process that only waits to be reaped is none,
 *   but for a shell, which can't tell it from a living one and waits its 10 s.
 * - The exit status goes to the file first and is retried for ten minutes while the disk is full; the line to the agent is
 *   a hint. SIGPIPE is ignored only while no command runs, since commands would inherit that.
 * - End of input: the agent is gone. The command that runs is waited for, requests that are in the pipe are done, then it ends.
 */
const PERL = String.raw`
my ($attempts, $boot, $setsid, $wait4) = ($ARGV[0], $ARGV[1], $ARGV[2] + 0, $ARGV[3] + 0);
$| = 1;
sub line { open(my $file, '<', $_[0]) or return ''; my $line = readline($file); return defined $line ? $line : '' }
sub fields { my $stat = line("/proc/$_[0]/stat"); $stat =~ s/.*\) //s; return split(' ', $stat) }
my $self = "$$ " . (fields($$))[19] . "/$boot";

sub lives {
  my ($group) = @_;
  return 0 unless kill(0, -$group);
  opendir(my $processes, '/proc') or return 1;
  for (grep { /^\d+$/ } readdir($processes)) {
    my @fields = fields($_);
    return 1 if @fields && $fields[2] == $group && $fields[0] !~ /[ZX]/;
  }
  return 0;
}

sub settle {
  my ($attempt, $group, $code, $usage) = @_;
  if (lives($group)) {
    kill('TERM', -$group) unless $code > 128;
    for (my $n = 0; $n < 100 && lives($group); $n++) { select(undef, undef, undef, 0.1) }
    kill('KILL', -$group);
  }
  for (my $n = 0; $n < 600 && -d $attempt; $n++) {
    my $file;
    return if open($file, '>', "$attempt/exit") and print {$file} "$code $usage .\n" and close($file);
    sleep 1;
  }
}

while (defined(my $id = readline(STDIN))) {
  chomp $id;
  my $attempt = "$attempts/$id";
  my $child = fork();
  defined $child or die "no process can be made: $!\n";
  if ($child == 0) {
    syscall($setsid);
    open(STDIN, '<', '/dev/null'); open(STDOUT, '>', '/dev/null');
    exec('/bin/sh', "$attempt/start.sh", $self, $boot);
    exit 126;
  }
  my ($status, $usage) = ("\0" x 8, "\0" x 144);
  while (syscall($wait4, $child, $status, 0, $usage) != $child) { last if $! == 10 }
  local $SIG{PIPE} = 'IGNORE';
  my $ended = unpack('l', $status);
  my $code = $ended & 127 ? 128 + ($ended & 127) : $ended >> 8;
  my @usage = unpack('q5', $usage);
  my ($group, undef, @waiter) = split(' ', line("$attempt/started"));
  if ("@waiter" eq "$self .") {
    my $microseconds = ($usage[0] + $usage[2]) * 1000000 + $usage[1] + $usage[3];
    settle($attempt, $group, $code, "$usage[4] $microseconds " . ($ended & 128 ? 1 : 0));
    print "$id $code\n";
  } else {
    print "$id -\n";
  }
}
`;

/** The same for a POSIX shell. */
const SHELL = `
attempts=$1 boot=$2
read -r stat </proc/self/stat
set -- \${stat##*) }
self="\${stat%% *} \${20}/$boot"
while read -r id; do
  attempt=$attempts/$id
  setsid /bin/sh "$attempt/start.sh" "$self" "$boot" </dev/null >/dev/null
  code=$?
  trap '' PIPE
  pid= waiter=
  [ -e "$attempt/started" ] && read -r pid start waiter <"$attempt/started"
  if [ "$waiter" = "$self ." ]; then
    if kill -0 "-$pid" 2>/dev/null; then
      [ "$code" -gt 128 ] || kill -TERM "-$pid" 2>/dev/null
      n=0
      while kill -0 "-$pid" 2>/dev/null && [ "$n" -lt 100 ]; do sleep 0.1 || sleep 1; n=$((n + 1)); done
      kill -KILL "-$pid" 2>/dev/null
    fi
    n=0
    until { printf '%s .\\n' "$code" >"$attempt/exit"; } 2>/dev/null; do
      [ -d "$attempt" ] && [ "$n" -lt 600 ] || break
      sleep 1; n=$((n + 1))
    done
    echo "$id $code"
  else
    echo "$id -"
  fi
  trap - PIPE
done
`;

const PERL_PROGRAM = '/usr/bin/perl';
/** The numbers of setsid, wait4 and getpid. */
const SYSTEM_CALLS: Readonly<Record<string, readonly [setsid: number, wait4: number, getpid: number]>> = {
  x64: [112, 61, 39],
  arm64: [157, 260, 172],
};

/** The program of a launcher with its fixed arguments. `perl` when it is there and makes system calls as this machine numbers them. */
export type LauncherKind = 'perl' | 'shell';

let found: LauncherKind | null = null;

/** What this machine can run. Asked once: it costs a few milliseconds. */
export function launcherKind(): LauncherKind {
  if (found !== null) return found;
  const calls = process.platform === 'linux' ? SYSTEM_CALLS[process.arch] : undefined;
  const probe = calls && spawnSync(PERL_PROGRAM, ['-e', 'print syscall($ARGV[0] + 0) == $$ ? "yes" : "no"', String(calls[2])]);
  return (found = probe?.stdout?.toString() === 'yes' ? 'perl' : 'shell');
}

function commandLineOf(kind: LauncherKind, attempts: string): [program: string, args: string[]] {
  if (kind === 'shell') return ['/bin/sh', ['-c', SHELL, 'jobmon-launcher', attempts, BOOT]];
  const [setsid, wait4] = SYSTEM_CALLS[process.arch] as readonly [number, number, number];
  return [PERL_PROGRAM, ['-e', PERL, attempts, BOOT, String(setsid), String(wait4)]];
}

/** What a launcher tells. */
export interface LauncherEvents {
  /** The attempt's command has ended; `exit_code` is null when this launcher did not run it: somebody else had claimed it. */
  onAnswer(launcher: Launcher, task_instance_id: number, exit_code: number | null): void;
  /** The launcher's process is gone. `running` is the attempt that was handed to it and has not been answered, if any. */
  onGone(launcher: Launcher, running: number | null, reason: string): void;
}

export class Launcher {
  private readonly child: ChildProcess;
  private current: number | null = null;
  private rest = '';
  private isGone = false;

  /**
   * @param attempts absolute path of the folder that holds the attempts' folders
   * @param log file descriptor that takes what the shell itself has to complain about
   */
  constructor(
    attempts: string,
    log: number,
    private readonly events: LauncherEvents,
    kind: LauncherKind = launcherKind(),
  ) {
    const [program, args] = commandLineOf(kind, attempts);
    this.child = spawn(program, args, { detached: true, stdio: ['pipe', 'pipe', log] });
    this.child.once('error', (error) => this.end(error.message));
    this.child.once('exit', (code, signal) => this.end(signal === null ? `exit status ${code}` : `signal ${signal}`));
    this.child.stdin?.on('error', () => undefined); // EPIPE: 'exit' tells the same.
    this.child.stdout?.setEncoding('latin1').on('data', (text: string) => this.read(text));
    this.child.unref();
    for (const stream of [this.child.stdin, this.child.stdout]) (stream as { unref?: () => void } | null)?.unref?.();
  }

  /** True when it waits for a request. */
  get isIdle(): boolean {
    return this.current === null && !this.isGone;
  }

  /** Hands over an attempt whose folder is complete. Only when idle. */
  run(task_instance_id: number): void {
    this.current = task_instance_id;
    this.child.stdin?.write(`${task_instance_id}\n`);
  }

  /** Ends its input and stops listening: it finishes what it runs and goes. */
  close(): void {
    this.isGone = true;
    this.child.stdout?.removeAllListeners('data').destroy();
    this.child.stdin?.end();
  }

  private read(text: string): void {
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop() ?? '';
    for (const line of lines) {
      const [id, code] = line.split(' ');
      const exit_code = code === '-' ? null : Number(code);
      this.current = null;
      this.events.onAnswer(this, Number(id), exit_code);
    }
  }

  private end(reason: string): void {
    if (this.isGone) return;
    this.isGone = true;
    const running = this.current;
    this.current = null;
    this.events.onGone(this, running, reason);
  }
}
