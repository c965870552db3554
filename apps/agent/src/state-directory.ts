/** One agent at a time in a state directory: attempts are known by their folders there, and two agents would clear each other's. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { identityOf, isAlive } from '@jobmon/cluster';
import { JobmonError } from '@jobmon/contracts';
import { makeFolder } from '@jobmon/runtime';

/**
 * Makes the folder and holds it for this process until the returned function is called; a holder that died holds nothing.
 * Throws JobmonError CONFLICT when another living process holds it, or when the folder can't be written. Whether a process of
 * another machine lives can't be seen from here, and a folder may lie on a disk that machines share: such a holder counts as living.
 */
export function holdStateDirectory(state_directory: string): () => void {
  const lock = join(state_directory, 'agent.lock');
  const host = hostname();
  const own = identityOf(process.pid) ?? { pid: process.pid, start_time: '' };
  try {
    makeFolder(state_directory);
    for (let tried = 0; tried < 3; tried++) {
      try {
        writeFileSync(lock, `${own.pid} ${own.start_time} ${host}\n`, { flag: 'wx', mode: 0o600 });
        return () => rmSync(lock, { force: true });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const [pid, start_time, holder = host] = readFileSync(lock, 'latin1').trim().split(' ');
      if (holder !== host) {
        const cure = `give this agent another folder by agent.state_directory, or remove ${lock} if that agent is gone`;
        throw new JobmonError(
          'CONFLICT',
          `the agent's folder ${state_directory} is in use by process ${pid} on ${holder}: ${cure}`,
        );
      }
      if (isAlive({ pid: Number(pid), start_time: start_time ?? '' })) {
        const cure = 'stop it, or give this agent another folder by agent.state_directory';
        throw new JobmonError('CONFLICT', `the agent's folder ${state_directory} is in use by process ${pid}: ${cure}`);
      }
      rmSync(lock, { force: true });
    }
  } catch (error) {
    if (error instanceof JobmonError) throw error;
    const cause = (error as Error).message;
    throw new JobmonError(
      'CONFLICT',
      `the agent's folder ${state_directory} can't be used (${cause}): give it another by agent.state_directory`,
    );
  }
  throw new JobmonError(
    'CONFLICT',
    `several agents want the folder ${state_directory} at once: give each its own by agent.state_directory`,
  );
}
