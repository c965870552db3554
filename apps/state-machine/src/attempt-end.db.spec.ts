import { createLogger } from '@jobmon/runtime';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { execute, insertAgent, replies, startMachine } from '../test/started-machine';
import { tellEnds } from './attempt-end';

describeOnDatabases('what is said of an attempt that ended badly', (database) => {
  const started = () => {
    const lines: Record<string, unknown>[] = [];
    const destination = { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) };
    const log = createLogger({ service: 'test', level: 'info', destination });
    return { ...startMachine(tellEnds(database(), log)), lines };
  };

  it('names its ids, where the task stands by it, and why; once, and nothing of one that is well', async () => {
    const made = await insertWorkflow(database(), { tasks: 2, task_status: 'R', instance_status: 'R', driver: 'client' });
    const { machine, lines } = started();
    const [failing, well] = made.task_instance_ids as [number, number];
    const report = {
      name: 'log_error_worker_node' as const,
      request: {
        task_instance_id: failing,
        error_state: 'E',
        error_description: 'disk full\nat node1',
        nodename: 'node1',
      } as never,
    };
    const done = { name: 'log_done' as const, request: { task_instance_id: well } as never };
    // Two messages of two callers, in one transaction or in two.
    const answers = await Promise.all([
      machine.report([done], { request_id: 'r-other' }),
      machine.report([report], { request_id: 'r-1', trace_id: '4bf92f3577b34da6a3ce929d0e0e4736' }),
    ]);
    answers.forEach(replies);
    replies(await machine.report([report]));
    expect(lines).toEqual([
      expect.objectContaining({
        level: 'info',
        workflow_id: made.workflow_id,
        workflow_run_id: made.workflow_run_id,
        task_id: made.task_ids[0],
        task_instance_id: failing,
        request_id: 'r-1',
        trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
        status: 'ERROR',
        operation: 'task_instance.log_error_worker_node',
        why: expect.stringContaining('disk full'),
        message: 'an attempt failed',
      }),
    ]);
    await machine.drain();
  });

  it('tells a hundred of a silent agent by name, and how many more there were', async () => {
    const agent_id = await insertAgent(database(), { lease_seconds: -10 });
    const made = await insertWorkflow(database(), { tasks: 130, task_status: 'R', instance_status: 'R', agent_id });
    const { machine, lines } = started();
    await machine.expireAgent({ agent_id });
    expect(lines.filter(({ message }) => message === 'an attempt of a silent agent was given up')).toHaveLength(100);
    expect(lines.at(-1)).toMatchObject({ level: 'warn', attempts: 30, workflow_run_id: made.workflow_run_id });
    await execute(database(), 'DELETE FROM agent');
    await machine.drain();
  });
});
