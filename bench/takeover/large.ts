/**
 * A very large run that loses its scheduler: bound by a program in a process of its own, run by an agent whose cluster runs nothing, killed
 * a hundredth of the way. What is measured is one piece: the rest of the lease, the look, the graph read anew, the next attempt.
 */
import { fork } from 'node:child_process';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { ClientSays } from '../workflow/client';
import { next } from '../workflow/measure';
import { System, TOKEN } from './system';

/** Share of the tasks that are done before the blow. */
const BEFORE = 0.01;
const CORES = 500;
const START_MS_MAX = 600_000;

/** Answers the sentence that tells it. Throws when a task was queued twice. */
export async function playLarge(tasks: number): Promise<string> {
  const system = await System.start({ agents: 1, cores: CORES });
  const client = fork(path.join(__dirname, 'client.js'));
  try {
    const { url } = system.services.alive('api')[0]!;
    const isBound = next<ClientSays, 'bound'>(client, 'bound');
    client.send({ url, token: TOKEN, tasks, folder: system.user.folder('work') });
    const { bind_seconds, workflow_id } = await isBound;
    console.log(`${tasks} tasks bound in ${bind_seconds.toFixed(0)} s`);
    client.send('go on');
    const done = "SELECT SUM(n) FROM task_status_count WHERE workflow_id = ? AND status = 'D'";
    const bound = performance.now() + START_MS_MAX;
    while ((await system.number(done, workflow_id)) < tasks * BEFORE) {
      if (performance.now() > bound) throw new Error(`the first ${tasks * BEFORE} tasks were not done in time`);
      await pause(100);
    }
    const workflow_run_id = await system.number('SELECT MAX(id) FROM workflow_run WHERE workflow_id = ?', workflow_id);
    const victim = await system.busiest('scheduler');
    if ((await system.holderOf(workflow_run_id)) !== victim) throw new Error(`${victim.instance} is busiest and has not the run`);
    victim.kill('SIGKILL');
    const { queued, started } = await system.recovery(workflow_run_id, [victim]);
    const heir = (await system.holderOf(workflow_run_id))!;
    const mib = (await heir.metric('jobmon_process_resident_memory_bytes')) / 2 ** 20;
    // It goes on for a while, so that what was asked for twice would show.
    const before = await system.number(done, workflow_id);
    while ((await system.number(done, workflow_id)) < before + tasks * BEFORE) {
      if (performance.now() > bound) throw new Error('the run did not go on after its takeover');
      await pause(100);
    }
    const doubled = await system.number('SELECT COUNT(*) FROM task WHERE workflow_id = ? AND num_attempts > 1', workflow_id);
    if (doubled > 0) throw new Error(`${doubled} tasks were queued more than once`);
    return (
      `takeover: ${tasks} tasks; the next one was queued ${queued.toFixed(1)} s after kill -9 of the scheduler, and had started after ` +
      `${started.toFixed(1)} s; none was queued twice; the scheduler that took over used ${mib.toFixed(0)} MiB`
    );
  } finally {
    client.kill('SIGKILL');
    await system.remove();
  }
}
