/**
 * `npm run bench -- starts`: commands started each second by Node's own spawn, by resident shells that complete their files by an
 * end mark or by a rename, and by the whole plug-in. Figures of docs/decisions/attempt-files.md.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCluster } from '@jobmon/cluster';

const COMMANDS = 800;
const SHELLS = 8;
const REPETITIONS = 7;

/** Starts `true` so many times, `SHELLS` at one time, by Node's spawn. */
async function bySpawn(): Promise<void> {
  let left = COMMANDS;
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      await new Promise((resolve) => spawn('/bin/sh', ['-c', 'true'], { detached: true, stdio: 'ignore' }).on('exit', resolve));
    }
  };
  await Promise.all(Array.from({ length: SHELLS }, lane));
}

/** What a resident shell does for one command, with its two files completed in one of two ways. */
const COMPLETE = {
  mark: { started: `printf '%s .\\n' "$$" >"\${0%/*}/started"`, exit: `printf '%s .\\n' "$code" >"$a/exit"` },
  rename: {
    started: `printf '%s\\n' "$$" >"\${0%/*}/started.new"; mv "\${0%/*}/started.new" "\${0%/*}/started"`,
    exit: `printf '%s\\n' "$code" >"$a/exit.new"; mv "$a/exit.new" "$a/exit"`,
  },
};

async function byShells(folder: string, how: keyof typeof COMPLETE): Promise<void> {
  const script = `while read -r id; do a=$1/$id; setsid /bin/sh "$a/start.sh" </dev/null; code=$?; ${COMPLETE[how].exit}; done`;
  const shells = Array.from({ length: SHELLS }, () =>
    spawn('/bin/sh', ['-c', script, 'sh', folder], { stdio: ['pipe', 'ignore', 'inherit'] }),
  );
  for (let id = 0; id < COMMANDS; id += 1) shells[id % SHELLS]?.stdin?.write(`${id}\n`);
  await Promise.all(
    shells.map((shell) => {
      shell.stdin?.end();
      return new Promise((resolve) => shell.on('exit', resolve));
    }),
  );
}

function prepare(folder: string, how: keyof typeof COMPLETE): void {
  for (let id = 0; id < COMMANDS; id += 1) {
    mkdirSync(join(folder, String(id)), { recursive: true });
    writeFileSync(join(folder, String(id), 'start.sh'), `${COMPLETE[how].started}\ntrue`);
  }
}

/** The plug-in, with all its folders, checks and reports. Answers the main thread's milliseconds for each command. */
async function byPlugIn(folder: string, cores: number): Promise<number> {
  let ended = 0;
  const before = process.cpuUsage();
  await new Promise<void>((resolve) => {
    const cluster = openCluster('multiprocess', {
      state_directory: join(folder, 'state'),
      cores,
      memory_gib: 1,
      onReport: ({ task_instance_id, status }) => {
        if (status === 'R') return;
        cluster.forget(task_instance_id);
        if (++ended < COMMANDS) return;
        cluster.close();
        resolve();
      },
    });
    for (let id = 1; id <= COMMANDS; id += 1) {
      cluster.start({
        task_instance_id: id,
        task_id: id,
        workflow_id: 1,
        workflow_run_id: 1,
        status: 'I',
        task_name: 'task',
        command: 'true',
        cluster: 'multiprocess',
        cluster_type: 'multiprocess',
        requested_resources: {},
        working_directory: folder,
      });
    }
  });
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000 / COMMANDS;
}

async function main(): Promise<void> {
  const rates = new Map<string, number[]>();
  let thread_ms = 0;
  const measure = async (name: string, run: (folder: string) => Promise<unknown>, how?: keyof typeof COMPLETE): Promise<void> => {
    const folder = mkdtempSync(join(tmpdir(), 'jobmon-starts-'));
    try {
      if (how !== undefined) prepare(folder, how);
      const began = performance.now();
      await run(folder);
      rates.set(name, [...(rates.get(name) ?? []), COMMANDS / ((performance.now() - began) / 1_000)]);
    } finally {
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    }
  };
  for (let repetition = 0; repetition < REPETITIONS; repetition += 1) {
    await measure(`Node's spawn of \`sh -c true\``, bySpawn);
    await measure(`${SHELLS} resident shells, files with an end mark`, (folder) => byShells(folder, 'mark'), 'mark');
    await measure(`${SHELLS} resident shells, files renamed by \`mv\``, (folder) => byShells(folder, 'rename'), 'rename');
    await measure(`the whole plug-in, ${SHELLS} slots`, async (folder) => void (thread_ms = await byPlugIn(folder, SHELLS)));
    await measure('the whole plug-in, 32 slots', (folder) => byPlugIn(folder, 32));
  }
  console.log(
    `${availableParallelism()} cores, load ${loadavg()[0]?.toFixed(1)}, ${COMMANDS} commands, ${REPETITIONS} repetitions\n`,
  );
  console.log('| started by | median a second | slowest | fastest |\n| --- | ---: | ---: | ---: |');
  for (const [name, each] of rates) {
    const sorted = [...each].sort((a, b) => a - b).map((rate) => Math.round(rate));
    console.log(`| ${name} | ${sorted[Math.floor(sorted.length / 2)]} | ${sorted[0]} | ${sorted.at(-1)} |`);
  }
  console.log(`\nThe plug-in's process spent ${thread_ms.toFixed(2)} ms of processor time on each command.`);
}

void main();
