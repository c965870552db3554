/** The module in a real Nest application over the in-process bus: every owned operation is answered, and the end loses nothing. */
import { logDone, moveWorkflowRun, OPERATIONS, type Operation } from '@jobmon/contracts';
import { inProcessMessenger, type Messenger } from '@jobmon/messaging';
import { createLogger } from '@jobmon/runtime';
import { describeOnDatabases, insertWorkflow } from '@jobmon/testkit';
import { NestFactory } from '@nestjs/core';
import { standing } from '../test/started-machine';
import { stateMachineModule } from './module';

const log = createLogger({ service: 'test', level: 'silent' });

describeOnDatabases('the module', (database) => {
  const start = async (messenger: Messenger) => {
    const app = await NestFactory.createApplicationContext(stateMachineModule({ log, messenger, database: database() }), {
      logger: false,
    });
    return app;
  };

  test('handles every operation that the state machine owns, and no other', async () => {
    const handled: string[] = [];
    const messenger = inProcessMessenger({ log });
    const recording: Messenger = Object.assign(Object.create(messenger) as Messenger, {
      handle: (operation: Operation) => void handled.push(operation.name),
    });
    const app = await start(recording);
    await app.close();
    expect(handled.sort()).toEqual(
      OPERATIONS.filter(({ owner }) => owner === 'state-machine')
        .map(({ name }) => name)
        .sort(),
    );
  });

  test('answers over the bus, and on its shutdown finishes what it took', async () => {
    const messenger = inProcessMessenger({ log });
    const app = await start(messenger);
    const made = await insertWorkflow(database(), { driver: 'client', tasks: 20, instance_status: 'R', task_status: 'R' });
    const answers = messenger.request(
      logDone,
      made.task_instance_ids.map((task_instance_id) => ({ task_instance_id })),
    );
    const refused = await messenger.request(moveWorkflowRun, [{ workflow_run_id: 2_000_000_000, to: 'D' }]);
    expect(refused).toMatchObject([{ error: { code: 'NOT_FOUND' } }]);
    await app.close();
    expect(await answers).toEqual(made.task_instance_ids.map(() => ({ ok: { status: 'D' } })));
    expect((await standing(database(), made.task_instance_ids)).every(({ status }) => status === 'D')).toBe(true);
    expect(await messenger.request(logDone, [{ task_instance_id: made.task_instance_ids[0]! }])).toMatchObject([
      { error: { code: 'UNAVAILABLE' } },
    ]);
  });
});
