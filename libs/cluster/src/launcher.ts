/**
 * A launcher: one resident POSIX shell that runs one command after the other and outlives the process that made it. Node's own
 * spawn costs 2 ms of the main thread for each command (about 400 a second), and nobody can wait for a child whose parent
 * died; a launcher costs the agent one short write for each command, and goes on waiting when the agent is gone.
 *
 * Measured on two cores, where other programs wanted 14: 330 commands a second through the whole plug-in with 8 launchers and
 * 430 with 32, at 0.8 ms of this process's time each, files and reports included; `spawn` did 250 in the same minute, and
 * each stopped the main thread for 4 ms. With half of that load launchers alone did 570 to 630, most of it the kernel's
 * part of starting `setsid` and `sh`. Renaming the exit file into its place by `mv` cost a third of that (380), which is
 * why files are completed by an end mark instead (see `attempt-folder.ts`).
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { BOOT } from './attempt-folder';

/**
 * The launcher's script; `$1` is the folder of the attempts, `$2` the boot, each line of its input an attempt's id, each line of its output
 * `<id> <exit status>`, or `<id> -` when this launcher did not run it.
 *
 * - The command runs in the foreground in a session of its own: a shell starts background commands with SIGINT ignored, and
 *   an ignored signal can't be given back to a command, so a launcher takes one command at a time and there are several.
 * - Who runs a command is decided inside the command's own process (`attempt-folder.ts`, the claim); here it only shows in
 *   the waiter's id of `started`.
 * - What a command leaves behind in its process group ends with it (SIGTERM unless a signal ended the command; SIGKILL
 *   after 10 s): a retry must not run beside the remains of the attempt before it.
 * - The exit status goes to the file first and is retried for ten minutes while the disk is full; the line to the agent is
 *   a hint. SIGPIPE is ignored only while no command runs, since commands would inherit that.
 * - End of input: the agent is gone. The command that runs is waited for, requests that are in the pipe are done, then it ends.
 */
const SCRIPT = `
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
  ) {
    const args = ['-c', SCRIPT, 'jobmon-launcher', attempts, BOOT];
    this.child = spawn('/bin/sh', args, { detached: true, stdio: ['pipe', 'pipe', log] });
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
