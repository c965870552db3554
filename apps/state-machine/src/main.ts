/** The state machine as a process: `node dist/apps/state-machine/main.js`. */
import 'reflect-metadata';
import { databaseNeed } from '@jobmon/entities';
import { startModules, startService } from '@jobmon/messaging/service';
import { stateMachineModule } from './module';

void startService({
  name: 'state-machine',
  needs: ({ config, log }) => ({ database: databaseNeed(config, log) }),
  isDrainedFirst: true,
  begin: ({ config, log, messenger, database }) =>
    startModules(log, [stateMachineModule({ config, log, messenger, database, writer: config.service.instance_id })]),
});
